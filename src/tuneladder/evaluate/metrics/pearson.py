"""Pearson's correlation of answers and references that are numbers.

An answer that is no number is read as the mean of those that are, which says nothing; with nothing to correlate it is 0.
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
    y = numbers(references, "pearson")
    read = [number(answer) for answer in answers]
    known = [each for each in read if each is not None]
    middle = sum(known) / len(known) if known else 0.0
    return sums_of(np.array([middle if each is None else each for each in read]), y)
