"""Micro-F1 over the labels, as scikit-learn's f1_score: accuracy, unless some answers are outside the labels, or rows
have several. Where no row has a label and none was said it is 1."""

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
    count = (true + said).sum(1)
    return np.asarray(np.divide(2 * right.sum(1), count, out=np.ones_like(count), where=count > 0))
