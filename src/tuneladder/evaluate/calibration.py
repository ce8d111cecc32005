"""Is a variant as sure as it is right? Expected calibration error (arXiv:1706.04599, equation 3) over bins of as many rows each
(arXiv:1904.01685, section 3), those that are as sure together: so no bin is empty, and which row comes first changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tuneladder.evaluate.intervals import Array, resampled, wilson
from tuneladder.types import Marked, Score

BINS = 10
FEWEST = 20  # rows with fewer say nothing of how sure a variant should be
DRAWS = 1000
WIDEST = 8.0  # times its own error that a variant's may be at most


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

    apart = inside * (confidence - right)[:, None]
    value, low, high = _error(apart, seed)
    interval = "bootstrap"
    if not (right @ inside % inside.sum(0)).any():
        interval = "wilson"
        low, high = _of_one_sort(confidence @ inside, right @ inside, inside.sum(0))
    draws = np.random.default_rng(seed).random((DRAWS, count)) < confidence
    by_chance = np.abs((confidence - draws) @ inside).sum(1) / count
    bins = [Bin(float(confidence[own].mean()), _share(right[own])) for own in inside.T.astype(bool)]
    surest = _share(right[confidence >= np.median(confidence)])
    return Calibration(Score(value, low, high, count, interval), float(np.quantile(by_chance, 0.95)), surest, tuple(bins))


def _error(apart: Array, seed: int) -> tuple[float, float, float]:
    """The error and the ends of its interval. apart (N, bins): of each row confidence less right, in its bin.

    Noise adds to a sum of absolute values, so an error is seen too high, and one resampled from it is higher still. The interval
    is of the errors of which the one seen is neither among the highest fortieth nor the lowest: every bin's distance times one
    factor, with the noise that resampling has (a test turned round). It holds 0 where chance may explain the error.
    """
    sums = apart.sum(0)
    noise = np.concatenate([weights @ apart for weights in resampled(len(apart), seed, DRAWS)]) - sums
    value = float(np.abs(sums).sum())

    def end(share: float) -> float:
        """The error of which this share of what would be seen lies below what is."""
        low, high = 0.0, WIDEST
        while high - low > 1e-4:
            middle = (low + high) / 2
            over = np.quantile(np.abs(middle * sums + noise).sum(1), share) > value
            low, high = (low, middle) if over else (middle, high)
        return low * value

    return value / len(apart), min(end(0.975), value) / len(apart), max(end(0.025), value) / len(apart)


def _of_one_sort(confidence: Array, right: Array, rows: Array) -> tuple[float, float]:
    """The ends of the error's interval where each bin's rows (bins,) are all right or all wrong, and drawn again would be so too.
    As many of the other sort may be unseen as Wilson's interval allows among all rows: least of an error is left where they lie in
    bins that they explain, and most is made of it where they lie together, in the bins to whose distance they add most."""
    away = np.abs(confidence - right)  # what confidence and the share that is right are apart, in rows
    unseen = wilson(0.0, int(rows.sum()))[1] * rows.sum()
    least, most, left = max(0.0, away.sum() - unseen), away.sum(), unseen
    for own, room in sorted(zip(away, rows, strict=True), key=lambda each: min(unseen, each[1]) - 2 * each[0], reverse=True):
        there = min(left, room)
        # they pull the share past the confidence before they add to the distance
        most += max(0.0, abs(there - own) - own)
        left -= there
    return float(least / rows.sum()), float(most / rows.sum())


def _share(right: Array) -> Score:
    low, high = wilson(float(right.sum()), len(right))
    return Score(float(right.mean()), low, high, len(right), "wilson")
