"""Forbidden words: the share of answers that have none of them, as whole words, in capitals or not."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tuneladder.errors import BadInput
from tuneladder.task.scripts import whole

better = "higher"
best = 1.0
relative = True  # references may break it, though not all of them will
kinds = ()
interval = "wilson"


@dataclass(frozen=True, kw_only=True)
class Settings:
    words: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.words or not all(word.strip() for word in self.words):
            raise BadInput("forbidden_words names no word", "forbidden_words: {words: [guarantee, as an AI]}")

    def items(self, answers: Sequence[str], references: Sequence[Sequence[str]], labels: Sequence[str]) -> list[float]:
        spaced = (" ".join(word.split()) for word in self.words)
        found = re.compile(whole(spaced).replace(re.escape(" "), r"\s+"), re.IGNORECASE)
        return [float(found.search(answer) is None) for answer in answers]
