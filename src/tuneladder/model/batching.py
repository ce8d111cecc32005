"""What engines share: batches of rows of like length, and what is read off a padded one.

Shapes: B rows, T tokens, D the width.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from tuneladder.errors import BadInput
from tuneladder.model.hardware import Thrift
from tuneladder.model.lanes import Lanes

TILE = 16  # rows are padded to a multiple of so many tokens, so that few shapes are met
# Larger batches do not make a pass faster, only wider.
MOST_TOKENS = {"cpu": 4096, "mps": 16384, "cuda": 65536}
# Reading hides a text's tokens in so many hands, one at a time: a seventh is hidden in each, which is near pretraining's 15 %.
HANDS = 7
# A text of at most so many tokens is read in all its hands, a longer one in the first alone: a few words hidden say little.
SHORT = 64


@dataclass
class Calls:
    """What an engine has done so far: prompts asked, those of them that were cut to the context, tokens written, tokens read
    (padding left out), wall-clock seconds."""

    prompts: int = 0
    cut: int = 0
    new_tokens: int = 0
    read_tokens: int = 0
    seconds: float = 0.0


def batches_of(sizes: Sequence[int], rows: Sequence[int], tokens: int, most_rows: int) -> Iterator[list[int]]:
    """Indices in batches, longest first (what does not fit in memory fails at once), padded tokens and head rows within bounds."""
    batch: list[int] = []
    width = read = 0
    for index in sorted(range(len(sizes)), key=lambda i: -sizes[i]):
        if batch and ((len(batch) + 1) * width > tokens or read + rows[index] > most_rows):
            yield batch
            batch, read = [], 0
        width = width if batch else sizes[index]
        batch.append(index)
        read += rows[index]
    if batch:
        yield batch


def side_by_side(sizes: Sequence[int], room: int, most: int, lanes: int) -> Iterator[list[int]]:
    """Indices of rows in batches for lanes that take one each at a time: the longest first, rows of like length dealt out in turn,
    so that the batches of one time cost alike. At most `most` rows in a batch, and as many as have room in `room` tokens."""
    order = sorted(range(len(sizes)), key=lambda index: -sizes[index])
    while order:
        share = lanes * max(1, min(most, room // sizes[order[0]]))
        # what is left over is shared evenly too
        share = min(share, -(-len(order) // -(-len(order) // share)))
        yield from (batch for lane in range(lanes) if (batch := order[lane:share:lanes]))
        order = order[share:]


@contextlib.contextmanager
def running(model: Any, calls: Calls, lanes: int) -> Iterator[Lanes]:
    """Lanes to compute in, with no gradients, no dropout, and every module's mode as it was afterwards; `calls` takes the time."""
    own = Lanes(lanes, after=Thrift())
    begun = time.monotonic()
    try:
        with still(model), torch.no_grad():
            yield own
    finally:
        own.close()
        calls.seconds += time.monotonic() - begun


@contextlib.contextmanager
def still(model: Any) -> Iterator[None]:
    """While open the model drops nothing out; every module's mode is as it was afterwards."""
    learning = [module for module in model.modules() if module.training]
    for module in learning:
        module.training = False
    try:
        yield
    finally:
        for module in learning:
            module.training = True


def counted(pieces: Iterator[str], calls: Calls) -> Iterator[str]:
    """The pieces of a text, one a token, that have something in them; `calls` takes the tokens, and the time of writing them, not
    of who reads."""
    while True:
        begun = time.monotonic()
        try:
            piece = next(pieces)
        except StopIteration:
            return
        finally:
            calls.seconds += time.monotonic() - begun
        calls.new_tokens += 1
        if piece:
            yield piece


def label_places(labels: Sequence[str], endings: Sequence[Sequence[str]]) -> dict[str, int]:
    """Which number each label of a head has. Raises BadInput for an ending that is none of them."""
    place = {label: at for at, label in enumerate(labels)}
    if strange := next((ending for own in endings for ending in own if ending not in place), None):
        raise BadInput(f"the head knows no label '{strange}'", f"its labels: {', '.join(labels)}")
    return place


def one_begins_another(endings: Sequence[list[int]]) -> bool:
    """Whether one of the token sequences is how another begins: then only their end tells them apart."""
    return any(after[: len(before)] == before for before, after in pairwise(sorted(endings)))


def regroup(flat: list[Any], counts: Sequence[int]) -> list[list[Any]]:
    """The flat list in groups of these sizes."""
    found = iter(flat)
    return [[next(found) for _ in range(count)] for count in counts]


def unit(vectors: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Rows (N, D) of length 1; a row of zeros stays one."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)  # type: ignore[no-any-return]


def tiled(length: int, *, tile: int = TILE, most: int | None = None) -> int:
    """The length in whole tiles: every new shape costs a kernel built and kept (on a CPU some 10 MB), and a tile costs little. But
    no more than `most`, the positions that a model has."""
    whole = -(-length // tile) * tile
    return whole if most is None else min(whole, max(length, most))


def padded(rows: Sequence[list[int]], *, tile: int = 1, most: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """ids and mask, both (B, T) of int64: rows padded on the right to a multiple of `tile`, but to no more than `most`; there the
    mask is 0."""
    longest = tiled(max(len(row) for row in rows), tile=tile, most=most)
    ids_BT = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    mask_BT = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    return ids_BT, mask_BT


def kinds_of(ids_BT: torch.Tensor, divider: int) -> torch.Tensor:
    """Which part of its row each token is of, (B, T) of int64: 0 up to the first `divider` and with it, and 1 from there on, as
    pairs of texts were pretrained (arXiv:1810.04805, section 3)."""
    marks_BT = (ids_BT == divider).long()
    return (marks_BT.cumsum(1) > marks_BT).long()


def mean_of(hidden_BTD: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
    """(B, D) float32: the mean over the tokens that the mask shows."""
    shown_BT1 = mask_BT[..., None].float()
    return (hidden_BTD.float() * shown_BT1).sum(1) / shown_BT1.sum(1)
