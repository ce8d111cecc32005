"""Batches: pure functions of the step's number, so that a run taken up again sees what it would have seen.

Shapes: B rows, T tokens, U tokens of an answer, S tokens of all rows, N learned positions, D a teacher's width. Rows are padded
on the right. A decoder's carry no attention mask: under causal attention what stands after a token cannot reach it, and padding is
never learned. Or they are packed, where the model's attention can be told which token is in which row. An encoder's carry a mask,
and so do the sources of a seq2seq's.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch

from tuneladder.model.batching import TILE, kinds_of, padded, tiled
from tuneladder.model.lanes import dealt
from tuneladder.model.packed import Grid, grid_of
from tuneladder.task.encode import Encoded
from tuneladder.task.pairs import Paired

OVERHEAD = 64  # tokens that a pass is worth: what a small model's takes however few it holds
KIN = 64  # tokens by which targets may differ before they stand apart
COMMON = 8  # tokens at the beginning of all rows below which standing once is not worth an attention of their own
WHOLE_OVERHEAD = 256  # where every weight learns: a pass casts each, and makes a gradient of its size
PARTS = (1.6, 1.3, 1.1, 0.75, 0.55, 0.4)  # how large a pass may be, of a lane's even share


@dataclass(frozen=True)
class Micro:
    """One forward pass. ids (B, T), or (1, S) where a grid says which of them is in which row; rows (N,) are places in the
    flattened ids at which something is learned, None for all; targets (N,) is what: a decoder's next token, an encoder's hidden
    one, a word's tag, of each row its label (B,), or whether it has each of K labels (B * K,).

    mask (B, T) is 0 at padding, None where there is no mask; aims (B, D) is where each row should lie, as its teacher says.
    segments (B, T) is which part of a row a token is of, where the model is told. Rows that are pairs of segments have their label
    in pairs (B,), and in per_row how many targets a row of the whole batch has on average. answers (B, U) is what a seq2seq's
    decoder reads: there the rows are places in it, and ids is the source. states (B, T, D), or (1, S, D), is what the layers that
    do not learn said of the ids. weights (N,) is how much each target counts in the loss, None for 1 each.
    """

    ids: torch.Tensor
    rows: torch.Tensor | None
    targets: torch.Tensor
    grid: Grid | None = None
    mask: torch.Tensor | None = None
    aims: torch.Tensor | None = None
    segments: torch.Tensor | None = None
    pairs: torch.Tensor | None = None
    per_row: float = 0.0
    answers: torch.Tensor | None = None
    states: torch.Tensor | None = None
    weights: torch.Tensor | None = None

    @property
    def size(self) -> int:
        """Tokens that pass through the model, padding included."""
        return self.ids.numel() + (0 if self.answers is None else self.answers.numel())

    @property
    def read(self) -> dict[str, torch.Tensor | None]:
        """What a model reads of it, by the names that it has for them."""
        kinds = {} if self.segments is None else {"token_type_ids": self.segments}
        return {"input_ids": self.ids, "attention_mask": self.mask, **kinds}

    @property
    def learned(self) -> float:
        """What the loop divides a batch's loss by: the rows that have aims, else the targets, each with its weight."""
        if self.weights is not None:
            return float(self.weights.sum(dtype=torch.float64))
        return int(self.targets.numel() if self.aims is None else len(self.aims))

    def to(self, device: torch.device) -> Micro:
        if self.ids.device == device:
            return self
        moved: dict[str, Any] = {name: own.to(device) for name, own in vars(self).items() if isinstance(own, torch.Tensor)}
        return replace(self, **moved)


@dataclass(frozen=True)
class Labelled:
    """A text's tokens and the number of its label; or the numbers of its words' labels, whose first tokens stand at `places`; or
    of each label there is, whether the text has it. `weight` is how much the label counts in the loss."""

    ids: list[int]
    labels: list[int]
    places: list[int] | None = None
    weight: float = 1.0


