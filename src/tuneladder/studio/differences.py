"""Words in which an item's answers differ, marked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from functools import lru_cache

from markupsafe import Markup, escape

LONGEST = 1200  # words and blanks of an answer: what is longer takes too long to compare while somebody waits
ALIKE = 0.35  # of the words: two answers that have less in common differ throughout, and marking all of it helps nobody


@lru_cache(maxsize=4096)
def marked(answers: tuple[str, ...]) -> tuple[Markup, ...]:
    """The answers as HTML in which `<mark>` holds the words that not all others have in that place; what is not HTML of ours is
    escaped. Others that an answer has little in common with do not count; and answers that are too long stay as they are."""
    pieces = [re.findall(r"\s+|\w+|[^\w\s]", text) for text in answers]
    if len(answers) < 2 or max(map(len, pieces)) > LONGEST:
        return tuple(escape(text) for text in answers)
    common = [[True] * len(own) for own in pieces]
    for one in range(len(pieces)):
        for other in range(one + 1, len(pieces)):
            match = SequenceMatcher(None, pieces[one], pieces[other], autojunk=False)
            if _alike(pieces[one], pieces[other], match) < ALIKE:
                continue
            for _, start, end, from_, to in (step for step in match.get_opcodes() if step[0] != "equal"):
                common[one][start:end] = [False] * (end - start)
                common[other][from_:to] = [False] * (to - from_)
    return tuple(_html(own, same) for own, same in zip(pieces, common, strict=True))


def _alike(one: Sequence[str], other: Sequence[str], match: SequenceMatcher[str]) -> float:
    """The share of both answers' words that stand in both."""
    words = sum(not piece.isspace() for piece in (*one, *other))
    both = sum(not piece.isspace() for block in match.get_matching_blocks() for piece in one[block.a : block.a + block.size])
    return 2 * both / words if words else 1.0


def _html(pieces: Sequence[str], common: Sequence[bool]) -> Markup:
    found, at = Markup(), 0
    while at < len(pieces):
        end = at + 1
        while end < len(pieces) and common[end] == common[at]:
            end += 1
        text = "".join(pieces[at:end])
        found += escape(text) if common[at] or not text.strip() else Markup("<mark>{}</mark>").format(text)
        at = end
    return found
