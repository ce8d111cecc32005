"""What lies below the lowest layer that learns says the same of a row in every epoch. It is asked once, and what it said is kept on
disk; then the layers above go on from there, as a model of their own. And of all that does not learn a half precision is made once.

Shapes: B rows, T tokens, S tokens of all rows, D the model's width.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from tuneladder.errors import Refused
from tuneladder.model.rows import ending
from tuneladder.types import Family


class States:
    """What the frozen part said of rows of `sizes` tokens: (S, D) in float32 in a file, of which a row is read where it is needed.
    A file that is mapped would count as memory as it is read."""

    FILE = "states.bin"

    def __init__(self, folder: Path, sizes: Sequence[int], width: int) -> None:
        self.path, self.width = folder / self.FILE, width
        self.starts = [0, *itertools.accumulate(sizes)]

    def __getitem__(self, row: int) -> torch.Tensor:
        start, end = (at * self.width for at in self.starts[row : row + 2])
        return torch.from_numpy(np.fromfile(self.path, np.float32, end - start, offset=4 * start)).view(-1, self.width)

    def put(self, row: int, states_TD: torch.Tensor) -> None:
        with open(os.open(self.path, os.O_WRONLY | os.O_CREAT, 0o644), "wb") as file:  # what others put there stays
            file.seek(4 * self.starts[row] * self.width)
            file.write(states_TD.numpy().tobytes())


def stack_of(model: Any, *, decoder: bool = False) -> tuple[Any, str]:
    """The module that holds a model's layers, with `decoder` a seq2seq's decoder's, and what they are called there. Raises
    LookupError where that is not plain."""
    config = model.config.get_text_config()
    owners, count = model.modules(), config.num_hidden_layers
    if decoder:
        owners, count = [model.get_decoder()], getattr(config, "num_decoder_layers", None) or config.decoder_layers
    found = [
        (owner, name)
        for owner in owners
        for name, child in owner.named_children()
        if isinstance(child, torch.nn.ModuleList) and len(child) == count
    ]
    if len(found) != 1:
        raise LookupError(f"{type(model).__name__} has {len(found)} stacks of {count} layers")
    return found[0]


def last_weights(model: Any, top: int, *, family: Family) -> list[Any]:
    """The weights of a model's last `top` layers, of a seq2seq its decoder's, and of the norm behind them. Raises Refused where
    there is no plain stack of them, or it has fewer."""
    try:
        owner, name = stack_of(model, decoder=family == "seq2seq")
    except LookupError as error:
        raise Refused(f"selective finds no last layers: {error}", "`full` trains all, `train: norms` its norms") from error
    layers = getattr(owner, name)
    if top > len(layers):
        raise Refused(f"top {top} is more than the {len(layers)} layers that there are", "`full` trains them all")
    # beside the stack stand the norm behind its last layer and, in some, that of the embeddings before its first
    behind = [module for other, module in owner.named_children() if other != name and "emb" not in other]
    return [
        *(weight for layer in layers[-top:] for weight in layer.parameters()),
        *(weight for module in behind for weight in norm_weights(module)),
    ]


def norm_weights(module: Any) -> list[Any]:
    """The weights of a norm: one of a single dimension, and a bias where it has one; none of what is no norm."""
    own = dict(module.named_parameters(recurse=False))
    return list(own.values()) if "weight" in own and own["weight"].dim() == 1 else []


def divisible(model: Any) -> bool:
    """Whether the model's last layers can be a model of their own: they are one plain stack of one kind."""
    try:
        stack_of(model)
    except LookupError:
        return False
    return len(set(getattr(model.config.get_text_config(), "layer_types", None) or ["all alike"])) == 1


@contextlib.contextmanager
def reached(module: Any, *, behind: bool) -> Iterator[list[torch.Tensor]]:
    """For one pass of this thread: the hidden states that the module is given, or with `behind` those that it makes, are in the
    list, and there the pass ends, and with it what is inside the `with`."""
    found: list[torch.Tensor] = []
    reader = threading.get_ident()

    with ending() as end:
        # another thread that is on its way through may be told of this hook and not that it takes what has names
        def given(own: Any, args: Any, named: Mapping[str, Any] = MappingProxyType({})) -> None:
            if threading.get_ident() == reader:
                found.append(args[0] if args else named["hidden_states"])
                end()

        def made(own: Any, args: Any, out: Any) -> None:
            if threading.get_ident() == reader:
                found.append(out[0] if isinstance(out, tuple) else out.last_hidden_state)
                end()

        hook = module.register_forward_hook(made) if behind else module.register_forward_pre_hook(given, with_kwargs=True)
        try:
            yield found
        finally:
            hook.remove()


@contextlib.contextmanager
def going_on(model: Any, top: int) -> Iterator[Any]:
    """While open, the model has its last `top` layers only, and in a thread within `feeding(states)` it begins with these, whatever
    it reads."""
    owner, name = stack_of(model)
    layers, config = getattr(owner, name), model.config.get_text_config()
    count, now = config.num_hidden_layers, threading.local()

    def enter(layer: Any, args: Any, named: dict[str, Any]) -> Any:
        if (states := getattr(now, "states", None)) is None:
            return None
        return ((states, *args[1:]), named) if args else (args, {**named, "hidden_states": states})

    @contextlib.contextmanager
    def feeding(states: torch.Tensor) -> Iterator[None]:
        now.states = states
        try:
            yield
        finally:
            now.states = None

    setattr(owner, name, torch.nn.ModuleList(layers[count - top :]))
    config.num_hidden_layers = top
    hook = layers[count - top].register_forward_pre_hook(enter, with_kwargs=True)
    try:
        yield feeding
    finally:
        hook.remove()
        setattr(owner, name, layers)
        config.num_hidden_layers = count


@contextlib.contextmanager
def rounded(modules: Iterable[Any], half: torch.dtype | None) -> Iterator[None]:
    """While open, the matrices of these modules that do not learn are in `half`, as autocast would round them in every pass anew,
    and afterwards again what they were. Tables of embeddings stay as they are, and a head that shares one is rounded beside it.
    None changes nothing."""
    from transformers.pytorch_utils import Conv1D

    every = modules if half else ()
    before = [
        (module, module.weight)
        for module in every
        if isinstance(module, torch.nn.Linear | Conv1D) and module.weight.dtype == torch.float32 and not module.weight.requires_grad
    ]
    try:
        for module, weight in before:
            module.weight = torch.nn.Parameter(weight.to(half), requires_grad=False)
        yield
    finally:
        for module, weight in before:
            module.weight = weight
