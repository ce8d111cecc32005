"""Learning rewards: answers as passes of a model with a reward's head, and the losses of what people said of them.

Shapes: P pairs, R rows (2 P: chosen, rejected, chosen, ...), T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from tuneladder.model.batching import TILE
from tuneladder.model.rewarding import laid, rewards
from tuneladder.task.encode import Coder
from tuneladder.task.passages import TextCoder
from tuneladder.train.preference import Compared, Pair
from tuneladder.types import Comparison


@dataclass(frozen=True)
class Rated(Pair):
    """A pair with what people said of it: by how much chosen is better, and the score of each."""

    margin: float
    scores: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Ratings(Compared):
    """A pass of a reward model: `margins` (P,) are what people said of a pair, `scores` (P, 2) of each answer."""

    margins: torch.Tensor
    scores: torch.Tensor


def ratings(pairs: Sequence[Rated], *, coder: Coder | TextCoder) -> Ratings:
    """The pairs as a pass, padded."""
    rows = [side.ids for pair in pairs for side in pair.sides]
    inputs, places = laid(rows, coder, tile=TILE)
    assert inputs["input_ids"] is not None
    return Ratings(
        ids=inputs["input_ids"],
        rows=places,
        targets=torch.zeros(len(rows)),
        mask=inputs["attention_mask"],
        segments=inputs.get("token_type_ids"),
        margins=torch.tensor([pair.margin for pair in pairs]),
        counts=torch.tensor([pair.weight for pair in pairs]),
        scores=torch.tensor([pair.scores for pair in pairs]),
    )


def of_ratings(model: Any, micro: Ratings) -> torch.Tensor:
    """The rewards (P, 2) of chosen and rejected."""
    return rewards(model, micro.read, micro.rows).view(-1, 2)


def pairwise(rewards_P2: torch.Tensor, micro: Ratings) -> torch.Tensor:
    """The loss of each pair (P,): minus the log-probability that the chosen answer is preferred (arXiv:2203.02155, equation 1),
    by at least the margin that people gave it (arXiv:2307.09288, equation 2)."""
    return -functional.logsigmoid(rewards_P2[:, 0] - rewards_P2[:, 1] - micro.margins)


def regression(rewards_P2: torch.Tensor, micro: Ratings) -> torch.Tensor:
    """The loss of each pair (P,): the mean square by which the rewards miss the scores that people gave."""
    return ((rewards_P2 - micro.scores) ** 2).mean(1)


def rated(found: Sequence[tuple[Comparison, Pair]]) -> list[Rated]:
    """Pairs in tokens with what their comparisons say of them."""
    return [Rated(*pair.sides, pair.weight, own.margin, own.scores or (0.0, 0.0)) for own, pair in found]
