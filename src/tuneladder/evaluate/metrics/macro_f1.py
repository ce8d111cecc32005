"""Macro-F1: the mean of the labels' F1, over the labels that are true or said of some row, as scikit-learn's f1_score.

An answer outside the labels is wrong, and is no label of its own.
"""

from __future__ import annotations

import numpy as np

from tuneladder.evaluate.intervals import Array
from tuneladder.evaluate.labels import split, tally

better = "higher"
best = 1.0
kinds = ("classify",)
interval = "bootstrap"
statistics = tally


def combine(sums: Array) -> Array:
    right, true, said = split(sums)
    seen = true + said > 0
    f1 = np.divide(2 * right, true + said, out=np.zeros_like(right), where=seen)
    return np.asarray(f1.sum(1) / seen.sum(1))
