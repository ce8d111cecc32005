"""How large a model, and on how many tokens: what compute-optimal pretraining says of a budget (arXiv:2203.15556).

Work is counted as 6 flops for each parameter and token, parameters with their embeddings. Two laws stand side by side. One is the
parametric fit of that paper's approach 3 with the constants of arXiv:2404.10102, which found that the published ones fit the
paper's own runs badly. The other is the rule of thumb of 20 tokens a parameter that its Chinchilla was trained by. The runs behind
both had 70 million to 16 billion parameters: below that they are carried on, not measured.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from tuneladder.errors import BadInput
from tuneladder.model.hardware import computed_in, device
from tuneladder.model.inspect import ARCHITECTURES, config_of, from_shape, skeleton
from tuneladder.model.pace import pace
from tuneladder.types import Base, Pace

FLOPS = 6
TOKENS_A_PARAMETER = 20
FITTED = (70e6, 16e9)  # parameters of the smallest and the largest run behind the fit

# L(N, D) = FLOOR + A / N**ALPHA + B / D**BETA, in nats a token of that paper's text (its equation 2)
FLOOR, A, ALPHA, B, BETA = 1.8172, 482.01, 0.3478, 2085.43, 0.3658

KINDS = ("flops", "parameters", "tokens")
UNITS = {"": 1.0, "K": 1e3, "M": 1e6, "B": 1e9, "G": 1e9, "T": 1e12}
BOUNDS = {"flops": (1e12, 1e30), "parameters": (1e5, 1e13), "tokens": (1e6, 1e16)}  # what laws and shapes can speak of

HEAD = 64  # width of a head, and the grain of a model's width
VOCABULARIES = (4096, 8192, 16384, 32768, 65536)
PACED_WIDTH = 1024  # a stand-in for the pace is no wider: wider matrices are no faster, and take long to draw


@dataclass(frozen=True)
class Budget:
    """What a law makes of a budget: `flops` of training, `parameters`, `tokens`; `loss` is what the fit foretells of the two."""

    law: str
    source: str
    flops: float
    parameters: float
    tokens: float
    loss: float


def number(text: str, kind: str) -> float:
    """`1e19`, `10M`, `1.5B` as a number of flops, parameters or tokens. Raises BadInput for anything else, and for what is not
    within BOUNDS."""
    found = re.fullmatch(r"\s*([-+]?(?:\d[\d_,]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([KMBGT]?)\s*", text, re.IGNORECASE)
    if not found:
        raise BadInput(f"--{kind} is {text!r}, not a number", "for example 1e19, 10M or 1.5B")
    value = float(re.sub(r"[_,]", "", found[1])) * UNITS[found[2].upper()]
    if value <= 0:
        raise BadInput(f"--{kind} is {text}, and it is above 0", "for example 1e19, 10M or 1.5B")
    least, most = BOUNDS[kind]
    if not least <= value <= most:
        raise BadInput(f"--{kind} is {text}, which no model is made with", f"from {least:.0e} to {most:.0e}")
    return value


def budgets(kind: str, value: float) -> tuple[Budget, Budget]:
    """What the fit and the rule say, where the flops, the parameters or the tokens are given."""
    return _by_fit(kind, value), _by_rule(kind, value)


def loss(parameters: float, tokens: float) -> float:
    """The fit's loss, in nats a token of the text it was made on; another text and tokenizer have another."""
    return float(FLOOR + A / parameters**ALPHA + B / tokens**BETA)


def _by_fit(kind: str, value: float) -> Budget:
    # equation 4: N = G (C / 6)^a, D = (C / 6)^b / G
    a, b = BETA / (ALPHA + BETA), ALPHA / (ALPHA + BETA)
    scale = (ALPHA * A / (BETA * B)) ** (1 / (ALPHA + BETA))
    work = {"flops": value / FLOPS, "parameters": (value / scale) ** (1 / a), "tokens": (value * scale) ** (1 / b)}[kind]
    return _budget(
        "fit", "the parametric fit of approach 3 in arXiv:2203.15556, constants of arXiv:2404.10102", scale * work**a, work
    )


def _by_rule(kind: str, value: float) -> Budget:
    squared = value / FLOPS / TOKENS_A_PARAMETER
    parameters = {"flops": squared**0.5, "parameters": value, "tokens": value / TOKENS_A_PARAMETER}[kind]
    return _budget(
        "rule", "20 tokens a parameter, as Chinchilla in arXiv:2203.15556", parameters, TOKENS_A_PARAMETER * parameters**2
    )


def _budget(law: str, source: str, parameters: float, work: float) -> Budget:
    """`work` is parameters times tokens."""
    tokens = work / parameters
    return Budget(law, source, FLOPS * work, parameters, tokens, loss(parameters, tokens))


def shapes(parameters: float) -> Iterator[Base]:
    """A shape of each family that is near so many parameters."""
    for family in ARCHITECTURES:
        yield _shape(family, parameters)


def _shape(family: str, parameters: float) -> Base:
    """Of all widths the shape that comes closest with about one layer for every 64 of its width, for every 128 in the largest.

    The vocabulary is the largest whose embedding is at most a quarter of it.
    """
    best: tuple[float, Mapping[str, Any]] | None = None
    width = HEAD
    while True:
        vocabulary = max([VOCABULARIES[0], *(own for own in VOCABULARIES if own * width <= parameters / 4)])
        shape = {"family": family, "width": width, "heads": width // HEAD, "vocabulary": vocabulary, "layers": 2}
        two, three = (from_shape(family, {**shape, "layers": layers}).parameters for layers in (2, 3))
        layers = max(1, round(2 + (parameters - two) / (three - two)))
        wanted = width / HEAD / (1 + min(1, width / 8192))
        off = abs(two + (layers - 2) * (three - two) - parameters) / parameters
        score = off + 0.1 * abs(layers - wanted) / max(layers, wanted)
        if best is None or score < best[0]:
            best = score, {**shape, "layers": layers}
        if layers < wanted / 4:
            return from_shape(family, best[1])
        # finer steps where a width more or less is much
        width += HEAD * max(1, width // (8 * HEAD))


def pace_near(base: Base) -> Pace:
    """How fast this machine trains a shape: measured in a few seconds on two of its layers, no wider than PACED_WIDTH."""
    width = min(base.width, PACED_WIDTH)
    shape = {"family": base.family, "width": width, "heads": width // HEAD, "vocabulary": 256, "layers": 2}
    stand_in = from_shape("stand-in", shape)
    model = skeleton(config_of(stand_in), base.family).to_empty(device=device()).requires_grad_(False)
    for each in (*model.parameters(), *model.buffers()):
        torch.nn.init.constant_(each, 0.01)  # what the numbers are takes no time, as long as they are numbers
    dtype = getattr(torch, computed_in(device()))
    model.to(dtype)
    autocast = dtype if dtype == torch.bfloat16 else None
    return pace(model, active=stand_in.parameters, vocabulary=256, family=base.family, autocast=autocast)
