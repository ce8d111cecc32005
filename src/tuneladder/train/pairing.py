"""Next-sentence prediction beside masked language modelling (arXiv:1810.04805, section 3.1, task 2): two segments of running text
to a row, and a head that tells whether the second is what follows the first.

Later work found no gain in it (arXiv:1907.11692, section 4.2), so that it is off unless asked for. Shapes: B rows, T tokens, N
hidden places, D the width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from tuneladder.model.attach import PairHead
from tuneladder.model.rows import keeping, reading
from tuneladder.task.passages import TextCoder
from tuneladder.train.batches import Blocks, Micro
from tuneladder.train.masking import Hidden, hide_in, stacked
from tuneladder.train.tokens import spread

FOLLOWS, ELSEWHERE = 0, 1  # BERT's own numbers of the two labels


@dataclass(frozen=True)
class Pair:
    """A row: its tokens with some hidden, where its second segment begins, and whether that follows the first."""

    hidden: Hidden
    second: int
    label: int


def pair(
    block: np.ndarray[Any, Any], other: np.ndarray[Any, Any], coder: TextCoder, *, vocabulary: int, draw: np.random.Generator
) -> Pair:
    """The block cut in two, somewhere in its middle half and never where a document ends; or its beginning and then, in half of
    the draws, as many tokens of `other` as were cut off. Both have the same length, and so has every row."""
    length = len(block)
    ends = np.isin(block, list(coder.specials))
    cuts = [cut for cut in range(max(1, length // 4), length - length // 4) if not ends[cut - 1]] or [length // 2]
    cut = int(draw.choice(cuts))
    label = FOLLOWS if draw.random() < 0.5 else ELSEWHERE
    first, second = block[:cut].tolist(), (block if label == FOLLOWS else other)[cut:].tolist()
    begin = len(coder.opening) + cut + len(coder.between)
    ids = np.array([*coder.opening, *first, *coder.between, *second, *coder.closing], dtype=np.int64)
    return Pair(hide_in(ids, coder, vocabulary=vocabulary, draw=draw), begin, label)


def marks(coder: TextCoder) -> int:
    """Tokens of a row that are no text."""
    return len(coder.opening) + len(coder.between) + len(coder.closing)


class Pairs:
    """Blocks of running text as pairs of segments, `blocks.length` tokens and the marks to a row, tokens of it hidden. What is
    drawn is a pure function of the seed, the step and the row."""

    def __init__(self, blocks: Blocks, coder: TextCoder, *, vocabulary: int, seed: int) -> None:
        self.blocks, self.coder, self.vocabulary, self.seed = blocks, coder, vocabulary, seed

    def __len__(self) -> int:
        return len(self.blocks)

    def narrow(self) -> bool:
        return self.blocks.narrow()

    def __getitem__(self, step: int) -> list[Micro]:
        blocks = self.blocks
        pairs = []
        for at in range(blocks.batch):
            draw = np.random.default_rng([self.seed, step, at])
            own = step * blocks.batch + at
            # some other block of the run: any but this one
            elsewhere = (own + int(draw.integers(1, blocks.count))) % blocks.count if blocks.count > 1 else own
            first, other = blocks.block(own)[:-1], blocks.block(elsewhere)[:-1]
            pairs.append(pair(first, other, self.coder, vocabulary=self.vocabulary, draw=draw))
        return micros(pairs, rows=blocks.rows, segments=self.coder.divider is not None)


def held_out_pairs(
    texts: Sequence[str], coder: TextCoder, *, vocabulary: int, length: int, rows: int, end: int, most: int = 64
) -> list[Micro]:
    """At most `most` pairs of `length` tokens of held-out text, spread evenly, drawn by a seed of their own."""
    blocks = spread(coder.encode_plain(texts), length=length, end=end, most=most)
    pairs = []
    for at, block in enumerate(blocks):
        draw = np.random.default_rng([1, at])
        other = blocks[(at + int(draw.integers(1, len(blocks)))) % len(blocks)] if len(blocks) > 1 else block
        pairs.append(pair(block, other, coder, vocabulary=vocabulary, draw=draw))
    return micros(pairs, rows=rows, segments=coder.divider is not None)


def micros(pairs: Sequence[Pair], *, rows: int, segments: bool) -> list[Micro]:
    """A batch in passes of `rows`; each knows how many tokens the whole batch has hidden in a row."""
    hidden = sum(len(own.hidden.places) for own in pairs) / max(1, len(pairs))
    return [_micro(pairs[at : at + rows], hidden, segments) for at in range(0, len(pairs), rows)]


def _micro(pairs: Sequence[Pair], per_row: float, segments: bool) -> Micro:
    made = stacked([own.hidden for own in pairs])
    kinds = None
    if segments:
        at_T = torch.arange(made.ids.shape[1])
        kinds = torch.stack([(at_T >= own.second).long() for own in pairs])
    return replace(made, segments=kinds, pairs=torch.tensor([own.label for own in pairs]), per_row=per_row)


class Paired(torch.nn.Module):
    """A masked language model with a head for pairs beside it, so that both learn."""

    def __init__(self, encoder: Any, head: PairHead) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head


class HiddenAndNext:
    """The hidden tokens' cross-entropy and `weight` times the pairs', each a mean over the whole batch when the loop has divided by
    the hidden tokens: with weight 1, BERT's own sum."""

    def __init__(self, weight: float) -> None:
        self.weight = weight

    def __call__(self, model: Paired, micro: Micro) -> torch.Tensor:
        assert micro.rows is not None
        assert micro.pairs is not None
        with keeping(model.encoder.base_model) as kept, reading(model.encoder, micro.rows):
            logits_NV = model.encoder(**micro.read).logits
        hidden = functional.cross_entropy(logits_NV.float(), micro.targets, reduction="sum")
        following_B2 = model.head(kept[0].last_hidden_state)
        pairs = functional.cross_entropy(following_B2.float(), micro.pairs, reduction="sum")
        return hidden + self.weight * micro.per_row * pairs
