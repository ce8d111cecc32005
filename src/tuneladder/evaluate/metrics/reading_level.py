"""Reading level: the share of answers in English that are no harder to read than a school grade (Kincaid et al. 1975)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tuneladder.errors import BadInput

better = "higher"
best = 1.0
relative = True  # references may break it, though not all of them will
kinds = ()
interval = "wilson"

_WORD = re.compile(r"[A-Za-z]+(?:['’][A-Za-z]+)*")
_END = re.compile(r"[.!?]+(?:\s|$)|\n+")
_VOWELS = re.compile(r"[aeiouy]+")


@dataclass(frozen=True, kw_only=True)
class Settings:
    at_most: float | None = None

    def __post_init__(self) -> None:
        if self.at_most is None:
            raise BadInput("reading_level sets no grade", "reading_level: {at_most: 8}")

    def items(self, answers: Sequence[str], references: Sequence[Sequence[str]], labels: Sequence[str]) -> list[float]:
        assert self.at_most is not None
        return [float((level := grade(answer)) is not None and level <= self.at_most) for answer in answers]


def grade(text: str) -> float | None:
    """Flesch and Kincaid's grade: 0.39 words a sentence + 11.8 syllables a word - 15.59; None of a text without words."""
    words = _WORD.findall(text)
    if not words:
        return None
    sentences = sum(bool(_WORD.search(part)) for part in _END.split(text))
    return 0.39 * len(words) / sentences + 11.8 * sum(map(_syllables, words)) / len(words) - 15.59


def _syllables(word: str) -> int:
    """Groups of vowels, but for an e that ends a word silently: a count by rule, right for most words and not for all."""
    word = word.lower()
    count = len(_VOWELS.findall(word))
    silent = (word.endswith("e") and not word.endswith(("le", "ee"))) or (word.endswith("ed") and not word.endswith(("ted", "ded")))
    return max(1, count - 1 if silent else count)
