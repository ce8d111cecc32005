"""Masked language modelling (arXiv:1810.04805, section 3.1): which tokens are hidden, drawn anew each time a text is seen.

What is hidden is a pure function of the seed, the step and the row (dynamic masking, arXiv:1907.11692, section 4.1), so that a run
taken up again hides what it would have hidden.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from tuneladder.task.passages import TextCoder
from tuneladder.train.batches import Blocks, Micro

SHARE = 0.15


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

    def __getitem__(self, step: int) -> list[Micro]:
        blocks = self.blocks
        drawn = [blocks.block(*place)[:-1] for place in blocks.plan[step * blocks.batch : (step + 1) * blocks.batch]]
        whole = [self._row(own, np.random.default_rng([self.seed, step, at])) for at, own in enumerate(drawn)]
        return [stacked(whole[at : at + blocks.rows]) for at in range(0, blocks.batch, blocks.rows)]

    def _row(self, block: np.ndarray[Any, Any], draw: np.random.Generator) -> tuple[np.ndarray[Any, Any], ...]:
        return framed(block, self.coder, vocabulary=self.vocabulary, draw=draw)


def framed(
    block: np.ndarray[Any, Any], coder: TextCoder, *, vocabulary: int, draw: np.random.Generator
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Tokens (T,) with their marks and some hidden, the hidden places, and what stood there. Marks are never hidden."""
    assert coder.mask is not None
    ids = np.array([*coder.opening, *block.tolist(), *coder.closing], dtype=np.int64)
    free = np.flatnonzero(~np.isin(ids, list(coder.specials)))
    if not len(free):
        free = np.arange(len(ids))
    hidden, places = hide(ids, free, mask=coder.mask, vocabulary=vocabulary, draw=draw)
    return hidden, places, ids[places]


def stacked(rows: Sequence[tuple[np.ndarray[Any, Any], ...]]) -> Micro:
    """Rows of one length, which need no mask of attention."""
    length = len(rows[0][0])
    places = [at * length + place for at, (_, own, _) in enumerate(rows) for place in own.tolist()]
    ids_BT = torch.from_numpy(np.stack([ids for ids, _, _ in rows]))
    return Micro(ids_BT, torch.tensor(places), torch.from_numpy(np.concatenate([targets for _, _, targets in rows])))


def held_out(
    texts: Sequence[str], coder: TextCoder, *, vocabulary: int, length: int, rows: int, end: int, most: int = 64
) -> list[Micro]:
    """At most `most` blocks of `length` tokens of held-out text, spread evenly, hidden by a seed of their own."""
    stream = [token for ids in coder.encode_plain(texts) for token in [*ids, end]]
    count = len(stream) // length
    starts = [math.floor(at * count / min(most, count)) * length for at in range(min(most, count))]
    whole = [
        framed(np.array(stream[start : start + length]), coder, vocabulary=vocabulary, draw=np.random.default_rng([1, at]))
        for at, start in enumerate(starts)
    ]
    return [stacked(whole[at : at + rows]) for at in range(0, len(whole), rows)]
