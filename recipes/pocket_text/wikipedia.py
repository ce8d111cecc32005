"""WikiText as people write: its words stand apart from their punctuation, and its quotes do not say which way they face."""

from __future__ import annotations

import re

_JOINED = (
    (re.compile(r" @([-,.])@ "), r"\1"),
    (re.compile(r" ([,.;:!?%)\]])"), r"\1"),
    (re.compile(r"([(\[$£€]) "), r"\1"),
    (re.compile(r" '(s|re|m|ve|d|ll)\b"), r"'\1"),
    (re.compile(r"n 't\b"), "n't"),
    (re.compile(r"s ' (?=[a-z])"), "s' "),
)
_QUOTE = re.compile(r' ?" ?')


def plain(text: str) -> str:
    """The text with its punctuation put back to its words. Quotes are taken to open and close in turn within a line."""
    return "\n".join(_line(line) for line in text.split("\n"))


def _line(line: str) -> str:
    for pattern, with_ in _JOINED:
        line = pattern.sub(with_, line)
    pieces = _QUOTE.split(line)
    joined = pieces[0]
    for number, piece in enumerate(pieces[1:]):
        opens = number % 2 == 0
        space = " " if joined and not joined.endswith("(") else ""
        after = "" if not piece or piece[0] in ",.;:!?)" else " "
        joined += f'{space}"{piece}' if opens else f'"{after}{piece}'
    return joined.strip()
