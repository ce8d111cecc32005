"""Dropout that a pass draws for itself.

torch draws every dropout from one generator, in the order of asking: of passes side by side, whoever came first. Here a pass brings
a generator of its own, seeded by what it is, so that the same pass drops the same wherever and whenever it runs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode


class Dropout(TorchFunctionMode):
    """While entered, this thread's `functional.dropout`, and with it every Dropout module, draws from `seed`. What is dropped
    inside a kernel, as scaled_dot_product_attention does, is not seen."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed
        self.draw: torch.Generator | None = None

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is functional.dropout:
            return self._drop(*args, **(kwargs or {}))
        return function(*args, **(kwargs or {}))

    def _drop(self, given: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> torch.Tensor:
        """arXiv:1207.0580, what is kept scaled up."""
        if not training or p == 0:
            return given
        if p == 1:
            return given.zero_() if inplace else given * 0
        if self.draw is None:
            self.draw = torch.Generator(given.device)
            self.draw.manual_seed(self.seed)
        # sixteen random bits an element, four elements a draw: a third of what `bernoulli_` takes
        draws = torch.empty(-(-given.numel() // 4), dtype=torch.int64, device=given.device)
        draws.random_(-(1 << 63), None, generator=self.draw)
        bits = draws.view(torch.int16)[: given.numel()].view(given.shape)
        kept = (bits >= round(p * (1 << 16)) - (1 << 15)).to(given.dtype).div_(1 - p)
        return given.mul_(kept) if inplace else given * kept
