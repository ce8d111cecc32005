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
        kept = torch.empty_like(given).bernoulli_(1 - p, generator=self.draw).div_(1 - p)
        return given.mul_(kept) if inplace else given * kept
