"""The head only where it is read.

A language model's head is its largest matrix product at a small width, and training on answers or ranking labels reads one
row in thirty of it. The rows must be flattened before they are gathered: a slice that stays three-dimensional is multiplied
as a batch, with a copy of the vocabulary matrix for each row.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import torch

from tuneladder.model.lanes import trying


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


class _Reached(Exception):
    """A pass is where it was to go."""


@contextlib.contextmanager
def ending() -> Iterator[Callable[[], NoReturn]]:
    """What is given ends, from however deep, what is inside the `with`; where one is within another, each ends its own."""
    here = _Reached()

    def end() -> NoReturn:
        raise here

    try:
        yield end
    except _Reached as found:
        if found is not here:
            raise
        here.__traceback__ = None  # whose frames hold all that the pass had in hand, in a ring with this one


@contextlib.contextmanager
def bypassing(model: Any) -> Iterator[list[torch.Tensor]]:
    """For one pass of a model whose head is bare: what would reach the head, (B * T, D), is in the list, and there the pass ends,
    and with it what is inside the `with`. A single row's logits would be dear already: under autocast the head's matrix, which may
    be half the model, is copied for them."""
    kept: list[torch.Tensor] = []

    with ending() as end:

        def keep(hidden_ND: torch.Tensor) -> NoReturn:
            kept.append(hidden_ND)
            end()

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
        with trying(model):
            with bypassing(model) as kept:
                model(input_ids=ids)
            return torch.equal(head(kept[0]), model(input_ids=ids).logits[0])
    except (TypeError, ValueError, RuntimeError, IndexError, AttributeError):
        return False
    finally:
        model.train(learning)