class Row(Protocol):
    @property
    def ids(self) -> Any: ...


Pad = Callable[[Sequence[Any]], Micro]  # rows of one kind to tensors


def _weights(rows: Sequence[Encoded | Labelled | Paired], learned: Sequence[int]) -> torch.Tensor | None:
    """The weight of each of the rows' targets, `learned` of which each has; None where all are 1."""
    if all(row.weight == 1 for row in rows):
        return None
    return torch.tensor([row.weight for row in rows]).repeat_interleave(torch.tensor(learned))


def narrower(tokens: int, sizes: Iterable[int]) -> int:
    """Half of a pass's tokens, or all of them where rows of these sizes lie alone in it already."""
    return tokens if tokens <= max(1, min(sizes)) else tokens // 2


class Batches(Protocol):
    """What each step learns from, cut into passes; `narrow` halves them from then on, and is False where each holds one row."""

    def __len__(self) -> int: ...

    def __getitem__(self, step: int) -> list[Micro]: ...

    def narrow(self) -> bool: ...


def pad(rows: Sequence[Encoded], *, most: int | None = None) -> Micro:
    """Rows of unlike length in one tensor, padded on the right with token 0 to a whole number of tiles, but to no more than
    `most`."""
    longest = tiled(max(len(row.ids) for row in rows), most=most)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    places: list[int] = []
    targets: list[int] = []
    for at, row in enumerate(rows):
        ids[at, : len(row.ids)] = torch.tensor(row.ids)
        for place in range(1, len(row.ids)):
            if row.learn[place]:
                places.append(at * longest + place - 1)
                targets.append(row.ids[place])
    return Micro(ids, torch.tensor(places), torch.tensor(targets), weights=_weights(rows, _learned(rows)))


def _learned(rows: Sequence[Encoded]) -> list[int]:
    """How many tokens of each row are learned; the first of all stands behind none that could foretell it."""
    return [sum(row.learn[1:]) for row in rows]


def packed(rows: Sequence[Encoded], *, before: int = 0) -> Micro:
    """Rows in one sequence, side by side, behind one copy of the `before` tokens with which all of them begin; what fills up its
    last tile is a row of its own."""
    lengths = [len(row.ids) - before for row in rows]
    fill = tiled(before + sum(lengths)) - before - sum(lengths)
    own = itertools.chain.from_iterable(row.ids[before:] for row in rows)
    ids = torch.tensor([[*rows[0].ids[:before], *own, *[0] * fill]])
    learn = [False] * before + list(itertools.chain.from_iterable([*row.learn[before + 1 :], False] for row in rows))
    places = torch.tensor(learn, dtype=torch.bool).nonzero().flatten()
    grid = grid_of([*lengths, fill] if fill else lengths, before=before)
    return Micro(ids, places, ids[0, places + 1], grid, weights=_weights(rows, _learned(rows)))


def beginning(rows: Sequence[Encoded]) -> int:
    """How many tokens all rows begin with and need be computed once for all: none of those that foretell what a row learns. 0 where
    they are too few to pay."""
    least, most = min(row.ids for row in rows), max(row.ids for row in rows)
    same = next((at for at, (one, other) in enumerate(zip(least, most, strict=False)) if one != other), len(least))
    read = min(next((at for at in range(1, len(row.ids)) if row.learn[at]), len(row.ids)) - 1 for row in rows)
    before = min(same, read)
    return before if len(rows) > 1 and before >= COMMON else 0


def in_one(micro: Micro) -> Micro:
    """Rows of one length, nothing of them padding, as packed rows."""
    rows, length = micro.ids.shape
    return replace(micro, ids=micro.ids.reshape(1, -1), grid=grid_of([length] * rows))


