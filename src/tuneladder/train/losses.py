"""Losses: pure functions of a model and a micro-batch, summed over what is learned (the loop divides once by the whole batch)."""

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


def hidden_token(model: Any, micro: Micro) -> torch.Tensor:
    """Cross-entropy of the tokens that masked language modelling chose (arXiv:1810.04805, section 3.1), natural log, summed.

    The head runs on those places only: of ids (B, T) it sees (N, width).
    """
    assert micro.rows is not None
    with reading(model, micro.rows):
        logits_NV = model(input_ids=micro.ids, attention_mask=micro.mask).logits
    return functional.cross_entropy(logits_NV.float(), micro.targets, reduction="sum")


def answer_token(model: Any, micro: Micro) -> torch.Tensor:
    """Cross-entropy of a seq2seq's next token, natural log, summed over the learned places of its answers.

    The head runs on those places only: of answers (B, U) it sees (N, width).
    """
    inputs = {"input_ids": micro.ids, "attention_mask": micro.mask, "decoder_input_ids": micro.answers, "use_cache": False}
    if micro.rows is None:
        logits_NV = model(**inputs).logits.flatten(0, 1)
    else:
        with reading(model, micro.rows):
            logits_NV = model(**inputs).logits
    return functional.cross_entropy(logits_NV.float(), micro.targets, reduction="sum")


def label_of(model: Any, micro: Micro) -> torch.Tensor:
    """Cross-entropy of each row's label, or of the tag at each of the micro-batch's places, natural log, summed."""
    logits = model(input_ids=micro.ids, attention_mask=micro.mask).logits  # (B, K), or of words (B, T, K)
    if micro.rows is not None:
        logits = logits.flatten(0, 1).index_select(0, micro.rows)
    return functional.cross_entropy(logits.float(), micro.targets, reduction="sum")
