"""From turns to what a seq2seq model reads and writes: the prompt for its encoder, the answer for its decoder.

The prompt is rendered, and cut where it is too long, as a decoder's is; the marks that the tokenizer puts around a text stand
around each of the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from tuneladder.errors import BadInput
from tuneladder.task.encode import BATCH, Coder, Laid, Pair, Tally, TooLong
from tuneladder.task.passages import marks_of
from tuneladder.task.tokenizer import SENTINEL
from tuneladder.types import Turns


@dataclass(frozen=True)
class Paired:
    """`source` is what the encoder reads, `target` what the decoder writes; `cut` counts the prompt's tokens that were removed,
    `weight` is how much each token of the target counts in the loss."""

    source: list[int]
    target: list[int]
    cut: int = 0
    weight: float = 1.0

    @property
    def ids(self) -> list[int]:
        """All tokens, by whose number rows are sorted and batched."""
        return [*self.source, *self.target]


class PairCoder:
    """A seq2seq tokenizer, a context in tokens that holds for source and target each, and the token `start` that a decoder reads
    before it has written any.

    `opening` and `closing` are the tokenizer's marks around a text; `lead` is what is never learned from an answer nor asked of
    it: what a decoder has read when the answer begins. `sentinels` are the tokens of span corruption, none without them. `soft` are
    tokens that stand before every source.
    """

    def __init__(self, tokenizer: Any, context: int, *, start: int, soft: Sequence[int] = ()) -> None:
        self.tokenizer, self.context, self.start, self.soft = tokenizer, context, start, tuple(soft)
        self.prompts = Coder(tokenizer, context)
        self.opening, _, self.closing = marks_of(tokenizer)
        self.lead = [start, *self.opening]
        self.sentinels = sentinels_of(tokenizer)

    @property
    def room(self) -> int:
        """The most tokens that a prompt is laid in by `prompts`, before the marks stand around it."""
        return self.context - len(self._missing(self.prompts.encode_whole(""))) - len(self.closing)

    def sources(self, asks: Sequence[Turns], *, limit: int | None = None) -> list[tuple[list[int], int]]:
        """The tokens of each ask with their marks, and how many were cut. Raises TooLong where nothing would be left of one."""
        laid = self.prompts.lay([(turns, None) for turns in asks], every=False, close=False)
        return [self._source(row, turns, limit) for row, turns in zip(laid, asks, strict=True)]

    def targets(self, answers: Sequence[str], *, close: bool = True) -> list[list[int]]:
        """The tokens of each answer after its opening marks, uncut; `close` adds what ends it."""
        laid = self.prompts.lay([((), answer) for answer in answers], every=False, close=False)
        return [[*self._bare(row.ids), *(self.closing if close else ())] for row in laid]

    def encode_many(self, pairs: Sequence[Pair], *, limit: int | None = None) -> list[Paired | None]:
        """Every prompt with its answer; None for an answer that does not fit, or a prompt of which nothing would be left."""
        answers = self.targets([answer or "" for _, answer in pairs])
        laid = self.prompts.lay([(turns, None) for turns, _ in pairs], every=False, close=False)
        found: list[Paired | None] = []
        for (turns, _), row, answer in zip(pairs, laid, answers, strict=True):
            target = [*self.opening, *answer]
            try:
                source, cut = self._source(row, turns, limit)
            except TooLong:
                found.append(None)
                continue
            found.append(Paired(source, target, cut) if len(target) <= self._room(limit) else None)
        return found

    def plain(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of plain texts of any length, without marks."""
        return self.targets(texts, close=False)

    def _source(self, laid: Laid, turns: Turns, limit: int | None) -> tuple[list[int], int]:
        missing = self._missing(laid.ids)
        room = self._room(limit) - len(missing) - len(self.closing)
        row = self.prompts.cut(laid, (turns, None), every=False, close=False, limit=room)
        return [*missing, *row.ids, *self.closing], row.cut

    def _missing(self, ids: list[int]) -> list[int]:
        """What is to stand before a prompt that was laid in these tokens."""
        return [*self.soft, *([] if ids[: len(self.opening)] == self.opening else self.opening)]

    def _room(self, limit: int | None) -> int:
        return self.context if limit is None else min(limit, self.context)

    def _bare(self, ids: list[int]) -> list[int]:
        """The tokens without the one that opens every text, which the decoder's coder knows how to put there once."""
        bos = self.prompts.bos
        return ids[1:] if bos is not None and ids[:1] == [bos] else ids


def encode_pairs(
    coder: PairCoder, pairs: Sequence[Pair], *, limit: int | None = None, weights: Sequence[float] | None = None
) -> tuple[list[Paired], Tally]:
    """Every pair that fits, in order, and the count of what was kept, cut and dropped. `weights` are the pairs', 1 without. Raises
    BadInput where nothing is left."""
    found: list[Paired | None] = []
    for start in range(0, len(pairs), BATCH):
        found += coder.encode_many(pairs[start : start + BATCH], limit=limit)
    own = weights or [1.0] * len(found)
    kept = [replace(row, weight=weight) for row, weight in zip(found, own, strict=True) if row is not None]
    if not kept:
        room = coder.context if limit is None else min(limit, coder.context)
        raise BadInput(
            f"nothing is learnable: no answer of {len(pairs)} rows fits in {room} tokens",
            f"raise `max_length` (the context is {coder.context}), choose a base with a longer context, or shorten the answers",
        )
    learned = sum(len(row.target) for row in kept)
    read = sum(len(row.source) for row in kept)
    return kept, Tally(len(kept), sum(row.cut > 0 for row in kept), len(found) - len(kept), learned, read)


def sentinels_of(tokenizer: Any) -> list[int]:
    """The ids of T5's sentinels, in their order, under the plain name or the one that mT5's pieces have."""
    known = tokenizer.get_vocab()
    found: list[int] = []
    while True:
        name = SENTINEL.format(len(found))
        token = known.get(name, known.get(f"\u2581{name}"))
        if token is None:
            return found
        found.append(token)
