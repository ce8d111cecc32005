"""Judge: how good a judge finds the answers (arXiv:2306.05685). The mean of its marks, 0 for the lowest and 1 for the highest, or
the share of answers that it prefers to those they are set against, ties counting half. It stands in `also` alone: the answers are
judged when all are given (evaluate/judge.py), and what is marked here are the verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tuneladder.evaluate import verdicts

better = "higher"
best = 1.0
kinds = ()
interval = "bootstrap"


@dataclass(frozen=True, kw_only=True)
class Settings(verdicts.Judge):
    def items(self, answers: Sequence[str], references: Sequence[Sequence[str]], labels: Sequence[str]) -> list[float]:
        """Of verdicts that could be read."""
        return [verdicts.worth(answer) for answer in answers]
