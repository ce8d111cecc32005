"""Span corruption (arXiv:1910.10683, section 3.1.4), the pretraining of a seq2seq: which spans are taken out, drawn anew each time
a text is seen, and beside them lessons, texts that ask and answer.

What is taken is a pure function of the seed, the step and the row, so that a run taken up again takes what it would have taken.

Shapes: B rows, T tokens of a source, U tokens of a target.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tuneladder.store import Store, digest
from tuneladder.task.corpus import by_source, content_of
from tuneladder.task.encode import Pair
from tuneladder.task.pairs import PairCoder, Paired, encode_pairs
from tuneladder.task.spans import MEAN, SHARE, corrupted
from tuneladder.train.batches import WHOLE_OVERHEAD, Blocks, Micro, bundle, pad_pairs
from tuneladder.train.tokens import spread
from tuneladder.types import Document, Lesson, Turn


def spans_of(length: int, *, most: int, draw: np.random.Generator) -> list[tuple[int, int]]:
    """Spans (start, end) of SHARE of `length` tokens, MEAN long on average, at most `most` of them: their number and their sum are
    always the same. As in T5's own code a text begins with kept tokens and ends with a span."""
    taken = min(max(round(SHARE * length), 1), length - 1)
    count = min(max(round(taken / MEAN), 1), length - taken, most)
    kept, gone = _parts(length - taken, count, draw), _parts(taken, count, draw)
    ends = np.cumsum(kept + gone)
    return [(int(end - size), int(end)) for end, size in zip(ends, gone, strict=True)]


def _parts(total: int, count: int, draw: np.random.Generator) -> np.ndarray[Any, Any]:
    """`total` cut into `count` parts of at least 1, each way to cut it as likely as any other."""
    cuts = np.sort(draw.choice(total - 1, count - 1, replace=False)) + 1 if count > 1 else np.zeros(0, np.int64)
    return np.diff(np.concatenate([[0], cuts, [total]]))


def framed(block: np.ndarray[Any, Any], coder: PairCoder, draw: np.random.Generator) -> Paired:
    """A block of text (T,) as what is left of it and what was taken, between the marks of a text each."""
    source, target, _ = corrupted(block.tolist(), spans_of(len(block), most=len(coder.sentinels), draw=draw), coder.sentinels)
    return Paired([*coder.opening, *source, *coder.closing], [*coder.opening, *target, *coder.closing])


def stacked(rows: Sequence[Paired], *, start: int) -> Micro:
    """Rows whose sources are of one length, and whose targets are: they need no mask, and all of a target is learned."""
    targets = torch.tensor([row.target for row in rows])
    answers = torch.cat([torch.full((len(rows), 1), start), targets[:, :-1]], dim=1)
    return Micro(torch.tensor([row.source for row in rows]), None, targets.flatten(), answers=answers)


@dataclass(frozen=True)
class LessonTokens:
    """Lessons of one source in one array of tokens, where a block of the source finds those that begin in it: the lesson that
    begins at `begins[n]` has its source up to `borders[n]`, and its target up to the next."""

    tokens: np.ndarray[Any, Any]
    begins: np.ndarray[Any, Any]
    borders: np.ndarray[Any, Any]

    @classmethod
    def of(cls, rows: Sequence[Paired], *, length: int, width: Any) -> LessonTokens:
        """Of a row longer than `length` the source loses its middle, so that every block has a row's beginning; `width` is the
        type of the tokens' numbers."""
        rows = [_fitting(row, length) for row in rows]
        sizes = np.array([len(row.ids) for row in rows])
        begins = np.cumsum(sizes) - sizes
        borders = begins + np.array([len(row.source) for row in rows])
        return cls(np.concatenate([np.array(row.ids, dtype=width) for row in rows]), begins, borders)

    def within(self, start: int, end: int) -> list[Paired]:
        """The lessons that begin from `start` up to `end`."""
        start, end = min(start, len(self.tokens) - (end - start)), min(end, len(self.tokens))
        first, last = np.searchsorted(self.begins, [start, end])
        ends = [*self.begins[first + 1 : last + 1].tolist(), len(self.tokens)]
        return [
            Paired(self.tokens[begin:border].tolist(), self.tokens[border:stop].tolist())
            for begin, border, stop in zip(self.begins[first:last], self.borders[first:last], ends, strict=False)
        ]


def _fitting(row: Paired, length: int) -> Paired:
    room = length - len(row.target)
    if len(row.source) <= room:
        return row
    tail = room // 2
    return Paired([*row.source[: room - tail], *row.source[len(row.source) - tail :]], row.target)


