"""What the weights of a base take in the precisions that they are held in.

int8 and nf4 are bitsandbytes' (arXiv:2208.07339, arXiv:2305.14314). Both replace linear layers of the body and nothing else:
embeddings, norms, heads, the end of a T5's MLP, and the experts of a mixture, which transformers keeps as one tensor, stay in the
precision that is computed in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from tuneladder.model.memory import BLOCK, BYTES, hold
from tuneladder.types import Base

Form = Literal["int8", "nf4"]  # what frozen weights are quantised to
Precision = Literal["fp32", "bf16"] | Form
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "int8", "nf4")
COMPUTED: dict[Precision, str] = {"fp32": "float32", "bf16": "bfloat16", "int8": "bfloat16", "nf4": "bfloat16"}
QUANTISED: tuple[Form, ...] = get_args(Form)

BLOCKS_OF_CONSTANTS = 256  # doubly quantised: constants that share one in their turn, and are 8 bits each
NF4 = 4 + 32 / BLOCK  # bits a weight
NF4_DOUBLE = 4 + 8 / BLOCK + 32 / (BLOCK * BLOCKS_OF_CONSTANTS)


@dataclass(frozen=True)
class Linears:
    """The linear layers that a form replaces: their weights, and the rows of their matrices (what they make of a token)."""

    weights: int
    rows: int


def linears(model: Any) -> Mapping[Form, Linears]:
    """Those of a model that each form replaces, GPT-2's transposed ones among them; the meta device will do."""
    from tuneladder.model.attach import linears_of, out_of
    from tuneladder.model.quantized import untouched

    found: dict[Form, Linears] = {}
    for form in QUANTISED:
        whole = {*untouched(model, form)}
        own = [module for name, module in linears_of(model) if name not in whole]
        found[form] = Linears(sum(module.weight.numel() for module in own), sum(out_of(module) for module in own))
    return found


def held(base: Base, precision: Precision, linear: Mapping[Form, Linears], *, double: bool = True, dtype: str = "bfloat16") -> int:
    """Bytes of the weights. int8 has a constant in fp32 for every row of a matrix, nf4 one for every 64 weights, which `double`
    quantises in its turn (arXiv:2305.14314, section 3); what neither replaces is `dtype`."""
    if precision == "fp32" or precision == "bf16":
        return hold(base.parameters, 8 * BYTES[COMPUTED[precision]])
    own = linear[precision]
    rest = hold(base.parameters - own.weights, 8 * BYTES[dtype])
    if precision == "int8":
        return rest + hold(own.weights, 8) + hold(own.rows, 32)
    return rest + hold(own.weights, NF4_DOUBLE if double else NF4)
