"""Matthews correlation for any number of labels (Gorodkin 2004), as scikit-learn's matthews_corrcoef.

All answers outside the labels count as one more class, which is never true. Every row has one label.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tuneladder.errors import BadInput
from tuneladder.evaluate.intervals import Array
from tuneladder.evaluate.labels import split, tally

better = "higher"
best = 1.0
least = -1.0
kinds = ("classify",)
interval = "bootstrap"


def statistics(answers: Sequence[str], references: Sequence[Sequence[str]], labels: Sequence[str]) -> Array:
    """Those of `tally`. Raises BadInput for a row with several labels, or none."""
    counts = tally(answers, references, labels)
    if (split(counts)[1].sum(1) != 1).any():
        raise BadInput("Matthews correlation is of rows with one label each", "use macro_f1 or micro_f1")
    return counts


def combine(sums: Array) -> Array:
    right, true, said = split(sums)
    rows = true.sum(1)
    outside = rows - said.sum(1)
    covariance = right.sum(1) * rows - (true * said).sum(1)
    spread = (rows**2 - (said**2).sum(1) - outside**2) * (rows**2 - (true**2).sum(1))
    return np.asarray(np.divide(covariance, np.sqrt(spread), out=np.zeros_like(rows), where=spread > 0))
