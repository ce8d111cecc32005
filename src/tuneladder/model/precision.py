"""What the weights of a base take in the precisions that they are held in.

int8 and nf4 are bitsandbytes' (arXiv:2208.07339, arXiv:2305.14314). Both replace linear layers and nothing else: embeddings, norms,
the head, and the experts of a mixture, which transformers keeps as one tensor, stay in bf16.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from tuneladder.model.memory import hold
from tuneladder.types import Base

Form = Literal["int8", "nf4"]  # what frozen weights are quantised to
Precision = Literal["fp32", "bf16"] | Form
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "int8", "nf4")
COMPUTED: dict[Precision, str] = {"fp32": "float32", "bf16": "bfloat16", "int8": "bfloat16", "nf4": "bfloat16"}
QUANTISED: tuple[Form, ...] = get_args(Form)

BLOCK = 64  # weights that share a constant, the largest of them (absmax)
BLOCKS_OF_CONSTANTS = 256  # doubly quantised: constants that share one in their turn, and are 8 bits each
NF4 = 4 + 32 / BLOCK  # bits a weight
NF4_DOUBLE = 4 + 8 / BLOCK + 32 / (BLOCK * BLOCKS_OF_CONSTANTS)


@dataclass(frozen=True)
class Linears:
    """The linear layers of a base without its head: their weights, and the rows of their matrices (what they make of a token)."""

    weights: int
    rows: int


def linears(model: Any) -> Linears:
    """Those of a model, GPT-2's transposed ones among them; the meta device will do."""
    from tuneladder.model.attach import linears_of, out_of

    found = [module for _, module in linears_of(model)]
    return Linears(sum(module.weight.numel() for module in found), sum(out_of(module) for module in found))


def held(base: Base, precision: Precision, linear: Linears, *, double: bool = True) -> int:
    """Bytes of the weights. int8 has a constant in fp32 for every row of a matrix, nf4 one for every 64 weights, which `double`
    quantises in its turn (arXiv:2305.14314, section 3)."""
    if precision in ("fp32", "bf16"):
        return hold(base.parameters, 32 if precision == "fp32" else 16)
    rest = hold(base.parameters - linear.weights, 16)
    if precision == "int8":
        return rest + hold(linear.weights, 8) + hold(linear.rows, 32)
    return rest + hold(linear.weights, NF4_DOUBLE if double else NF4)
