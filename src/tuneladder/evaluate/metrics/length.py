"""Length: the share of answers that have no fewer words, characters or lines than `at_least` and no more than `at_most`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tuneladder.errors import BadInput

better = "higher"
best = 1.0
relative = True  # references may break it, though not all of them will
kinds = ()
interval = "wilson"


@dataclass(frozen=True, kw_only=True)
class Settings:
    at_least: int = 0
    at_most: int | None = None
    unit: Literal["words", "characters", "lines"] = "words"

    def __post_init__(self) -> None:
        if self.at_least <= 0 and self.at_most is None:
            raise BadInput("length sets no limit", "length: {at_most: 40}, or at_least")
        if self.at_least < 0 or (self.at_most is not None and self.at_most < self.at_least):
            raise BadInput(
                f"length of at least {self.at_least} and at most {self.at_most} {self.unit}: no answer has it",
                "0 <= at_least <= at_most",
            )

    def items(self, answers: Sequence[str], references: Sequence[Sequence[str]], labels: Sequence[str]) -> list[float]:
        most = float("inf") if self.at_most is None else self.at_most
        return [float(self.at_least <= self._length(answer.strip()) <= most) for answer in answers]

    def _length(self, answer: str) -> int:
        if self.unit == "characters":
            return len(answer)
        return len(answer.split() if self.unit == "words" else answer.splitlines())
