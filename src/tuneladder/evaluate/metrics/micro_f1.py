"""Micro-F1 over the labels, as scikit-learn's f1_score: accuracy, unless some answers are outside the labels."""

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
    return np.asarray(2 * right.sum(1) / (true + said).sum(1))
