"""A row as a hurried or careless person would have written it. What is asked for, and its answer, stay what they are.

Seeded by the row's id: the same row is always written the same, whichever other rows stand beside it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import replace

from tuneladder.types import Example, Turn

INSTRUCTION = "instruction"  # changes what stands before the rows, not the rows
KEYS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
WIDEST = 3  # blanks in place of one
_WORD = re.compile(r"[^\W\d_]{3,}")  # letters only: numbers, names of files and the like stay


def perturbed(example: Example, way: str, *, share: float, seed: int) -> Example:
    """The example with every text of its user's written another way, one of WAYS; `share` of the words get a typo."""
    draw = random.Random(f"{seed} {way} {example.id}")
    turns = tuple(Turn(turn.role, WAYS[way](turn.text, draw, share)) if turn.role == "user" else turn for turn in example.turns)
    return replace(example, turns=turns)


def _typos(text: str, draw: random.Random, share: float) -> str:
    """One typo in each word drawn, and in one at least where there is a word of three letters."""
    words = list(_WORD.finditer(text))
    if not words:
        return text
    count = max(1, round(share * len(words)))
    for word in sorted(draw.sample(words, count), key=lambda word: word.start(), reverse=True):
        text = text[: word.start()] + _mistyped(word[0], draw) + text[word.end() :]
    return text


def _mistyped(word: str, draw: random.Random) -> str:
    """Two letters swapped, one left out, one twice, or the key beside it; never the word itself, and no two words out of one."""
    ways = (_swapped, _left_out, _doubled, _beside)
    for way in draw.sample(ways, len(ways)):
        if (made := way(word, draw.randrange(1, len(word)))) != word:
            return made
    raise AssertionError("a letter more is another word")


def _swapped(word: str, at: int) -> str:
    return word[: at - 1] + word[at] + word[at - 1] + word[at + 1 :]


def _left_out(word: str, at: int) -> str:
    return word[:at] + word[at + 1 :]


def _doubled(word: str, at: int) -> str:
    return word[: at + 1] + word[at:]


def _beside(word: str, at: int) -> str:
    row = next((row for row in KEYS if word[at].lower() in row), "")
    if not row:
        return word
    place = row.index(word[at].lower())
    key = row[place + 1 if place + 1 < len(row) else place - 1]
    return word[:at] + (key.upper() if word[at].isupper() else key) + word[at + 1 :]


def _case(text: str, draw: random.Random, share: float) -> str:
    """All in small letters or all in capitals, whichever is drawn; the other where the text is written so already."""
    first, second = draw.sample((text.lower(), text.upper()), 2)
    return first if first != text else second


def _spacing(text: str, draw: random.Random, share: float) -> str:
    """One to three blanks for each, and more than one at least once."""
    blanks = text.count(" ")
    counts = [draw.randint(1, WIDEST) for _ in range(blanks)]
    if counts and max(counts) == 1:
        counts[draw.randrange(blanks)] = WIDEST
    widths = iter(counts)
    return re.sub(" ", lambda blank: " " * next(widths), text)


WAYS: dict[str, Callable[[str, random.Random, float], str]] = {"typos": _typos, "case": _case, "spacing": _spacing}
