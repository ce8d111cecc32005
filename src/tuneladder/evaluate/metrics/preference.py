"""Preference accuracy: the share of held-out pairs whose chosen answer a variant puts above the rejected one; one that it puts
neither above nor below counts a half.

An answer is `chosen`, `rejected` or `tie`.
"""

from __future__ import annotations

from collections.abc import Sequence

better = "higher"
best = 1.0
kinds = ("prefer",)
interval = "wilson"


def items(answers: Sequence[str], references: Sequence[Sequence[str]], labels: Sequence[str]) -> list[float]:
    return [0.5 if answer == "tie" else float(answer in row) for answer, row in zip(answers, references, strict=True)]
