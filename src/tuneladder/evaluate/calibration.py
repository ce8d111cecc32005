"""Is a variant as sure as it is right? Expected calibration error (arXiv:1706.04599, equation 3) over bins of as many rows each
(arXiv:1904.01685, section 3), those that are as sure together: so no bin is empty, and which row comes first changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tuneladder.evaluate.intervals import Array, bootstrap, wilson
from tuneladder.types import Marked, Score

BINS = 10
FEWEST = 20  # rows with fewer say nothing of how sure a variant should be
DRAWS = 1000


@dataclass(frozen=True)
class Bin:
    """Rows that a variant was about as sure of: its mean confidence, and the share that is right, with Wilson's interval."""

    confidence: float
    right: Score


@dataclass(frozen=True)
class Calibration:
    """`error` is the mean distance of confidence from the share that is right; `chance` the error that 19 of 20 variants stay below
    which are as sure and err no more than they say: sampling alone makes one. `surest` is the share right of the surer half."""

    error: Score
    chance: float
    surest: Score
    bins: tuple[Bin, ...]

    @property
    def off(self) -> bool:
        """Whether chance alone does not explain the error."""
        return self.error.value > self.chance


def calibration(answers: Sequence[Marked], *, seed: int) -> Calibration | None:
    """None where answers have no confidence, are not simply right or wrong, or are too few."""
    sure = [row.answer.confidence for row in answers if row.answer.confidence is not None and row.correct is not None]
    if len(sure) < max(FEWEST, len(answers)):
        return None
    order = np.argsort(sure, kind="stable")
    confidence = np.array(sure, dtype=np.float64)[order]
    right = np.array([bool(row.correct) for row in answers], dtype=np.float64)[order]
    count = len(confidence)
    even = np.arange(count) * min(BINS, count // 5) // count
    where = even[np.searchsorted(confidence, confidence)]
    inside = (where[:, None] == np.unique(where)).astype(np.float64)

    def errors(sums: Array) -> Array:
        """sums (R, bins + 1): of each bin confidence less right, and the rows -> (R,)."""
        found: Array = np.abs(sums[:, :-1]).sum(1) / sums[:, -1]
        return found

    apart = np.column_stack([inside * (confidence - right)[:, None], np.ones(count)])
    value = float(errors(apart.sum(0, keepdims=True))[0])
    low, high = bootstrap(apart, errors, seed=seed)
    draws = np.random.default_rng(seed).random((DRAWS, count)) < confidence
    by_chance = errors(np.column_stack([(confidence - draws) @ inside, np.full(DRAWS, float(count))]))
    bins = [Bin(float(confidence[own].mean()), _share(right[own])) for own in inside.T.astype(bool)]
    surest = _share(right[confidence >= np.median(confidence)])
    return Calibration(Score(value, low, high, count, "bootstrap"), float(np.quantile(by_chance, 0.95)), surest, tuple(bins))


def _share(right: Array) -> Score:
    low, high = wilson(float(right.sum()), len(right))
    return Score(float(right.mean()), low, high, len(right), "wilson")
