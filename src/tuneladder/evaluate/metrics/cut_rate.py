"""Cut rate: the share of answers that end before their JSON object does, as `max_new_tokens` cuts them even under a schema. Those
of them that then do not fit the schema are no objects to any other metric (task/record.py)."""

from __future__ import annotations

from collections.abc import Sequence

from tuneladder.task.record import cut_off
from tuneladder.types import Answer, Example

better = "lower"
best = 0.0
worst = 1.0
kinds = ("record",)
interval = "wilson"

_CUT, _WHOLE = "cut", "whole"


def outcomes(examples: Sequence[Example], answers: Sequence[Answer]) -> list[str]:
    """What became of each, by all that was written."""
    return [_CUT if cut_off(answer.raw or answer.text) else _WHOLE for answer in answers]


def items(answers: Sequence[str], references: Sequence[Sequence[str]], labels: Sequence[str]) -> list[float]:
    """Of outcomes."""
    return [float(answer == _CUT) for answer in answers]
