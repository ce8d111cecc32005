"""Losses: pure functions of a model and a micro-batch, summed over learned tokens (the loop divides once by the whole batch)."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from tuneladder.model.rows import reading
from tuneladder.train.batches import Micro


def next_token(model: Any, micro: Micro) -> torch.Tensor:
    """Cross-entropy of the next token, natural log, summed over the learned positions.

    The head runs on learned rows only: of ids (B, T) it sees (N, width), not (B, T, width).
    """
    if micro.rows is None:
        logits_BTV = model(input_ids=micro.ids, use_cache=False).logits
        return functional.cross_entropy(logits_BTV.flatten(0, 1).float(), micro.targets, reduction="sum")
    packed = {} if micro.grid is None else {"grid": micro.grid, "position_ids": micro.grid.positions}
    with reading(model, micro.rows):
        logits_NV = model(input_ids=micro.ids, use_cache=False, **packed).logits
    return functional.cross_entropy(logits_NV.float(), micro.targets, reduction="sum")
