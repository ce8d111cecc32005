"""Hamming loss: the share of all decisions, one for each row and label, that are wrong, as scikit-learn's hamming_loss of rows with
several labels."""

from __future__ import annotations

from collections.abc import Sequence

from tuneladder.evaluate.labels import split, tally

better = "lower"
best = 0.0
worst = 1.0
kinds = ("multi_label",)
interval = "bootstrap"


def items(answers: Sequence[str], references: Sequence[Sequence[str]], labels: Sequence[str]) -> list[float]:
    right, true, said = split(tally(answers, references, labels))
    return [float(share) for share in (true + said - 2 * right).mean(1)]
