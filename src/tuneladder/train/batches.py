"""Batches: pure functions of the step's number, so that a run taken up again sees what it would have seen.

Shapes: B rows, T tokens, N learned positions, D a teacher's width. Rows are padded on the right. A decoder's carry no attention
mask: under causal attention what stands after a token cannot reach it, and padding is never learned. An encoder's carry one.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from tuneladder.model.batching import padded
from tuneladder.task.encode import Encoded

TILE = 16


@dataclass(frozen=True)
class Micro:
    """One forward pass. ids (B, T); rows (N,) are places in the flattened (B*T,) at which something is learned, None for all;
    targets (N,) is what: a decoder's next token, an encoder's hidden one, or of each row its label (B,).

    mask (B, T) is 0 at padding, None where there is no mask; aims (B, D) is where each row should lie, as its teacher says.
    """

    ids: torch.Tensor
    rows: torch.Tensor | None
    targets: torch.Tensor
    mask: torch.Tensor | None = None
    aims: torch.Tensor | None = None

    @property
    def learned(self) -> int:
        """What the loop divides a batch's loss by: the rows that have aims, else the targets."""
        return int(self.targets.numel() if self.aims is None else len(self.aims))

    def to(self, device: torch.device) -> Micro:
        parts = (self.ids, self.rows, self.targets, self.mask, self.aims)
        return Micro(*(None if part is None else part.to(device) for part in parts))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Labelled:
    """A text's tokens and the number of its label."""

    ids: list[int]
    label: int


class Row(Protocol):
    @property
    def ids(self) -> Any: ...


Pad = Callable[[Sequence[Any]], Micro]  # rows of one kind to tensors


class Batches(Protocol):
    def __len__(self) -> int: ...

    def __getitem__(self, step: int) -> list[Micro]: ...


def padded_length(length: int) -> int:
    """The length in whole tiles: every new shape costs a kernel built and kept (on a CPU some 10 MB), and a tile costs little."""
    return -(-length // TILE) * TILE


def pad(rows: Sequence[Encoded]) -> Micro:
    """Rows of unlike length in one tensor, padded on the right with token 0 to a whole number of tiles."""
    longest = padded_length(max(len(row.ids) for row in rows))
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    places: list[int] = []
    targets: list[int] = []
    for at, row in enumerate(rows):
        ids[at, : len(row.ids)] = torch.tensor(row.ids)
        for place in range(1, len(row.ids)):
            if row.learn[place]:
                places.append(at * longest + place - 1)
                targets.append(row.ids[place])
    return Micro(ids, torch.tensor(places), torch.tensor(targets))


def pad_labelled(rows: Sequence[Labelled]) -> Micro:
    """As `pad`, with a mask, for an encoder's classification head."""
    ids_BT, mask_BT = padded([row.ids for row in rows], tile=TILE)
    return Micro(ids_BT, None, torch.tensor([row.label for row in rows]), mask_BT)


def bundle(rows: Sequence[Row], *, tokens: int, overhead: int = 64, pad: Pad = pad) -> list[Micro]:
    """Micro-batches of rows of like length, at most `tokens` padded tokens each (or one row).

    Of all ways to cut the sorted rows, the one with the fewest padded tokens, where each pass costs as much as `overhead` tokens:
    a small model's pass takes the time of many tokens however few it holds.
    """
    order = sorted(rows, key=lambda row: len(row.ids))
    cheapest: list[tuple[float, int]] = [(0.0, 0)]  # of the first n rows: the cost, and where the last micro-batch begins
    for end in range(1, len(order) + 1):
        longest = padded_length(len(order[end - 1].ids))
        options = []
        for start in range(end - 1, -1, -1):
            padded = (end - start) * longest
            if padded > tokens and end - start > 1:
                break
            options.append((cheapest[start][0] + padded + overhead, start))
        cheapest.append(min(options))
    groups = []
    end = len(order)
    while end:
        start = cheapest[end][1]
        groups.append(order[start:end])
        end = start
    return [pad(group) for group in reversed(groups)]


class Rows:
    """Examples, shuffled anew each epoch by the seed; each step takes `batch` of them, and `pad` makes tensors of them."""

    def __init__(self, rows: Sequence[Row], *, batch: int, epochs: float, tokens: int, seed: int, pad: Pad = pad) -> None:
        self.rows, self.batch, self.tokens, self.seed, self.pad = rows, min(batch, len(rows)), tokens, seed, pad
        self.steps = max(1, round(epochs * len(rows) / self.batch))
        self._order: tuple[int, list[int]] = (-1, [])

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> list[Micro]:
        rows = [self._row(at) for at in range(step * self.batch, (step + 1) * self.batch)]
        return bundle(rows, tokens=self.tokens, pad=self.pad)

    def _row(self, at: int) -> Row:
        epoch, place = divmod(at, len(self.rows))
        if self._order[0] != epoch:
            order = list(range(len(self.rows)))
            random.Random(f"{self.seed} epoch {epoch}").shuffle(order)
            self._order = (epoch, order)
        return self.rows[self._order[1][place]]


class Blocks:
    """Blocks of `length` tokens of running text for pretraining, each source drawn by its weight and read in shuffled order.

    Documents follow one another, divided by the end token, and attention crosses the divide, as in GPT-3 (arXiv:2005.14165,
    section 2). A source is read whole before any of it comes again.
    """

    def __init__(
        self,
        tokens: Mapping[str, np.ndarray[Any, Any]],
        mixture: Mapping[str, float],
        *,
        length: int,
        batch: int,
        rows: int,
        steps: int,
        seed: int,
    ) -> None:
        self.tokens = {name: own for name, own in sorted(tokens.items()) if len(own) > length}
        self.length, self.batch, self.rows, self.steps = length, batch, rows, steps
        rng = np.random.default_rng(seed)
        names = list(self.tokens)
        weights = np.array([mixture.get(name, 1.0) for name in names])
        drawn = rng.choice(len(names), size=steps * batch, p=weights / weights.sum())
        starts = np.zeros(steps * batch, dtype=np.int64)
        for index, name in enumerate(names):
            places = np.flatnonzero(drawn == index)
            count = (len(self.tokens[name]) - 1) // length
            rounds = -(-len(places) // count) if len(places) else 0
            # each round shifts where blocks begin, so that the same text is not always cut at the same word
            order = [rng.permutation(count) * length + (rng.integers(0, length) if count > 1 else 0) for _ in range(rounds)]
            if len(places):
                starts[places] = np.concatenate(order)[: len(places)]
        self.plan = [(names[source], int(start)) for source, start in zip(drawn, starts, strict=True)]

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> list[Micro]:
        drawn = self.plan[step * self.batch : (step + 1) * self.batch]
        return [self._micro(drawn[at : at + self.rows]) for at in range(0, self.batch, self.rows)]

    def _micro(self, drawn: Sequence[tuple[str, int]]) -> Micro:
        whole = np.stack([self.block(name, start) for name, start in drawn]).astype(np.int64)
        ids = torch.from_numpy(whole)
        return Micro(ids[:, :-1].contiguous(), None, ids[:, 1:].reshape(-1))

    def block(self, name: str, start: int) -> np.ndarray[Any, Any]:
        """`length` + 1 tokens of a source."""
        own = self.tokens[name]
        start = min(start, len(own) - self.length - 1)
        return own[start : start + self.length + 1]
