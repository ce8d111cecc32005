"""Log-probabilities of endings: a shared prefix once, all endings of an item in one row.

Legend: B rows, T tokens of a row, S tokens of the shared prefix, V vocabulary, n rows of the head that are read.

The endings of an item hang as a tree on its prefix: they stand one after another in the row, and a mask hides each from the
next, with positions counted from the prefix. The last token of an ending predicts nothing that is asked for, so it is not
fed; a label of one token costs nothing beyond the prompt.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from tuneladder.model import held
from tuneladder.model.lanes import Lanes
from tuneladder.model.rows import reading
from tuneladder.model.worn import wearing
from tuneladder.task.encode import Encoded

# A shared prefix shorter than this is not worth a mask.
SHORTEST = 16

Batches = Callable[[Sequence[int], Sequence[int]], Iterator[list[int]]]


@dataclass(frozen=True)
class Item:
    """The tokens that all endings follow, the tokens of each ending, and which of those count. The prefix is never empty."""

    prefix: list[int]
    branches: list[list[int]]
    counts: list[list[bool]]


def item_of(group: Sequence[Encoded]) -> Item:
    """The endings of one ask, split where the first of them begins to differ or to be learned."""
    first = group[0].ids
    # The first token of a text has nothing before it that could predict it.
    border = min(max(1, row.learn.index(True)) if True in row.learn else len(row.ids) for row in group)
    while border > 1 and any(row.ids[:border] != first[:border] for row in group):
        border -= 1
    return Item(first[:border], [row.ids[border:] for row in group], [row.learn[border:] for row in group])


def rank(
    model: Any, items: Sequence[Item], *, share: bool, hold: bool, batches: Batches, lanes: Lanes, wear: Sequence[str] = ()
) -> tuple[list[list[float]], int]:
    """The summed log-probability of each ending of each item, and the number of tokens fed.

    `share` computes the prefix that all items have in common once. `batches(sizes, rows)` splits items by their tokens and
    head rows, for the lanes to take as they come; items of more than one branch, and sharing, need plain full attention. With
    `hold`, for a model that was found able to and is open for it (see `held.py`), rows lie side by side and nothing is padded;
    there each may `wear` something of its own (see `worn.py`), and what differs in that has nothing in common.
    """
    shared = beginning([item.prefix for item in items]) if share and len(set(wear)) < 2 else 0
    device = model.get_input_embeddings().weight.device
    rows = [_row(item, shared) for item in items]
    if hold:
        with wearing(wear[:1], [shared]):
            common = held.common(model, items[0].prefix[:shared]) if shared else None

        def one(own: list[int]) -> list[list[float]]:
            return _held(model, [rows[i] for i in own], common, [wear[i] for i in own] if wear else ())
    else:
        cache = _cached(model, items[0].prefix[:shared], device) if shared else None

        def one(own: list[int]) -> list[list[float]]:
            return _padded(model, [rows[i] for i in own], cache, shared, device)

    scores: list[list[float]] = [[0.0] * len(item.branches) for item in items]
    cut = list(batches([len(row.ids) for row in rows], [len(row.read) for row in rows]))
    for batch, found in zip(cut, lanes.map(one, cut), strict=True):
        for index, own in zip(batch, found, strict=True):
            scores[index] = own
    return scores, shared + sum(len(row.ids) for row in rows)


def beginning(prefixes: Sequence[list[int]]) -> int:
    """How many tokens all prefixes begin with, one of each left over to be fed: it is read from. 0 where they are too few to be
    worth a pass of their own."""
    if len(prefixes) < 2:
        return 0
    first, last = min(prefixes), max(prefixes)
    length = min(len(prefix) for prefix in prefixes) - 1
    length = next((place for place, (a, b) in enumerate(zip(first, last, strict=False)) if place >= length or a != b), length)
    return length if length >= SHORTEST else 0


@dataclass(frozen=True)
class _Row:
    """`read` are the places whose logits are read; `wanted` has (branch, index into read, token); `bounds` each branch's places."""

    ids: list[int]
    positions: list[int]
    root: int
    branches: int
    bounds: list[tuple[int, int]]
    read: list[int]
    wanted: list[tuple[int, int, int]]


