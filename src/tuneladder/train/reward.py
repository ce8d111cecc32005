"""Learning rewards: answers as passes of a model with a reward's head, and the losses of what people said of them.

Shapes: P pairs, R rows (2 P: chosen, rejected, chosen, ...), T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch.nn import functional

from tuneladder.model.ask import turns_of_all
from tuneladder.model.batching import TILE
from tuneladder.model.rewarding import encode_answers, laid, rewards
from tuneladder.model.shelf import Live
from tuneladder.task.comparing import asked, told_apart
from tuneladder.task.encode import Encoded, Tally
from tuneladder.train.batches import Micro
from tuneladder.types import Comparison, Variant


@dataclass(frozen=True)
class Rated:
    """Two answers to one prompt in tokens, and what people said of them."""

    chosen: Encoded
    rejected: Encoded
    weight: float
    margin: float
    scores: tuple[float, float]

    @property
    def ids(self) -> list[int]:
        return [*self.chosen.ids, *self.rejected.ids]


@dataclass(frozen=True, kw_only=True)
class Ratings(Micro):
    """A pass whose rows are pairs: `margins` and `counts` (P,) are what people said of a pair, `scores` (P, 2) of each answer."""

    margins: torch.Tensor
    counts: torch.Tensor
    scores: torch.Tensor

    @property
    def learned(self) -> float:
        """The pairs, each with its weight."""
        return float(self.counts.sum(dtype=torch.float64))


def ratings(pairs: Sequence[Rated], *, live: Live, decoder: bool) -> Ratings:
    """The pairs as a pass, padded."""
    rows = [side.ids for pair in pairs for side in (pair.chosen, pair.rejected)]
    inputs, places = laid(rows, live.coder if decoder else live.texts, tile=TILE)
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


def encode_ratings(
    live: Live, variant: Variant, comparisons: Sequence[Comparison], limit: int, *, decoder: bool
) -> tuple[list[Rated], dict[str, int]]:
    """The pairs that fit, in order, and the count of what was kept, cut and dropped; those whose answers are the same tell
    nothing. No token is learned."""
    pairs = told_apart(comparisons)
    asks = turns_of_all(variant.prompt, [asked(pair) for pair in pairs])
    groups = [(turns, (pair.chosen, pair.rejected)) for turns, pair in zip(asks, pairs, strict=True)]
    found = encode_answers(live.coder if decoder else live.texts, groups, limit=limit)
    rows = [
        Rated(own[0], own[1], pair.weight, pair.margin, pair.scores or (0.0, 0.0))
        for own, pair in zip(found, pairs, strict=True)
        if own
    ]
    cut = sum(row.chosen.cut > 0 or row.rejected.cut > 0 for row in rows)
    return rows, asdict(Tally(len(rows), cut, len(comparisons) - len(rows), 0, sum(len(row.ids) for row in rows)))
