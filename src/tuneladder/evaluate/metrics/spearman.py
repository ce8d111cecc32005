"""Spearman's correlation of answers and references that are numbers: Pearson's of their ranks, equals sharing theirs, as scipy's
spearmanr. An answer that is no number has the mean rank. The bootstrap draws rows and keeps the ranks that they have among all.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tuneladder.evaluate.correlation import combine as combine
from tuneladder.evaluate.correlation import number, numbers, sums_of
from tuneladder.evaluate.intervals import Array

better = "higher"
best = 1.0
least = -1.0
kinds = ()
interval = "bootstrap"


def statistics(answers: Sequence[str], references: Sequence[Sequence[str]], labels: Sequence[str]) -> Array:
    """Those of `sums_of`. Raises BadInput for a reference that is no number."""
    read = [number(answer) for answer in answers]
    said = _ranks(np.array([each for each in read if each is not None]))
    ranks = np.full(len(read), said.mean() if len(said) else 0.0)
    ranks[[each is not None for each in read]] = said
    return sums_of(ranks, _ranks(numbers(references, "spearman")))


def _ranks(values: Array) -> Array:
    _, where, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[where])