def pad_labelled(rows: Sequence[Labelled], *, divider: int | None = None) -> Micro:
    """As `pad`, with a mask, for an encoder's classification head: of texts, or of words. A text's tokens after its first `divider`
    are of the second kind."""
    ids_BT, mask_BT = padded([row.ids for row in rows], tile=TILE)
    places = [at * ids_BT.shape[1] + place for at, row in enumerate(rows) for place in row.places or ()]
    targets = torch.tensor([label for row in rows for label in row.labels])
    segments = None if divider is None else kinds_of(ids_BT, divider)
    weights = _weights(rows, [len(row.labels) for row in rows])
    return Micro(ids_BT, torch.tensor(places) if places else None, targets, mask=mask_BT, segments=segments, weights=weights)


def pad_pairs(rows: Sequence[Paired], *, start: int, most: int | None = None) -> Micro:
    """Sources and answers in one tensor each, padded on the right to whole tiles, but to no more than `most`, the sources with a
    mask; what the decoder reads is the answer after `start`, which leaves its last token out."""
    ids_BT, mask_BT = padded([row.source for row in rows], tile=TILE, most=most)
    answers_BU, learned_BU = padded([[start, *row.target[:-1]] for row in rows], tile=TILE, most=most)
    targets = torch.tensor([token for row in rows for token in row.target])
    places = learned_BU.flatten().nonzero().flatten()
    weights = _weights(rows, [len(row.target) for row in rows])
    return Micro(ids_BT, places, targets, mask=mask_BT, answers=answers_BU, weights=weights)


def with_states(pad: Pad, of: Callable[[Row], torch.Tensor]) -> Pad:
    """`pad`, and what the frozen layers said of each row, laid as its tokens are. `of` gives that of a row (T, D)."""

    def padded_too(rows: Sequence[Any]) -> Micro:
        micro = pad(rows)
        own = [of(row) for row in rows]
        laid = own[0].new_zeros(*micro.ids.shape, own[0].shape[1])
        if micro.grid is not None:
            whole = torch.cat(own)
            laid[0, : len(whole)] = whole
        else:
            for at, states in enumerate(own):
                laid[at, : len(states)] = states
        return replace(micro, states=laid)

    return padded_too


