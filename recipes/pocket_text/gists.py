"""Lessons in summing up that nobody had to write: the sentence that says most of what its neighbours say, taken out and asked for.

Gap sentences, arXiv:1912.08777: the one chosen shares most with the rest (ROUGE-1 F1). Here it leaves no mark behind, for what is
asked afterwards is a summary, and no repair.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from tuneladder.types import Document

from .found import sentences
from .words import FUNCTION_WORDS

ASKS = (
    "Sum up the text in one sentence.",
    "What is the gist of the text?",
    "Summarize.",
    "Say in one sentence what the text is about.",
    "TL;DR of the following text:",
)
PASSAGE = (700, 1500)  # characters: enough to be summed up, and no more than a small context holds
BOOKS = 8  # of a book's passages one in so many, or the others would be drowned
LONG = ("books", "more books")


def gists(documents: Sequence[Document], *, seed: int) -> Iterator[dict[str, Any]]:
    """Rows of what is asked, the text and its gist, one for each passage of running prose."""
    for number, document in enumerate(documents):
        draw = random.Random(f"{seed} gists {number}")
        for place, passage in enumerate(passages(document.text)):
            if document.source in LONG and (place + number) % BOOKS:
                continue
            if (at := central(passage)) is not None:
                rest = " ".join([*passage[:at], *passage[at + 1 :]])
                yield {"corpus": document.source, "ask": draw.choice(ASKS), "text": rest, "gist": passage[at]}


def passages(text: str) -> Iterator[tuple[str, ...]]:
    """Neighbouring paragraphs' sentences, until they are long enough; a paragraph without any begins anew."""
    least, most = PASSAGE
    held: list[str] = []
    for paragraph in re.split(r"\n\s*\n|\n(?=\S)", text):
        own = sentences(paragraph)
        held = [*held, *own] if own else []
        size = sum(map(len, held))
        if size >= least:
            if size <= most:
                yield tuple(held)
            held = []


def central(passage: Sequence[str]) -> int | None:
    """Which sentence shares most with all others (ROUGE-1 F1 of the words that mean something); None where none shares any."""
    counts = [Counter(_words(sentence)) for sentence in passage]
    total = sum(counts, Counter())
    scores = []
    for own in counts:
        rest = total - own
        common = sum((own & rest).values())
        scores.append(2 * common / max(1, sum(own.values()) + sum(rest.values())))
    best = max(range(len(passage)), key=scores.__getitem__)
    return best if scores[best] > 0 else None


def _words(sentence: str) -> list[str]:
    return [word for word in re.findall(r"[a-z']+", sentence.lower()) if word not in FUNCTION_WORDS]
