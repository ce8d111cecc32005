"""An engine without a model, for tests: everything above the engine runs offline and at once."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from tuneladder.types import Decoding, Turns


class FakeEngine:
    """Answers by the text of the last user turn, or by a function of all turns; `asked` keeps what it was asked.

    Ranking gives the known answer 0.9 of the probability and the other endings the rest.
    """

    name = "fake"

    def __init__(self, answers: Mapping[str, str] | Callable[[Turns], str], *, default: str = "") -> None:
        self.asked: list[Turns] = []
        self._answers = answers
        self._default = default

    def generate(self, asks: Sequence[Turns], decoding: Decoding) -> list[list[str]]:
        self.asked += asks
        return [[self._answer(turns)] * decoding.samples for turns in asks]

    def stream(self, turns: Turns, decoding: Decoding) -> Iterator[str]:
        """The answer word by word."""
        self.asked.append(turns)
        yield from re.findall(r"\s*\S+|\s+", self._answer(turns))

    def score(self, asks: Sequence[Turns], endings: Sequence[Sequence[str]]) -> list[list[float]]:
        self.asked += asks
        found = []
        for turns, options in zip(asks, endings, strict=True):
            answer = self._answer(turns)
            rest = 0.1 if answer in options else 1.0
            others = sum(option != answer for option in options)
            found.append([math.log(0.9 if option == answer else rest / others) for option in options])
        return found

    def read(self, texts: Sequence[str]) -> list[float]:
        """Every byte at one bit."""
        return [-math.log(2) * len(text.encode()) for text in texts]

    def _answer(self, turns: Turns) -> str:
        if callable(self._answers):
            return self._answers(turns)
        last = next((turn.text for turn in reversed(turns) if turn.role == "user"), "")
        return self._answers.get(last, self._default)
