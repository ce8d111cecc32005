"""Which LoRA each row of a batch wears, where several lie over one base.

PEFT keeps them all. While rows wear adapters, a layer multiplies its own matrix once with all tokens, and each adapter's two thin
ones with the tokens of its rows (arXiv:2310.18547, section 3).
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

PLAIN = ""  # what a row wears that the base alone answers

_now = threading.local()  # worn: of each adapter, the tokens whose row wears it


@contextlib.contextmanager
def wearing(names: Sequence[str], lengths: Sequence[int]) -> Iterator[None]:
    """While open, tokens that this thread passes side by side, so many of each row, wear what `names` says of their row. No names:
    the model is what it is."""
    if not names:
        yield
        return
    each = [name for name, length in zip(names, lengths, strict=True) for _ in range(length)]
    _now.worn = {
        name: torch.tensor([at for at, own in enumerate(each) if own == name]) for name in dict.fromkeys(names) if name != PLAIN
    }
    try:
        yield
    finally:
        del _now.worn


@contextlib.contextmanager
def mixed(model: Any) -> Iterator[None]:
    """While open, the LoRA layers of a PEFT model go by what rows wear, wherever `wearing` says it. Not for training."""
    layers = lora_layers(model)
    try:
        for layer in layers:
            vars(layer)["forward"] = _by_row(layer)
        yield
    finally:
        for layer in layers:
            vars(layer).pop("forward", None)


def _by_row(layer: Any) -> Callable[..., torch.Tensor]:
    plain = layer.forward

    def forward(x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        worn: Mapping[str, torch.Tensor] | None = getattr(_now, "worn", None)
        if worn is None:
            return plain(x, *args, **kwargs)  # type: ignore[no-any-return]
        made: torch.Tensor = layer.base_layer(x, *args, **kwargs)
        x_SD, made_SM = x.reshape(-1, x.shape[-1]), made.reshape(-1, made.shape[-1])
        for name, tokens in worn.items():
            if name in layer.lora_A:
                a, b = layer.lora_A[name], layer.lora_B[name]
                low = b(a(x_SD.index_select(0, tokens).to(a.weight.dtype))) * layer.scaling[name]
                made_SM = made_SM.index_add(0, tokens, low.to(made.dtype))
        return made_SM.reshape(made.shape)

    return forward


def lora_layers(model: Any) -> list[Any]:
    from peft.tuners.lora import LoraLayer

    return [module for module in model.modules() if isinstance(module, LoraLayer)]
