"""The head only where it is read.

A language model's head is its largest matrix product at a small width, and training on answers or ranking labels reads one
row in thirty of it. The rows must be flattened before they are gathered: a slice that stays three-dimensional is multiplied
as a batch, with a copy of the vocabulary matrix for each row.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch


@contextlib.contextmanager
def reading(model: Any, index: torch.Tensor) -> Iterator[None]:
    """While open, the model's logits are those of rows `index` alone: (n, V) instead of (B, T, V).

    `index` is a LongTensor (n,) into the flattened positions, b * T + t. Works through PEFT's wrappers. Right for every
    model whose head is followed by nothing or by elementwise work; labels must not be passed to the model inside. Several
    threads may read different rows of one model at once.
    """

    def gather(hidden_ND: torch.Tensor) -> torch.Tensor:
        return hidden_ND.index_select(0, index)

    with _before_head(model, gather):
        yield


@contextlib.contextmanager
def bypassing(model: Any) -> Iterator[list[torch.Tensor]]:
    """While open, what would reach the head, (B * T, D), is kept in the list instead; the logits are those of one row, and mean
    nothing. For a model whose head is bare."""
    kept: list[torch.Tensor] = []

    def keep(hidden_ND: torch.Tensor) -> torch.Tensor:
        kept.append(hidden_ND)
        return hidden_ND[:1].detach()

    with _before_head(model, keep):
        yield kept


@contextlib.contextmanager
def noting(model: Any) -> Iterator[list[torch.Tensor]]:
    """While open, the list takes what reaches the head, flattened: inside `reading` the rows that are read, (n, D)."""
    kept: list[torch.Tensor] = []

    def note(hidden_ND: torch.Tensor) -> torch.Tensor:
        kept.append(hidden_ND)
        return hidden_ND

    with _before_head(model, note):
        yield kept


@contextlib.contextmanager
def _before_head(model: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Iterator[None]:
    """While open, the head sees what `change` makes of its flattened input, wherever this thread passes."""
    reader = threading.get_ident()

    def hooked(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...] | None:
        if threading.get_ident() != reader:
            return None
        hidden_BTD, *rest = inputs
        return (change(hidden_BTD.reshape(-1, hidden_BTD.shape[-1])), *rest)

    hook = model.get_output_embeddings().register_forward_pre_hook(hooked)
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


def bare_head(model: Any) -> bool:
    """Whether the logits are one matrix product of what reaches the head, with nothing after it; tried on a few tokens."""
    head = model.get_output_embeddings()
    if type(head) is not torch.nn.Linear:
        return False
    ids = torch.tensor([[1, 2, 3]], device=head.weight.device)
    learning = model.training
    model.eval()
    try:
        with torch.no_grad():
            with bypassing(model) as kept:
                model(input_ids=ids)
            return torch.equal(head(kept[0]), model(input_ids=ids).logits[0])
    except (TypeError, ValueError, RuntimeError, IndexError, AttributeError):
        return False
    finally:
        model.train(learning)
