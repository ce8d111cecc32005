"""Weights laid out beforehand as a processor's kernels read them.

oneDNN multiplies matrices in a layout of its own, into which a layer's weights are brought at every call. Where a call has few
rows, as when one token is written for each of some texts, that is a large part of the work. So they are laid out once for the
many calls of one job; the model's own weights stay as they are, and what is laid out is let go at the end.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch

Product = Callable[[torch.Tensor], torch.Tensor]


@contextlib.contextmanager
def prepacked(model: Any, *, memory: int) -> Iterator[None]:
    """While open, the model's linear layers multiply by weights laid out for the CPU, as long as these take at most `memory` bytes
    altogether; elsewhere, and where torch does not offer it, nothing changes. Not for training: no gradient flows through them."""
    linears = [
        module
        for module in model.modules()
        # a layer whose call was already replaced is another's
        if type(module) is torch.nn.Linear and "forward" not in vars(module) and module.weight.device.type == "cpu"
    ]
    size = sum(module.weight.numel() * module.weight.element_size() for module in linears)
    if size > memory or not all(module.weight.dtype in (torch.bfloat16, torch.float32) for module in linears) or not _offered():
        yield
        return
    try:
        for module in linears:
            vars(module)["forward"] = _product(module)
        yield
    finally:
        for module in linears:
            vars(module).pop("forward", None)


def _product(module: torch.nn.Linear) -> Product:
    weight = torch.ops.mkldnn._reorder_linear_weight(module.weight.detach())
    bias = None if module.bias is None else module.bias.detach()

    def forward(x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
        return found

    return forward


def _offered() -> bool:
    """Whether this torch has the layout, which its compiler uses, under the names that it has had so far."""
    layer = torch.nn.Linear(64, 32)
    x = torch.linspace(-1, 1, 128).view(2, 64)
    try:
        return torch.allclose(_product(layer)(x), torch.nn.functional.linear(x, layer.weight, layer.bias), atol=1e-5)
    except (AttributeError, RuntimeError, TypeError):
        return False
