"""Parse rate: the share of answers that are JSON objects, after one repair where it took one (task/record.py)."""

from __future__ import annotations

from collections.abc import Sequence

from tuneladder.task.record import record_in

better = "higher"
best = 1.0
kinds = ("record",)
interval = "wilson"


def items(answers: Sequence[str], references: Sequence[Sequence[str]], labels: Sequence[str]) -> list[float]:
    return [float(record_in(answer) is not None) for answer in answers]
