"""Accuracy: the share of rows whose answer is, to the letter, one of the references. Of rows with several labels it is subset
accuracy, as scikit-learn's accuracy_score: the whole set has to be right."""

from __future__ import annotations

from collections.abc import Sequence

better = "higher"
best = 1.0
kinds = ("classify", "choose", "multi_label")
interval = "wilson"


def items(answers: Sequence[str], references: Sequence[Sequence[str]], labels: Sequence[str]) -> list[float]:
    return [float(answer in row) for answer, row in zip(answers, references, strict=True)]
