"""Entity F1: micro-averaged F1 of the (field, value) pairs of JSON objects, right where both are the same after normalising.

A field inside an object is named by its path (`address.city`). Each item of a list is a pair of its own, whatever its place, and
one that stands twice counts twice; an object in a list is one item, right as a whole. Null, empty texts and empty lists are no
pairs. Texts are compared without case, spacing and Unicode's compatible forms; 3, 3.0 and "3" are the same. An answer that is no
object says nothing; of several references the nearest counts. Where there is nothing to find and nothing was said it is 1.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tuneladder.evaluate.intervals import Array
from tuneladder.task.formats import text_of
from tuneladder.task.leaks import normal

better = "higher"
best = 1.0
kinds = ("record",)
interval = "bootstrap"

Pairs = Counter[tuple[str, str]]


def statistics(answers: Sequence[str], references: Sequence[Sequence[str]], labels: Sequence[str]) -> Array:
    """(rows, 3): pairs that are right, true and said."""
    rows = []
    for answer, row in zip(answers, references, strict=True):
        said = pairs_of(answer)
        counts = [((said & true).total(), true.total(), said.total()) for true in map(pairs_of, row)]
        rows.append(max(counts, key=lambda count: (2 * count[0] / (count[1] + count[2] or 1), -count[1])))
    return np.array(rows, dtype=np.float64)


def combine(sums: Array) -> Array:
    right, true, said = sums.T
    return np.asarray(np.divide(2 * right, true + said, out=np.ones_like(right), where=true + said > 0))


def pairs_of(text: str) -> Pairs:
    """The pairs of an object that is written out; none where it is no object."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return Counter()
    return Counter(_pairs(found, "")) if isinstance(found, dict) else Counter()


def _pairs(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, each in value.items():
            yield from _pairs(each, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for each in value:
            if isinstance(each, dict):
                yield path, json.dumps(sorted(_pairs(each, "")), ensure_ascii=False)
            else:
                yield from _pairs(each, path)
    elif said := normal(text_of(value)):
        yield path, said
