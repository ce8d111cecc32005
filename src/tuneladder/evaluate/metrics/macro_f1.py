"""Macro-F1: the mean of the labels' F1, over the labels that are true or said of some row, as scikit-learn's f1_score.

An answer outside the labels is wrong, and is no label of its own. Of rows with several labels, f1_score counts those that stand
nowhere as 0; they are left out here too. Where no row has a label and none was said it is 1.
"""

from __future__ import annotations

import numpy as np

from tuneladder.evaluate.intervals import Array
from tuneladder.evaluate.labels import split, tally

better = "higher"
best = 1.0
kinds = ("classify", "multi_label")
interval = "bootstrap"
statistics = tally


def combine(sums: Array) -> Array:
    right, true, said = split(sums)
    seen = true + said > 0
    f1 = np.divide(2 * right, true + said, out=np.zeros_like(right), where=seen)
    return np.asarray(np.divide(f1.sum(1), seen.sum(1), out=np.ones(len(f1)), where=seen.any(1)))
