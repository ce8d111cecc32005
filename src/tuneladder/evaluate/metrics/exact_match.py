"""Exact match: the share of rows whose answer is one of the references, but for white space and Unicode composition."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

better = "higher"
best = 1.0
kinds = ("generate", "extract", "record", "chat")
interval = "wilson"


def items(answers: Sequence[str], references: Sequence[Sequence[str]], labels: Sequence[str]) -> list[float]:
    return [float(_plain(answer) in map(_plain, row)) for answer, row in zip(answers, references, strict=True)]


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())
