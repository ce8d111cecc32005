"""What engines share: batches of rows of like length, and what is read off a padded one.

Shapes: B rows, T tokens, D the width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

# Larger batches do not make a pass faster, only wider.
MOST_TOKENS = {"cpu": 4096, "mps": 16384, "cuda": 65536}


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


def padded(rows: Sequence[list[int]], *, tile: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """ids and mask, both (B, T) of int64: rows padded on the right to a multiple of `tile`, where the mask is 0."""
    longest = -(-max(len(row) for row in rows) // tile) * tile
    ids_BT = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    mask_BT = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    return ids_BT, mask_BT


def mean_of(hidden_BTD: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
    """(B, D) float32: the mean over the tokens that the mask shows."""
    shown_BT1 = mask_BT[..., None].float()
    return (hidden_BTD.float() * shown_BT1).sum(1) / shown_BT1.sum(1)
