"""What the label metrics count: for every label how often it was right, true and said. A row has one label, or a set of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tuneladder.errors import BadInput
from tuneladder.evaluate.intervals import Array
from tuneladder.task.multi_label import joined, labels_of


def truths(answers: Sequence[str], references: Sequence[Sequence[str]]) -> list[str]:
    """What is true of each row: the answer itself where it is one of several acceptable ones, else the first reference."""
    return [answer if answer in row else row[0] for answer, row in zip(answers, references, strict=True)]


def tally(answers: Sequence[str], references: Sequence[Sequence[str]], labels: Sequence[str]) -> Array:
    """(rows, 3K) of 0 and 1: right, true and said, each for K labels. An answer outside the labels is said of none of them; a set
    of labels, as task/multi_label.py writes it, of each that is in it."""
    if not labels:
        raise BadInput("this metric counts labels, and the task has none", "use exact_match, or give the task labels")
    place = {label: k for k, label in enumerate(labels)}
    counts = np.zeros((len(answers), 3, len(labels)))
    for row, (answer, truth) in enumerate(zip(answers, truths(answers, references), strict=True)):
        true, said = labels_of(truth, labels), labels_of(answer, labels)
        if not true and truth != joined((), labels):
            raise BadInput(f"the reference {truth[:80]!r} is not one of the labels", f"labels: {', '.join(labels)}")
        counts[row, 1, [place[label] for label in true]] = 1
        counts[row, 2, [place[label] for label in said]] = 1
    counts[:, 0] = counts[:, 1] * counts[:, 2]
    return counts.reshape(len(answers), -1)


def split(sums: Array) -> tuple[Array, Array, Array]:
    """Sums of tallies (R, 3K) as right, true and said, each (R, K)."""
    right, true, said = np.split(sums, 3, axis=1)
    return right, true, said
