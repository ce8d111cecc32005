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

from tuneladder.model.lanes import Lanes
from tuneladder.model.rows import reading
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


def rank(model: Any, items: Sequence[Item], *, share: bool, batches: Batches, lanes: Lanes) -> tuple[list[list[float]], int]:
    """The summed log-probability of each ending of each item, and the number of tokens fed.

    `share` computes the prefix that all items have in common once. `batches(sizes, rows)` splits items by their tokens and
    head rows, for the lanes to take as they come; items of more than one branch, and sharing, need plain full attention.
    """
    shared = _common([item.prefix for item in items]) if share and len(items) > 1 else 0
    shared = shared if shared >= SHORTEST else 0
    device = model.get_input_embeddings().weight.device
    cache = None
    if shared:
        ids_BS = torch.tensor([items[0].prefix[:shared]], device=device)
        with reading(model, torch.tensor([shared - 1], device=device)):
            cache = model(input_ids=ids_BS, use_cache=True).past_key_values
    rows = [_row(item, shared) for item in items]
    scores: list[list[float]] = [[0.0] * len(item.branches) for item in items]
    cut = list(batches([len(row.ids) for row in rows], [len(row.read) for row in rows]))
    for batch, found in zip(
        cut, lanes.map(lambda own: _pass(model, [rows[i] for i in own], cache, shared, device), cut), strict=True
    ):
        for index, own in zip(batch, found, strict=True):
            scores[index] = own
    return scores, shared + sum(len(row.ids) for row in rows)


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
def _pass(model: Any, rows: list[_Row], cache: Any, shared: int, device: torch.device) -> list[list[float]]:
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
        logits_nV = model(**inputs).logits.float()
    normal_n = torch.logsumexp(logits_nV, dim=-1)
    offsets = np.cumsum([0, *(len(row.read) for row in rows)])
    where = torch.tensor([offsets[number] + place for number, row in enumerate(rows) for _, place, _ in row.wanted], device=device)
    token = torch.tensor([token for row in rows for _, _, token in row.wanted], device=device)
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


def _common(prefixes: Sequence[list[int]]) -> int:
    """How many tokens all prefixes begin with, one of each left over to be fed: it is read from."""
    first, last = min(prefixes), max(prefixes)
    length = min(len(prefix) for prefix in prefixes) - 1
    for index, (a, b) in enumerate(zip(first, last, strict=False)):
        if a != b:
            return min(index, length)
    return length
