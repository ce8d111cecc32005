"""Masked language modelling (arXiv:1810.04805, section 3.1): which tokens are hidden, drawn anew each time a text is seen.

What is hidden is a pure function of the seed, the step and the row (dynamic masking, arXiv:1907.11692, section 4.1), so that a run
taken up again hides what it would have hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from tuneladder.task.passages import TextCoder
from tuneladder.train.batches import Blocks, Micro
from tuneladder.train.tokens import spread

SHARE = 0.15


@dataclass(frozen=True)
class Hidden:
    """A row: its tokens (T,) with some hidden, the hidden places (N,), and what stood there (N,)."""

    ids: np.ndarray[Any, Any]
    places: np.ndarray[Any, Any]
    targets: np.ndarray[Any, Any]


def hide(
    ids: np.ndarray[Any, Any], free: np.ndarray[Any, Any], *, mask: int, vocabulary: int, draw: np.random.Generator
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """A row's tokens (T,) with SHARE of its `free` places hidden, and those places: 8 of 10 become the mask, one any token of the
    vocabulary, one stays."""
    chosen = np.sort(draw.choice(free, max(1, round(SHARE * len(free))), replace=False))
    fate = draw.random(len(chosen))
    hidden = ids.copy()
    hidden[chosen[fate < 0.8]] = mask
    swapped = chosen[fate >= 0.9]
    hidden[swapped] = draw.integers(0, vocabulary, len(swapped))
    return hidden, chosen


class Masked:
    """Blocks of running text between the marks of a text, `blocks.length` tokens and the marks to a row, tokens of it hidden."""

    def __init__(self, blocks: Blocks, coder: TextCoder, *, vocabulary: int, seed: int) -> None:
        self.blocks, self.coder, self.vocabulary, self.seed = blocks, coder, vocabulary, seed

    def __len__(self) -> int:
        return len(self.blocks)

    def narrow(self) -> bool:
        return self.blocks.narrow()

    def __getitem__(self, step: int) -> list[Micro]:
        whole = [
            framed(own[:-1], self.coder, vocabulary=self.vocabulary, draw=np.random.default_rng([self.seed, step, at]))
            for at, own in enumerate(self.blocks.drawn(step))
        ]
        return [stacked(whole[at : at + self.blocks.rows]) for at in range(0, len(whole), self.blocks.rows)]


def framed(block: np.ndarray[Any, Any], coder: TextCoder, *, vocabulary: int, draw: np.random.Generator) -> Hidden:
    """The block between the marks of a text, some of it hidden."""
    ids = np.array([*coder.opening, *block.tolist(), *coder.closing], dtype=np.int64)
    return hide_in(ids, coder, vocabulary=vocabulary, draw=draw)


def hide_in(ids: np.ndarray[Any, Any], coder: TextCoder, *, vocabulary: int, draw: np.random.Generator) -> Hidden:
    """A row with some of its tokens hidden; marks never are, unless it is of nothing else."""
    assert coder.mask is not None
    free = np.flatnonzero(~np.isin(ids, list(coder.specials)))
    if not len(free):
        free = np.arange(len(ids))
    hidden, places = hide(ids, free, mask=coder.mask, vocabulary=vocabulary, draw=draw)
    return Hidden(hidden, places, ids[places])


def stacked(rows: Sequence[Hidden]) -> Micro:
    """Rows of one length, which need no mask of attention."""
    length = len(rows[0].ids)
    places = [at * length + place for at, own in enumerate(rows) for place in own.places.tolist()]
    ids_BT = torch.from_numpy(np.stack([own.ids for own in rows]))
    return Micro(ids_BT, torch.tensor(places), torch.from_numpy(np.concatenate([own.targets for own in rows])))


def held_out(
    texts: Sequence[str], coder: TextCoder, *, vocabulary: int, length: int, rows: int, end: int, most: int = 64
) -> list[Micro]:
    """At most `most` blocks of `length` tokens of held-out text, spread evenly, hidden by a seed of their own."""
    whole = [
        framed(block, coder, vocabulary=vocabulary, draw=np.random.default_rng([1, at]))
        for at, block in enumerate(spread(coder.encode_plain(texts), length=length, end=end, most=most))
    ]
    return [stacked(whole[at : at + rows]) for at in range(0, len(whole), rows)]
