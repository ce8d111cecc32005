"""Span F1: micro-averaged F1 of entities, right where type, first and last word are, as the CoNLL-2003 evaluation counts
(doi:10.3115/1119176.1119195) and seqeval after it. Tags that are of no entity, such as parts of speech, each count as a span of
one word. Where there is nothing to find and nothing was found it is 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tuneladder.evaluate.intervals import Array
from tuneladder.task.tagging import entities, words_of

better = "higher"
best = 1.0
kinds = ("tag",)
interval = "bootstrap"


def statistics(answers: Sequence[str], references: Sequence[Sequence[str]], labels: Sequence[str]) -> Array:
    """(rows, 3): entities that are right, true and said."""
    pairs = [
        (set(entities(words_of(said))), set(entities(words_of(row[0])))) for said, row in zip(answers, references, strict=True)
    ]
    return np.array([[len(said & true), len(true), len(said)] for said, true in pairs], dtype=np.float64)


def combine(sums: Array) -> Array:
    right, true, said = sums.T
    return np.asarray(np.divide(2 * right, true + said, out=np.ones_like(right), where=true + said > 0))
