"""Lanes: work side by side, each lane a thread with its own share of the cores.

A small model's kernels are over before a second core has woken up: measured on 2 cores, the training step of a model of 8.5M
parameters takes as long with two threads as with one, and of 135M two thirds as long. Two passes at once, a core each, halve
both. What is computed does not depend on which lane was faster.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")

MOST = 8
LARGE = 64_000_000


def lanes_for(device: str, *, trainable: int = 0, model: Any = None) -> int:
    """How many lanes pay: one for each core of a CPU, at most 8.

    One on a GPU, which is wide itself; where `trainable` parameters are many, for each lane has gradients of its own, and large
    matrices keep all cores busy; and for a model that draws dropout, whose draws come from one generator in the order of asking.
    """
    if device != "cpu" or trainable > LARGE or (model is not None and draws(model)):
        return 1
    return min(MOST, torch.get_num_threads())


def draws(model: Any) -> bool:
    """Whether training this model draws random numbers."""
    modules = any(isinstance(module, torch.nn.Dropout) and module.p > 0 for module in model.modules())
    config = model.config.to_dict() if hasattr(model, "config") else {}
    return modules or any("drop" in name and isinstance(value, float) and value > 0 for name, value in config.items())


class Lanes:
    """`count` threads that share the cores evenly; with one, work is done by the caller, with all of them."""

    def __init__(self, count: int) -> None:
        self.count = count
        threads = max(1, torch.get_num_threads() // count)
        self._pool = None
        if count > 1:
            self._pool = ThreadPoolExecutor(count, "lane", initializer=torch.set_num_threads, initargs=(threads,))

    def map(self, work: Callable[[T], R], parts: Sequence[T]) -> list[R]:
        """The results in the order of `parts`. Autograd and autocast modes are a thread's own: `work` sets what it needs."""
        if self._pool is None:
            return [work(part) for part in parts]
        return list(self._pool.map(work, parts))

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()


def dealt(costs: Sequence[float], count: int) -> list[list[int]]:
    """Indices of works in `count` even shares: the dearest first, each to whoever has least, in their own order in the end."""
    loads = [0.0] * count
    shares: list[list[int]] = [[] for _ in range(count)]
    for index in sorted(range(len(costs)), key=lambda index: -costs[index]):
        least = loads.index(min(loads))
        loads[least] += costs[index]
        shares[least].append(index)
    return [sorted(share) for share in shares if share]
