"""A reward model beside the policy that it teaches: how it is opened, what it says of answers, and the memory that both take."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuneladder.evaluate.preference import Weigher
from tuneladder.model import memory
from tuneladder.model.ask import turns_of_all
from tuneladder.model.batching import MOST_TOKENS
from tuneladder.model.hardware import device
from tuneladder.model.quantized import WHOLE
from tuneladder.model.shelf import Shelf
from tuneladder.store import digest, write_json
from tuneladder.train.supervised import held_in
from tuneladder.types import Comparison, Example, Split, Variant

Said = Callable[[Sequence[Example], Sequence[str]], list[float]]  # rows and an answer to each -> the reward of each answer


LEARNED = "learned.json"  # beside a reward model: digests of the prompts that it learned from


def prompts_of(comparisons: Split[Comparison]) -> frozenset[str]:
    """Digests of the prompts of what is learned from, and chosen by while learning."""
    return frozenset(digest(own.turns) for own in (*comparisons.train, *comparisons.dev))


def write_learned(folder: Path, comparisons: Split[Comparison]) -> None:
    """Beside a reward model what it learned from, so that it grades nobody who learned from the same."""
    write_json(folder / LEARNED, sorted(prompts_of(comparisons)))


def read_learned(folder: Path) -> frozenset[str]:
    """Digests of the prompts that the reward model of a node learned from; none where its node does not say."""
    path = folder / LEARNED
    return frozenset(json.loads(path.read_text("utf-8"))) if path.exists() else frozenset()


@dataclass(frozen=True)
class Beside:
    """Bytes of a reward model, none where there is none: what it holds as long as the policy learns, what it works with while it
    rewards, and all of its own while it is opened, before it lets go of what the policy holds too; `active` are its parameters that
    a token passes through."""

    held: int = 0
    working: int = 0
    opening: int = 0
    active: int = 0

    def peak(self, need: memory.Memory) -> int:
        """The most that a policy which needs so much takes with it; nothing is learned while it is opened or rewards."""
        standing = need.peak - need.activations - need.logits
        opened = need.weights + need.process + self.opening
        return max(need.peak + self.held, standing + self.held + self.working, opened)


def beside(judge: Variant, policy: Variant, *, rows: int, length: int, dtype: str) -> Beside:
    """What a reward model takes beside a policy that writes `rows` answers at once, of `length` tokens with their prompts."""
    weights = held_in(judge, dtype) or memory.hold(judge.base.parameters, 8 * memory.BYTES[dtype])
    most = max(1, MOST_TOKENS.get(device(), 4096) // length)
    work = memory.inference(judge.base, rows=min(rows, most), length=length, dtype=dtype, read_rows=0, device=device())
    own = 0 if _stands_on(judge) == _stands_on(policy) and judge.format == WHOLE else weights
    return Beside(own + judge.bytes, work.activations, weights + judge.bytes, judge.base.active)


def _stands_on(variant: Variant) -> tuple[str, str, str]:
    return variant.base.content, Path(variant.weights).name if variant.weights else "", variant.format


@contextlib.contextmanager
def opened(judge: Variant, shelf: Shelf, model: Any) -> Iterator[Said]:
    """The reward model, on a shelf of its own; what it has in common with the policy's `model` is there once."""
    own = Shelf(shelf.device, dtype=shelf.dtype, memory=shelf.memory)
    try:
        with own.engine(judge, beside=model) as engine:
            assert isinstance(engine, Weigher)
            yield _said_by(engine, judge)
    finally:
        own.close()


def _said_by(engine: Weigher, judge: Variant) -> Said:
    """What it says of each answer under its own prompt; one that does not fit earns what the least of the others do."""

    def said(rows: Sequence[Example], texts: Sequence[str]) -> list[float]:
        asks = turns_of_all(judge.prompt, rows)
        found = [own[0] if own else math.nan for own in engine.weigh(asks, [[text] for text in texts])]
        least = min((value for value in found if not math.isnan(value)), default=math.nan)
        return [least if math.isnan(value) else value for value in found]

    return said
