"""Lanes: work side by side, each lane a thread with its own share of the cores.

A small model's kernels are over before a second core has woken up: measured on 2 cores, the training step of a model of 8.5M
parameters takes as long with two threads as with one, and of 135M two thirds as long. Two passes at once, a core each, halve
both. What is computed does not depend on which lane was faster.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import torch

from tuneladder.model.chance import Dropout

T = TypeVar("T")
R = TypeVar("R")

MOST = 8
LARGE = 64_000_000


def lanes_for(device: str, *, trainable: int = 0, model: Any = None) -> int:
    """How many lanes pay: one for each core of a CPU, at most 8.

    One on a GPU, which is wide itself; where `trainable` parameters are many, for each lane has gradients of its own, and large
    matrices keep all cores busy; and for a model whose passes are not their own affair.
    """
    if device != "cpu" or trainable > LARGE:
        return 1
    if model is not None and (alters(model) or remembers(model) or draws(model, beside_dropout=True)):
        return 1
    return min(MOST, torch.get_num_threads())


def in_half(device: str, half: torch.dtype | None, *, alone: bool = True) -> torch.autocast:
    """Autocast to `half`, where that is one. Its copies of weights are all threads', and go when any leaves: they are kept where a
    pass is `alone`."""
    return torch.autocast(device, half or torch.bfloat16, enabled=half is not None, cache_enabled=alone)


@contextlib.contextmanager
def trying(model: Any) -> Iterator[None]:
    """For a pass that tries a model: no gradients, and one of weights in several precisions, as what learns is held in float32 over
    a frozen bfloat16, under autocast, as it is trained."""
    device = next(model.parameters()).device.type
    mixed = len({weight.dtype for weight in model.parameters() if weight.is_floating_point()}) > 1
    with torch.no_grad(), in_half(device, torch.bfloat16 if mixed else None):
        yield


def slack(model: Any) -> float:
    """How far, of the largest number, two ways through a model may be apart that say the same: rounding makes no more of it."""
    return 1e-3 if all(weight.dtype == torch.float32 for weight in model.parameters() if weight.is_floating_point()) else 0.05


def draws(model: Any, *, beside_dropout: bool = False) -> bool:
    """Whether a pass in training draws random numbers (dropout, noise), which come from one generator in the order of asking; or,
    `beside_dropout`, draws any that `chance.Dropout` does not draw for it. Tried on a few tokens; a model that cannot be tried so
    counts as one that does."""
    before, learning = torch.get_rng_state(), model.training
    model.train()
    try:
        with trying(model), Dropout(0) if beside_dropout else contextlib.nullcontext():
            ids_BT = torch.tensor([[1, 2, 3, 4]], device=next(model.parameters()).device)
            model(input_ids=ids_BT, **({"decoder_input_ids": ids_BT} if model.config.is_encoder_decoder else {}))
        return not torch.equal(before, torch.get_rng_state())
    except (TypeError, ValueError, RuntimeError, IndexError, AttributeError):
        return True
    finally:
        torch.set_rng_state(before)
        model.train(learning)


def remembers(model: Any) -> bool:
    """Whether a pass leaves something behind that the next one reads: rotary frequencies that follow the longest row seen."""
    config = model.config.get_text_config() if hasattr(model, "config") else None
    rope = getattr(config, "rope_parameters", None) or {}
    kinds = [rope.get("rope_type"), *(each.get("rope_type") for each in rope.values() if isinstance(each, dict))]
    return any(kind in ("dynamic", "longrope") for kind in kinds)


def alters(model: Any) -> bool:
    """Whether a pass changes the model while it lasts: PEFT lays a LoRA over a mixture's experts by putting other matrices in their
    place."""
    return any(type(module).__name__ == "ParamWrapper" for module in model.modules())


class Lanes:
    """`count` threads that share the cores evenly; with one, work is done by the caller, with all of them. `after` is called after
    each part, by whoever did it."""

    def __init__(self, count: int, *, after: Callable[[], None] | None = None) -> None:
        self.count, self._after = count, after
        self._pool = None
        if count > 1:
            threads = torch.get_num_threads()
            self._pool = ThreadPoolExecutor(count, "lane", initializer=torch.set_num_threads, initargs=(threads // count or 1,))
            # torch hands the number last set to every new thread: wait until the lanes have theirs, then take it back
            together = threading.Barrier(count + 1)
            for _ in range(count):
                self._pool.submit(self._begin, together)
            together.wait()
            torch.set_num_threads(threads)

    @staticmethod
    def _begin(together: threading.Barrier) -> None:
        torch.ones(1 << 16).add_(1)  # a thread's number is settled when it first computes
        together.wait()

    def map(self, work: Callable[[T], R], parts: Sequence[T]) -> list[R]:
        """The results in the order of `parts`; a single one is computed by the caller, with all cores. Autograd and autocast
        modes are a thread's own: `work` sets what it needs."""
        done = partial(self._done, work)
        if self._pool is None or len(parts) == 1:
            return [done(part) for part in parts]
        return list(self._pool.map(done, parts))

    def in_turn(self, work: Callable[[T], R], parts: Sequence[T]) -> list[R]:
        """As `map`, to the bit, one part after another: what is compiled on the way is compiled once."""
        if self._pool is None or len(parts) == 1:
            return self.map(work, parts)
        return [self._pool.submit(self._done, work, part).result() for part in parts]

    def _done(self, work: Callable[[T], R], part: T) -> R:
        found = work(part)
        if self._after:
            self._after()
        return found

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
