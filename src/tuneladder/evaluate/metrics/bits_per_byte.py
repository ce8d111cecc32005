"""Bits per byte of plain text: the negative log-probability, base 2, of all passages over their UTF-8 bytes.

An answer is the natural log-probability that the model gives the passage, as a decimal; the reference is the passage.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tuneladder.evaluate.intervals import Array

better = "lower"
best = 0.0
kinds = ("text",)
interval = "bootstrap"


def statistics(answers: Sequence[str], references: Sequence[Sequence[str]], labels: Sequence[str]) -> Array:
    """(rows, 2): bits and bytes."""
    bits = [-float(answer) / math.log(2) for answer in answers]
    sizes = [len(row[0].encode("utf-8", "surrogatepass")) for row in references]
    return np.array([bits, sizes], dtype=np.float64).T


def combine(sums: Array) -> Array:
    return np.asarray(sums[:, 0] / sums[:, 1])