def lessons_of(coder: PairCoder, documents: Sequence[Document], length: int, store: Store) -> dict[str, LessonTokens]:
    """The lessons of each source that has any, asked as a step that tunes would ask them; made once for all steps on that text."""
    width = np.uint16 if len(coder.tokenizer) <= 1 << 16 else np.uint32
    found: dict[str, LessonTokens] = {}
    for name, own in by_source(documents).items():
        if not isinstance(next(iter(own), None), Lesson):
            continue
        marks = (coder.tokenizer.chat_template, coder.opening, coder.closing, coder.lead, coder.context)
        key = "lessons-" + digest(coder.tokenizer.backend_tokenizer.to_str(), marks, length, content_of(own))

        def make(folder: Path, own: Sequence[Document] = own) -> Mapping[str, Any]:
            pairs: list[Pair] = [((Turn("user", each.ask),), each.answer) for each in own if isinstance(each, Lesson)]
            rows, _ = encode_pairs(coder, pairs, limit=length - 1)  # an answer leaves room for a token of its source
            made = LessonTokens.of(rows, length=length, width=width)
            np.savez(folder / "lessons.npz", **vars(made))
            return {"tokens": len(made.tokens)}

        with np.load(store.once(key, make) / "lessons.npz") as kept:
            found[name] = LessonTokens(**kept)
    return found


class Corrupted:
    """Blocks of running text with spans taken out, `blocks.length` tokens of text to a row; a block of a source of lessons is those
    that begin in it, padded in passes of at most as many tokens as the blocks' have."""

    def __init__(self, blocks: Blocks, coder: PairCoder, lessons: Mapping[str, LessonTokens], *, lanes: int, seed: int) -> None:
        self.blocks, self.coder, self.lessons, self.lanes, self.seed = blocks, coder, lessons, lanes, seed

    def __len__(self) -> int:
        return len(self.blocks)

    def narrow(self) -> bool:
        return self.blocks.narrow()

    def __getitem__(self, step: int) -> list[Micro]:
        blocks, start = self.blocks, self.coder.start
        whole: list[Paired] = []
        asked: list[Paired] = []
        for at in range(blocks.batch):
            block = step * blocks.batch + at
            if own := self.lessons.get(blocks.names[blocks.source[block]]):
                place = int(blocks.start[block])
                asked += own.within(place, place + blocks.length)
            else:
                whole.append(framed(blocks.block(block)[:-1], self.coder, np.random.default_rng([self.seed, step, at])))
        # as many passes as the lanes can use, as even as they can be: lessons leave no fixed number of blocks to a step
        passes = min(len(whole), -(-len(whole) // (blocks.rows * self.lanes)) * self.lanes)
        cuts = [at * len(whole) // passes for at in range(passes)] + [len(whole)] if whole else []
        micros = [stacked(whole[first:last], start=start) for first, last in pairwise(cuts)]
        tokens, pad = blocks.rows * blocks.length, partial(pad_pairs, start=start, most=self.coder.context)
        return micros + bundle(asked, tokens=tokens, lanes=self.lanes, overhead=WHOLE_OVERHEAD, pad=pad)


def times_of(model: Any) -> dict[str, float]:
    """How many times the rate some weights of a T5 should have under Adam, which moves all numbers alike. Its authors had
    Adafactor, whose rates follow the weights' own size (arXiv:1910.10683, section 3.1.2).

    Queries are not divided by the root of a head's width, and drawn so much smaller: at one rate for all the scores grow so much
    faster, and every token ends up looking at one. A bias on the scores is one number, where a product of queries and keys adds up
    many. Embeddings learn as many times faster as they are wider than the rest.
    """
    config = model.config
    root = float(config.hidden_size**0.5)
    found = {}
    for name, weight in model.named_parameters():
        if name.endswith(".q.weight"):
            found[name] = float(config.d_kv**-0.5)
        elif "relative_attention_bias" in name:
            found[name] = root
        elif weight is model.get_input_embeddings().weight and getattr(config, "scale_decoder_outputs", False):
            wide = float(weight.detach().float().square().mean().sqrt()) * root
            found[name] = min(max(1.0, wide), root)
    return found


def held_out(texts: Sequence[str], coder: PairCoder, *, length: int, rows: int, end: int, most: int = 64) -> list[Micro]:
    """At most `most` blocks of `length` tokens of held-out text, spread evenly, with spans taken out by a seed of their own."""
    whole = [
        framed(block, coder, np.random.default_rng([1, at]))
        for at, block in enumerate(spread(coder.plain(texts), length=length, end=end, most=most))
    ]
    return [stacked(whole[at : at + rows], start=coder.start) for at in range(0, len(whole), rows)]
