"""Tag accuracy: the share of words that have their reference's tag, over the words of all rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tuneladder.evaluate.intervals import Array
from tuneladder.task.tagging import words_of

better = "higher"
best = 1.0
kinds = ("tag",)
interval = "bootstrap"


def statistics(answers: Sequence[str], references: Sequence[Sequence[str]], labels: Sequence[str]) -> Array:
    """(rows, 2): words with the right tag, words. A word that an answer has no tag for is wrong."""
    pairs = [(words_of(answer), words_of(row[0])) for answer, row in zip(answers, references, strict=True)]
    return np.array([[sum(map(str.__eq__, said, true)), len(true)] for said, true in pairs], dtype=np.float64)


def combine(sums: Array) -> Array:
    return np.asarray(sums[:, 0] / sums[:, 1])
