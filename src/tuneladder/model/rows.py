"""The head only where it is read.

A language model's head is its largest matrix product at a small width, and training on answers or ranking labels reads one
row in thirty of it. The rows must be flattened before they are gathered: a slice that stays three-dimensional is multiplied
as a batch, with a copy of the vocabulary matrix for each row.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import torch


@contextlib.contextmanager
def reading(model: Any, index: torch.Tensor) -> Iterator[None]:
    """While open, the model's logits are those of rows `index` alone: (n, V) instead of (B, T, V).

    `index` is a LongTensor (n,) into the flattened positions, b * T + t. Works through PEFT's wrappers. Right for every
    model whose head is followed by nothing or by elementwise work; labels must not be passed to the model inside. Several
    threads may read different rows of one model at once.
    """
    reader = threading.get_ident()

    def gather(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...] | None:
        if threading.get_ident() != reader:
            return None
        hidden_BTD, *rest = inputs
        return (hidden_BTD.reshape(-1, hidden_BTD.shape[-1]).index_select(0, index), *rest)

    hook = model.get_output_embeddings().register_forward_pre_hook(gather)
    try:
        yield
    finally:
        hook.remove()


@contextlib.contextmanager
def keeping(module: torch.nn.Module) -> Iterator[list[Any]]:
    """While open, the list takes what the module makes in this thread; others may pass through it at the same time."""
    kept: list[Any] = []
    reader = threading.get_ident()

    def keep(module: torch.nn.Module, given: Any, made: Any) -> None:
        if threading.get_ident() == reader:
            kept.append(made)

    hook = module.register_forward_hook(keep)
    try:
        yield kept
    finally:
        hook.remove()
