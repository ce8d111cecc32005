"""Learning rewards: answers as passes of a model with a reward's head, and the losses of what people said of them.

Shapes: P pairs, R answers (of pairs 2 P: chosen, rejected, chosen, ...), T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from tuneladder.model.batching import TILE
from tuneladder.model.rewarding import laid, rewards
from tuneladder.task.comparing import Unit, one_by_one
from tuneladder.task.encode import Coder, Encoded
from tuneladder.task.passages import TextCoder
from tuneladder.train.preference import Compared, Sides, counted, encode_each, encode_pairs
from tuneladder.types import Comparison, Variant


@dataclass(frozen=True)
class Rated:
    """A pair, or an answer by itself, in tokens, with what people said of it: how much that counts, by how much chosen is better,
    as a share of the task's largest margin, and the score of each answer, in the task's unit."""

    sides: tuple[Encoded, ...]
    weight: float
    margin: float
    scores: tuple[float, ...]

    @property
    def ids(self) -> list[int]:
        return [token for side in self.sides for token in side.ids]


@dataclass(frozen=True, kw_only=True)
class Ratings(Compared):
    """A pass of a reward model: `margins` (P,) are what people said of a pair, `scores` (R,) of each answer."""

    margins: torch.Tensor
    scores: torch.Tensor


def ratings(rows: Sequence[Rated], *, coder: Coder | TextCoder) -> Ratings:
    """The rows as a pass, padded."""
    answers = [side.ids for row in rows for side in row.sides]
    inputs, places = laid(answers, coder, tile=TILE)
    assert inputs["input_ids"] is not None
    return Ratings(
        ids=inputs["input_ids"],
        rows=places,
        targets=torch.zeros(len(answers)),
        mask=inputs["attention_mask"],
        segments=inputs.get("token_type_ids"),
        margins=torch.tensor([row.margin for row in rows]),
        counts=torch.tensor([row.weight for row in rows]),
        scores=torch.tensor([score for row in rows for score in row.scores]),
    )


def of_ratings(model: Any, micro: Ratings) -> torch.Tensor:
    """The rewards (R,) of the answers."""
    return rewards(model, micro.read, micro.rows)


def pairwise(rewards_R: torch.Tensor, micro: Ratings) -> torch.Tensor:
    """The loss of each pair (P,): minus the log-probability that the chosen answer is preferred (arXiv:2203.02155, equation 1),
    by at least the margin that people gave it (arXiv:2307.09288, equation 2)."""
    rewards_P2 = rewards_R.view(-1, 2)
    return -functional.logsigmoid(rewards_P2[:, 0] - rewards_P2[:, 1] - micro.margins)


def regression(rewards_R: torch.Tensor, micro: Ratings) -> torch.Tensor:
    """The loss of each answer (R,): the square by which its reward misses the score that people gave."""
    return (rewards_R - micro.scores) ** 2


def widest(comparisons: Sequence[Comparison]) -> float:
    """The largest margin that people gave a pair; 1 where they gave none."""
    return max((abs(own.margin) for own in comparisons), default=0.0) or 1.0


def by_pairs(
    sides: Sides, variant: Variant, comparisons: Sequence[Comparison], *, widest: float
) -> tuple[list[Rated], dict[str, int]]:
    """Pairs with what people said of them, and the count of what was kept, cut and dropped. Margins are shares of the `widest`: a
    reward has no unit but the nats of the loss, and of gaps on a scale of 0 to 100 the loss would ask for tens of these. So the
    clearest pair is to be apart by 1, as in the small margins of arXiv:2307.09288, table 27. Not the deviation of the scores: pairs
    with margins need have no scores."""
    found, tally = encode_pairs(sides, variant, comparisons)
    return [Rated(pair.sides, pair.weight, own.margin / widest, (0.0, 0.0)) for own, pair in found], tally


def by_scores(
    sides: Sides, variant: Variant, comparisons: Sequence[Comparison], *, unit: Unit
) -> tuple[list[Rated], dict[str, int]]:
    """Answers one by one, each with its score in the unit, and the count of what was kept, cut and dropped. Those without a score
    are passed over."""
    scored = [(own, own.scores[0]) for own in one_by_one(comparisons) if own.scores]
    found = encode_each(sides, variant, [own for own, _ in scored])
    kept = [
        Rated((answer[0],), row.weight, 0.0, (unit.normal(score),))
        for (row, score), answer in zip(scored, found, strict=True)
        if answer
    ]
    return kept, counted([row.sides for row in kept], dropped=len(scored) - len(kept))
