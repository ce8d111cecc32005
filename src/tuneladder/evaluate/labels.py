"""What the label metrics count: for every label how often it was right, true and said."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tuneladder.errors import BadInput
from tuneladder.evaluate.intervals import Array


def truths(answers: Sequence[str], references: Sequence[Sequence[str]]) -> list[str]:
    """The true label of each row: the answer itself where it is one of several acceptable ones, else the first reference."""
    return [answer if answer in row else row[0] for answer, row in zip(answers, references, strict=True)]


def tally(answers: Sequence[str], references: Sequence[Sequence[str]], labels: Sequence[str]) -> Array:
    """(rows, 3K) of 0 and 1: right, true and said, each for K labels. An answer outside the labels is said of none of them."""
    if not labels:
        raise BadInput("this metric counts labels, and the task has none", "use exact_match, or give the task labels")
    place = {label: k for k, label in enumerate(labels)}
    counts = np.zeros((len(answers), 3, len(labels)))
    for row, (answer, truth) in enumerate(zip(answers, truths(answers, references), strict=True)):
        if truth not in place:
            raise BadInput(f"the reference {truth[:80]!r} is not one of the labels", f"labels: {', '.join(labels)}")
        counts[row, 1, place[truth]] = 1
        if answer in place:
            counts[row, 2, place[answer]] = 1
            counts[row, 0, place[answer]] = answer == truth
    return counts.reshape(len(answers), -1)


def split(sums: Array) -> tuple[Array, Array, Array]:
    """Sums of tallies (R, 3K) as right, true and said, each (R, K)."""
    right, true, said = np.split(sums, 3, axis=1)
    return right, true, said
