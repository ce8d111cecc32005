"""Pearson's correlation of answers and references that are numbers.

An answer that is no number is read as the mean of the references, which says nothing; with nothing to correlate it is 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tuneladder.errors import BadInput
from tuneladder.evaluate.intervals import Array

better = "higher"
best = 1.0
kinds = ()
interval = "bootstrap"


def statistics(answers: Sequence[str], references: Sequence[Sequence[str]], labels: Sequence[str]) -> Array:
    """(rows, 6): 1, x, y, xx, yy, xy, with x and y centred and scaled on all rows, so that the sums keep their digits."""
    true = []
    for row in references:
        number = _number(row[0])
        if number is None:
            message = f"pearson needs numbers, and a reference is {row[0][:80]!r}"
            raise BadInput(message, "choose another metric, or clean the target column")
        true.append(number)
    y = np.array(true)
    read = [_number(answer) for answer in answers]
    x = np.array([y.mean() if number is None else number for number in read])
    x, y = _standard(x), _standard(y)
    return np.column_stack([np.ones(len(x)), x, y, x * x, y * y, x * y])


def combine(sums: Array) -> Array:
    count, x, y, xx, yy, xy = sums.T
    spread = (xx - x * x / count) * (yy - y * y / count)
    size = np.sqrt(np.maximum(spread, 0))
    return np.asarray(np.divide(xy - x * y / count, size, out=np.zeros_like(count), where=spread > 1e-20))


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _standard(values: Array) -> Array:
    centred = values - values.mean()
    return np.asarray(centred / (np.abs(centred).max() or 1.0))
