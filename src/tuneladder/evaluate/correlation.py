"""What the correlations count: sums of two columns of numbers, their squares and their products."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tuneladder.errors import BadInput
from tuneladder.evaluate.intervals import Array


def numbers(references: Sequence[Sequence[str]], metric: str) -> Array:
    """The first reference of each row. Raises BadInput for one that is no number."""
    true = []
    for row in references:
        found = number(row[0])
        if found is None:
            message = f"{metric} needs numbers, and a reference is {row[0][:80]!r}"
            raise BadInput(message, "choose another metric, or clean the target column")
        true.append(found)
    return np.array(true)


def number(text: str) -> float | None:
    try:
        found = float(text)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def sums_of(x: Array, y: Array) -> Array:
    """(rows, 6): 1, x, y, xx, yy, xy, with x and y centred and scaled on all rows, so that the sums keep their digits."""
    x, y = _standard(x), _standard(y)
    return np.column_stack([np.ones(len(x)), x, y, x * x, y * y, x * y])


def combine(sums: Array) -> Array:
    """Pearson's correlation; with nothing to correlate it is 0."""
    count, x, y, xx, yy, xy = sums.T
    spread = (xx - x * x / count) * (yy - y * y / count)
    size = np.sqrt(np.maximum(spread, 0))
    return np.asarray(np.divide(xy - x * y / count, size, out=np.zeros_like(count), where=spread > 1e-20))


def _standard(values: Array) -> Array:
    centred = values - values.mean()
    return np.asarray(centred / (np.abs(centred).max() or 1.0))
