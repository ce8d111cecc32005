"""Format: the share of answers that are JSON, a single line, a list, or match a pattern of one's own from end to end."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tuneladder.errors import BadInput

better = "higher"
best = 1.0
relative = True  # references may break it, though not all of them will
kinds = ()
interval = "wilson"

_POINT = re.compile(r"\s*(?:[-*•]|\d+[.)])\s+\S")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Give one of the two. `of` list: every line that is not blank begins with a dash, a star, a bullet or a number."""

    of: Literal["json", "line", "list"] | None = None
    pattern: str = ""

    def __post_init__(self) -> None:
        if (self.of is None) == (not self.pattern):
            raise BadInput("format takes `of` or `pattern`, one of them", 'format: {of: json}, or {pattern: "[A-Z].*[.]"}')
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise BadInput(f"format: the pattern {self.pattern!r} cannot be read: {error}", "it is a regular expression") from error

    def items(self, answers: Sequence[str], references: Sequence[Sequence[str]], labels: Sequence[str]) -> list[float]:
        return [float(self._fits(answer.strip())) for answer in answers]

    def _fits(self, answer: str) -> bool:
        lines = [line for line in answer.splitlines() if line.strip()]
        if self.of == "line":
            return len(lines) == 1
        if self.of == "list":
            return bool(lines) and all(_POINT.match(line) for line in lines)
        if self.of == "json":
            return _is_json(answer)
        return re.fullmatch(self.pattern, answer, re.DOTALL) is not None


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
