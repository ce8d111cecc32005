"""ROUGE-Lsum: longest common subsequences, line by line; rouge-score's F-measure, the mean over rows."""

from __future__ import annotations

from collections.abc import Sequence

from tuneladder.evaluate.rouge import f_measures

better = "higher"
best = 1.0
kinds = ("generate", "chat")
interval = "bootstrap"


def items(answers: Sequence[str], references: Sequence[Sequence[str]], labels: Sequence[str]) -> list[float]:
    return f_measures("rougeLsum", answers, references)
