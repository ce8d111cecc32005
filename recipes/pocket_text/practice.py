"""Lessons that make a decoder look at what its encoder read. From spans alone a small model learns to look no sooner than after
hundreds of millions of tokens: most of what is taken out is guessed as well from what was written last. Here nearly every word of
the answer stands in the text, or, in a continuation, all of the answer is learned and not a sixth of it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from typing import Any

from tuneladder.types import Document

from .gists import LONG, passages
from .words import FUNCTION_WORDS

REPEAT = ("Repeat the text.", "Copy the text word for word.", "Write the text again.")
FIRST = ("Write the first sentence of the text.", "How does the text begin?")
LAST = ("Write the last sentence of the text.", "How does the text end?")
ABOUT = ('Which sentence speaks of "{word}"?', 'Write the sentence with "{word}" in it.')
MEND = ("Write the whole text: some of its words are missing.", "Fill the gaps, and write the whole text.")
ORDER = ("The sentences are in disorder. Write the text as it was.", "Put the sentences in order.")
GO_ON = ("Continue the text.", "How does the text go on?", "Write what follows.")
GAP = "_"
BOOKS = 4  # of a book's passages one in so many, and others than those that have a gist
SHORT = 350  # characters of what is repeated whole


def practice(documents: Sequence[Document], *, seed: int) -> Iterator[dict[str, Any]]:
    """Rows of what is asked, the text and the answer, with the kind of each; of a passage one of every kind."""
    for number, document in enumerate(documents):
        draw = random.Random(f"{seed} practice {number}")
        for place, passage in enumerate(passages(document.text)):
            if document.source in LONG and (place + number) % BOOKS != 1:
                continue
            for kind, make in (("copy", _copy), ("mend", _mend), ("continue", _go_on)):
                ask, text, answer = make(passage, draw)
                yield {"corpus": document.source, "kind": kind, "ask": ask, "text": text, "answer": answer}


def _copy(passage: Sequence[str], draw: random.Random) -> tuple[str, str, str]:
    """A few of its sentences again, all or one of them."""
    size = draw.randint(60, SHORT)
    own = [passage[0]]
    for sentence in passage[1:]:
        if len(" ".join([*own, sentence])) > size:
            break
        own.append(sentence)
    text, kind = " ".join(own), draw.random()
    if len(own) > 2 and kind < 0.5:
        if kind < 0.15:
            return draw.choice(FIRST), text, own[0]
        if kind < 0.3:
            return draw.choice(LAST), text, own[-1]
        words = [(word, s) for s in own for word in re.findall(r"[A-Za-z]{4,}", s) if text.count(word) == 1]
        words = [(word, s) for word, s in words if word.lower() not in FUNCTION_WORDS]
        if words:
            word, sentence = draw.choice(words)
            return draw.choice(ABOUT).format(word=word), text, sentence
    return draw.choice(REPEAT), text, text


def _mend(passage: Sequence[str], draw: random.Random) -> tuple[str, str, str]:
    """Half of the passage with a quarter of its words taken out in runs, or with its sentences shuffled (arXiv:1910.13461)."""
    own = passage[: max(2, len(passage) // 2)]
    text = " ".join(own)
    if draw.random() < 0.3:
        return draw.choice(ORDER), " ".join(draw.sample(own, len(own))), text
    words, left = text.split(), []
    while words:
        kept, gone = draw.randint(3, 15), draw.randint(1, 4)
        left += words[:kept] + [GAP] * (len(words) > kept)
        words = words[kept + gone :]
    return draw.choice(MEND), " ".join(left), text


def _go_on(passage: Sequence[str], draw: random.Random) -> tuple[str, str, str]:
    """The passage cut between two of its words."""
    words = " ".join(passage).split()
    cut = round(len(words) * draw.uniform(0.25, 0.6))
    return draw.choice(GO_ON), " ".join(words[:cut]), " ".join(words[cut:])