def _row(item: Item, shared: int) -> _Row:
    ids = item.prefix[shared:]
    root = len(ids)
    positions = list(range(shared, shared + root))
    bounds: list[tuple[int, int]] = []
    places: dict[int, int] = {}
    wanted: list[tuple[int, int, int]] = []
    for number, (branch, counts) in enumerate(zip(item.branches, item.counts, strict=True)):
        start = len(ids)
        for step, (token, count) in enumerate(zip(branch, counts, strict=True)):
            if count:
                place = root - 1 if step == 0 else start + step - 1
                wanted.append((number, places.setdefault(place, len(places)), token))
        ids = ids + branch[:-1]
        positions += range(shared + root, shared + root + len(branch) - 1)
        if len(branch) > 1:
            bounds.append((start, len(ids)))
    return _Row(ids, positions, root, len(item.branches), bounds, list(places), wanted)


@torch.no_grad()
def _held(model: Any, rows: list[_Row], common: dict[int, held.Pair] | None, wear: Sequence[str] = ()) -> list[list[float]]:
    lengths = [len(row.ids) for row in rows]
    own = held.reading(lengths, shared=common)
    own = held.hiding(own, [[(row.root, start, end) for start, end in row.bounds if start > row.root] for row in rows])
    starts = np.cumsum([0, *lengths])
    index = torch.tensor([int(starts[number]) + place for number, row in enumerate(rows) for place in row.read])
    if len(index) == 0:
        return [[0.0] * row.branches for row in rows]
    positions = torch.tensor([[position for row in rows for position in row.positions]])
    with wearing(wear, lengths), reading(model, index):
        return _read_off(held.read(model, [row.ids for row in rows], own, positions=positions), rows)


@torch.no_grad()
def _cached(model: Any, ids: list[int], device: torch.device) -> Any:
    with reading(model, torch.tensor([len(ids) - 1], device=device)):
        return model(input_ids=torch.tensor([ids], device=device), use_cache=True).past_key_values


@torch.no_grad()
def _padded(model: Any, rows: list[_Row], cache: Any, shared: int, device: torch.device) -> list[list[float]]:
    width = max(len(row.ids) for row in rows)
    ids_BT = torch.tensor([row.ids + [0] * (width - len(row.ids)) for row in rows], device=device)
    index = torch.tensor([number * width + place for number, row in enumerate(rows) for place in row.read], device=device)
    inputs: dict[str, Any] = {"input_ids": ids_BT, "use_cache": cache is not None}
    if cache is not None or any(len(row.bounds) > 1 for row in rows):
        positions = [row.positions + [row.positions[-1]] * (width - len(row.ids)) for row in rows]
        inputs["position_ids"] = torch.tensor(positions, device=device)
        inputs["attention_mask"] = _mask(rows, width, shared, model.get_input_embeddings().weight.dtype).to(device)
    if cache is not None:
        inputs["past_key_values"] = copy.deepcopy(cache)
        inputs["past_key_values"].batch_repeat_interleave(len(rows))
    if len(index) == 0:
        return [[0.0] * row.branches for row in rows]
    # Without a mask the attention is causal, and what pads a row on its right is seen by nothing that is read.
    with reading(model, index):
        return _read_off(model(**inputs).logits, rows)


def _read_off(logits_nV: torch.Tensor, rows: list[_Row]) -> list[list[float]]:
    """The scores of each row's branches, from the logits of all places that are read."""
    logits_nV = logits_nV.float()
    normal_n = torch.logsumexp(logits_nV, dim=-1)
    offsets = np.cumsum([0, *(len(row.read) for row in rows)])
    where = torch.tensor([offsets[number] + place for number, row in enumerate(rows) for _, place, _ in row.wanted])
    token = torch.tensor([token for row in rows for _, _, token in row.wanted])
    where, token = where.to(logits_nV.device), token.to(logits_nV.device)
    found = iter((logits_nV[where, token] - normal_n[where]).double().tolist())
    scores = [[0.0] * row.branches for row in rows]
    for number, row in enumerate(rows):
        for branch, _, _ in row.wanted:
            scores[number][branch] += next(found)
    return scores


def _mask(rows: list[_Row], width: int, shared: int, dtype: torch.dtype) -> torch.Tensor:
    """(B, 1, T, S + T), added to attention: 0 where a token sees, the least number where it does not."""
    sees = np.ones((len(rows), width, shared + width), dtype=bool)
    sees[:, :, shared:] = np.tri(width, dtype=bool)
    for number, row in enumerate(rows):
        for start, end in row.bounds:
            sees[number, start:end, shared + row.root : shared + start] = False
    return torch.zeros(sees.shape, dtype=dtype).masked_fill_(~torch.from_numpy(sees), torch.finfo(dtype).min)[:, None]
