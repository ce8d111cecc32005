"""Common graphics cards, and how many of them something takes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

from tuneladder.model.memory import Memory
from tuneladder.model.pocket import shelf

# Of the memory that the maker names, in GB of 10^9: what torch finds is up to 2 % less (L4, A10, L40S), and a process's CUDA
# context takes about 0.5 GB.
FILL = 0.95
MOST = 1024  # cards; nobody who has more asks a table


@dataclass(frozen=True)
class Card:
    """`memory` is bytes, `watts` the board's power."""

    name: str
    memory: int
    watts: float


@cache
def cards() -> tuple[Card, ...]:
    """The cards of assets/cards.yaml, by memory."""
    import yaml

    found = yaml.safe_load((shelf() / "cards.yaml").read_text("utf-8"))
    return tuple(
        sorted((Card(each["name"], round(each["memory"] * 1e9), each["watts"]) for each in found), key=lambda card: card.memory)
    )


def cards_for(need: Memory, memory: int, *, gathered: int) -> int | None:
    """How many cards of `memory` bytes it takes: one where all fits, else as many as FSDP2 (`fully_shard`) needs; None where no
    number up to MOST will do.

    Weights, gradients and the optimizer's moments are shared out. Each card has the activations, logits and cache of a batch of
    its own, and `gathered` bytes: the weights that are whole while a layer works.
    """
    room = int(FILL * memory)
    if need.total <= room:
        return 1
    shared = need.weights + need.gradients + need.optimizer
    left = room - (need.total - shared) - gathered
    if left <= 0:
        return None
    count = max(2, math.ceil(shared / left))
    return count if count <= MOST else None
