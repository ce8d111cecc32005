"""From turns to an encoder's tokens. An encoder is asked no question: it reads what the row says, between the marks that its
tokenizer puts around a text.

A blank line divides a text into parts, as two turns do, and parts are joined by the tokenizer's separator: a row whose `input` is
`{{ premise }}` and `{{ hypothesis }}` with a blank line between is read as a pair.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tuneladder.task.encode import Encoded, reader_of
from tuneladder.task.tagging import words_of
from tuneladder.types import Turns

_BLANK = re.compile(r"\n\s*\n")


def said(turns: Turns) -> str:
    """What the row says: all turns but the system's, for an instruction is the same for every row and would only drown it."""
    return "\n\n".join(turn.text for turn in turns if turn.role != "system")


def parts_of(text: str) -> list[str]:
    """What blank lines divide the text into; a text of nothing else is its own part."""
    return [part for part in _BLANK.split(text) if part.strip()] or [text]


class TextCoder:
    """An encoder's tokenizer and context in tokens. Special tokens in a row's text are plain text, as they are for a decoder.

    `opening`, `between` and `closing` are the marks around a text and between its parts; `mask` is None without a mask token.
    `divider` is the mark after which a token is of the second part: None for a model that has one of the `kinds` of tokens by
    which BERT is told. `soft` are tokens that stand before every text.
    """

    def __init__(self, tokenizer: Any, context: int, *, kinds: int = 1, soft: Sequence[int] = ()) -> None:
        self.tokenizer = tokenizer
        self.context = context
        self.mask: int | None = tokenizer.mask_token_id
        self.specials = frozenset(tokenizer.all_special_ids)
        self._core = reader_of(tokenizer)
        own, _, self.closing = marks_of(tokenizer)
        self.opening = [*soft, *own]
        self.between = marks_of(tokenizer, pair=True)[1]
        self.divider = self.between[-1] if kinds > 1 and self.between else None

    def encode_many(self, texts: Sequence[str], *, limit: int | None = None) -> list[Encoded]:
        """The tokens of each text with its marks; one too long for `limit` (the context if None) loses its middle."""
        room = min(limit or self.context, self.context) - len(self.opening) - len(self.closing)
        made = []
        for ids in self.encode_plain(texts):
            cut = max(0, len(ids) - room)
            head = (room + 1) // 2
            kept = [*ids[:head], *ids[len(ids) - (room - head) :]] if cut else ids
            whole = [*self.opening, *kept, *self.closing]
            made.append(Encoded(whole, [False] * len(whole), cut))
        return made

    def encode_words(self, texts: Sequence[str], *, limit: int | None = None) -> list[list[Window]]:
        """The tokens of each text of words with single blanks between, in windows that overlap by half where it is too long for
        `limit` (the context if None): a word is tagged in the window that shows most of what stands around it. A word that the
        tokenizer drops is in none."""
        room = max(1, min(limit or self.context, self.context) - len(self.opening) - len(self.closing))
        sound = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
        made = []
        for text, found in zip(sound, self._core.encode_batch(sound, add_special_tokens=False), strict=True):
            last = max(0, len(found.ids) - room)
            starts = sorted({*range(0, last, max(1, room // 2)), last})
            own: dict[int, list[tuple[int, int]]] = {start: [] for start in starts}
            for word, place in enumerate(_first_tokens(text, found.offsets)):
                if place is not None:
                    fits = [start for start in starts if start <= place < start + room]
                    best = max(fits, key=lambda at: min(place - at if at else room, at + room - place if at < last else room))
                    own[best].append((word, place - best + len(self.opening)))
            made.append(
                [
                    Window(
                        [*self.opening, *found.ids[start : start + room], *self.closing],
                        [word for word, _ in own[start]],
                        [place for _, place in own[start]],
                    )
                    for start in starts
                    if own[start]
                ]
            )
        return made

    def encode_plain(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of each text, uncut and without the marks around it."""
        parts = [parts_of(text) for text in texts]
        flat = [part.encode("utf-8", "replace").decode("utf-8") for own in parts for part in own]
        found = iter(self._core.encode_batch(flat, add_special_tokens=False))
        made = []
        for own in parts:
            ids: list[int] = []
            for number in range(len(own)):
                ids += [*(self.between if number else ()), *next(found).ids]
            made.append(ids)
        return made


@dataclass(frozen=True)
class Window:
    """As much of a text as fits, with the marks around it. `words` are the numbers of the words that are tagged in it, `places`
    where in `ids` the first token of each stands."""

    ids: list[int]
    words: list[int]
    places: list[int]


def _first_tokens(text: str, offsets: Sequence[tuple[int, int]]) -> list[int | None]:
    """For each word, the first token that holds a character of it, None where no token does. A token may hold the blank before
    its word."""
    places: list[int | None] = []
    at = start = 0
    for word in words_of(text):
        while at < len(offsets) and offsets[at][1] <= start:
            at += 1
        places.append(at if at < len(offsets) and offsets[at][0] < start + len(word) else None)
        start += len(word) + 1
    return places


def marks_of(tokenizer: Any, *, pair: bool = False) -> tuple[list[int], list[int], list[int]]:
    """The special tokens that a tokenizer puts before a text, between two, and after the last."""
    ids = list(tokenizer(*(("a", "a") if pair else ("a",)))["input_ids"])
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}  # which stands for a text that it does not know
    own = [place for place, token in enumerate(ids) if token not in special]
    gap = [token for token in ids[own[0] : own[-1]] if token in special]
    return ids[: own[0]], gap, ids[own[-1] + 1 :]