def side_by_side(
    rows: Sequence[Any], *, tokens: int, lanes: int = 1, pad: Pad = packed, tight: bool = True, once: bool = False
) -> list[Micro]:
    """Micro-batches whose padding costs next to nothing: of at most `tokens` tokens, were they padded (or one row), as many and as
    even as `lanes` lanes can use, rows of like length together: attention alone computes what a row lacks to the longest beside
    it. `tight`: `pad` leaves no room between them. `once`: packed, with what all rows begin with once in each."""
    before = beginning(rows) if once else 0
    if before:
        pad, tokens = partial(packed, before=before), max(1, tokens - before)
    order = sorted(rows, key=lambda row: len(row.ids))
    total = sum(len(row.ids) - before for row in rows)
    passes = min(len(rows), lanes * max(1, -(-total // (tokens * lanes))))
    groups: list[list[Any]] = []
    done, last = 0, -1
    for row in order:
        length = len(row.ids) - before
        cells = length if tight else tiled(length)
        place = (2 * done + length) * passes // (2 * total)
        if place != last or (len(groups[-1]) + 1) * cells > tokens:
            groups.append([])
        groups[-1].append(row)
        done, last = done + length, place
    return [pad(group) for group in groups]


def bundle(rows: Sequence[Row], *, tokens: int, lanes: int = 1, overhead: int = OVERHEAD, pad: Pad = pad) -> list[Micro]:
    """Micro-batches of rows of like length, at most `tokens` padded tokens each (or one row), that `lanes` lanes finish soonest.

    Each pass costs as much as `overhead` tokens more than it holds.
    """
    order = sorted(rows, key=_kin)
    share = sum(padded_size([row]) for row in rows) / lanes
    limits = [tokens] if lanes == 1 else [min(tokens, math.ceil(share * part)) for part in PARTS]
    cuts = [_cut(order, tokens=limit, overhead=overhead) for limit in dict.fromkeys(limits)]

    def slowest(groups: list[Sequence[Row]]) -> float:
        costs = [padded_size(group) + overhead for group in groups]
        return max((sum(costs[index] for index in lane) for lane in dealt(costs, lanes)), default=0)

    return [pad(group) for group in min(cuts, key=slowest)]


def _sizes(row: Row) -> tuple[int, ...]:
    """How long each part of a row is that is padded for itself: a source and a target, or all of it."""
    return (len(row.source), len(row.target)) if isinstance(row, Paired) else (len(row.ids),)


def _kin(row: Row) -> tuple[int, ...]:
    """What rows are sorted by, so that neighbours have parts of like length: pairs by their target roughly, and then by their
    source."""
    *source, last = _sizes(row)
    return (last // KIN, *source, last) if source else (last,)


def padded_size(rows: Sequence[Row]) -> int:
    """How many tokens rows have when they are padded to one another."""
    return len(rows) * sum(tiled(max(sizes)) for sizes in zip(*map(_sizes, rows), strict=True))


def _cut(order: Sequence[Row], *, tokens: int, overhead: int) -> list[Sequence[Row]]:
    """Of all ways to cut the sorted rows into groups of at most `tokens`, the one with the fewest padded tokens."""
    sizes = [_sizes(row) for row in order]
    cheapest: list[tuple[float, int]] = [(0.0, 0)]  # of the first n rows: the cost, and where the last micro-batch begins
    for end in range(1, len(order) + 1):
        options = []
        longest = sizes[end - 1]
        for start in range(end - 1, -1, -1):
            longest = tuple(map(max, longest, sizes[start]))
            padded = (end - start) * sum(map(tiled, longest))
            if padded > tokens and end - start > 1:
                break
            options.append((cheapest[start][0] + padded + overhead, start))
        cheapest.append(min(options))
    groups: list[Sequence[Row]] = []
    end = len(order)
    while end:
        start = cheapest[end][1]
        groups.append(order[start:end])
        end = start
    return groups[::-1]


class Cut(Protocol):
    """A way to make micro-batches of a step's rows."""

    def __call__(self, rows: Sequence[Any], *, tokens: int, lanes: int = 1) -> list[Micro]: ...


class Rows:
    """Examples, shuffled anew each epoch by the seed; each step takes `batch` of them, which `cut` makes micro-batches of.

    `sets` says of examples that are of several sets, one after another, how many there are of each and how many of these an epoch
    draws. A set is read whole, in an order drawn by the seed, before any of it comes again, over the ends of epochs.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        *,
        batch: int,
        epochs: float,
        tokens: int,
        seed: int,
        lanes: int = 1,
        cut: Cut | None = None,
        sets: Sequence[tuple[int, int]] = (),
    ) -> None:
        self.sets = tuple(sets) or ((len(rows), len(rows)),)
        self.epoch = sum(count for _, count in self.sets)
        self.rows, self.batch, self.tokens, self.seed, self.lanes = rows, min(batch, self.epoch), tokens, seed, lanes
        self.cut: Cut = cut or bundle
        self.steps = max(1, round(epochs * self.epoch / self.batch))
        self._order: tuple[int, list[int]] = (-1, [])

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> list[Micro]:
        rows = [self._row(at) for at in range(step * self.batch, (step + 1) * self.batch)]
        return self.cut(rows, tokens=self.tokens, lanes=self.lanes)

    def narrow(self) -> bool:
        before, self.tokens = self.tokens, narrower(self.tokens, (len(row.ids) for row in self.rows))
        return self.tokens < before

    def _row(self, at: int) -> Row:
        epoch, place = divmod(at, self.epoch)
        if self._order[0] != epoch:
            order = self._drawn(epoch)
            random.Random(f"{self.seed} epoch {epoch}").shuffle(order)
            self._order = (epoch, order)
        return self.rows[self._order[1][place]]

    def _drawn(self, epoch: int) -> list[int]:
        """The numbers of the rows that an epoch draws, a set after another, each in ascending order."""
        drawn: list[int] = []
        begin = 0
        for number, (size, count) in enumerate(self.sets):
            own: list[int] = []
            first = epoch * count
            for reading in range(first // size, -(-(first + count) // size)):
                order = random.Random(f"{self.seed} set {number} reading {reading}").sample(range(size), size)
                own += order[max(0, first - reading * size) : first + count - reading * size]
            drawn += sorted(begin + row for row in own)
            begin += size
        return drawn


class Tokens(Protocol):
    """Running text: an array, or a file of which slices are read."""

    def __len__(self) -> int: ...

    def __getitem__(self, place: slice, /) -> np.ndarray[Any, Any]: ...


class Blocks:
    """Blocks of `length` tokens of running text for pretraining, each source drawn by its weight and read in shuffled order.

    Documents follow one another, divided by the end token, and attention crosses the divide, as in GPT-3 (arXiv:2005.14165,
    section 2). A source is read whole before any of it comes again. `packed` lays the blocks of a pass side by side; `weigh` says
    of blocks (B, T + 1) how much each of their targets (B, T) counts in the loss.
    """

    def __init__(
        self,
        tokens: Mapping[str, Tokens],
        mixture: Mapping[str, float],
        *,
        length: int,
        batch: int,
        rows: int,
        steps: int,
        seed: int,
        packed: bool = False,
        weigh: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]] | None = None,
    ) -> None:
        self.packed, self.weigh = packed, weigh
        self.tokens = [own for _, own in sorted(tokens.items()) if len(own) > length]
        self.names = [name for name, own in sorted(tokens.items()) if len(own) > length]
        self.length, self.batch, self.rows, self.steps, self.count = length, batch, rows, steps, steps * batch
        rng = np.random.default_rng(seed)
        weights = np.array([mixture.get(name, 1.0) for name in self.names])
        # arrays, not lists: of a long run's plan they are a hundredth of the text
        self.source = rng.choice(len(self.names), size=self.count, p=weights / weights.sum()).astype(np.uint16)
        self.start = np.zeros(self.count, dtype=np.int64)
        for index, own in enumerate(self.tokens):
            places = np.flatnonzero(self.source == index)
            count = (len(own) - 1) // length
            rounds = -(-len(places) // count) if len(places) else 0
            # each round shifts where blocks begin, so that the same text is not always cut at the same word; a text of less than
            # two blocks has one, which begins wherever it can
            shifts = length if count > 1 else len(own) - length
            order = [rng.permutation(count) * length + rng.integers(0, shifts) for _ in range(rounds)]
            if len(places):
                self.start[places] = np.concatenate(order)[: len(places)]

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> list[Micro]:
        drawn = self.drawn(step)
        return [self._micro(drawn[at : at + self.rows]) for at in range(0, self.batch, self.rows)]

    def _micro(self, drawn: Sequence[np.ndarray[Any, Any]]) -> Micro:
        blocks = np.stack(drawn).astype(np.int64)
        ids = torch.from_numpy(blocks)
        weights = None if self.weigh is None else torch.from_numpy(self.weigh(blocks)).reshape(-1)
        micro = Micro(ids[:, :-1].contiguous(), None, ids[:, 1:].reshape(-1), weights=weights)
        return in_one(micro) if self.packed else micro

    def narrow(self) -> bool:
        wide = self.rows > 1
        self.rows = max(1, self.rows // 2)
        return wide

    def drawn(self, step: int) -> list[np.ndarray[Any, Any]]:
        """A step's blocks, `length` + 1 tokens each."""
        return [self.block(at) for at in range(step * self.batch, (step + 1) * self.batch)]

    def block(self, at: int) -> np.ndarray[Any, Any]:
        """`length` + 1 tokens: the run's `at`-th block, counted from 0."""
        own = self.tokens[self.source[at]]
        start = min(int(self.start[at]), len(own) - self.length - 1)
        return np.asarray(own[start : start + self.length + 1])
