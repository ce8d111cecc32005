"""What endpoints are paid: prices, and a purse that lets no more out of it than is allowed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from tuneladder.errors import Failed
from tuneladder.types import Cost


@dataclass(frozen=True)
class Prices:
    """Money for a million tokens, in whatever currency the recipe is written in."""

    input: float
    output: float

    def of(self, read: float, written: float) -> float:
        """Money for tokens read and written."""
        return (read * self.input + written * self.output) / 1e6


@runtime_checkable
class Pays(Protocol):
    """An engine whose answers are billed. `paid` is what all that it was asked has cost: tokens and money, kept answers as when
    they were given; its seconds are those of kept answers alone, which nobody waits for again."""

    paid: Cost


class Purse:
    """The money of one climb. `allowed` 0 is no limit.

    Before a request the most that it may cost is held back, so that requests under way together cannot spend more than is allowed
    either. An answer counts once however often it is read, and in full where an earlier, killed run paid for it: started again,
    a climb does not get its allowance anew.
    """

    def __init__(self, allowed: float = 0.0) -> None:
        self.allowed = allowed
        self.money, self.tokens = 0.0, 0.0
        self._held, self._lost = 0.0, 0.0
        self._seen: set[str] = set()

    def pay(self, key: str, cost: Cost) -> None:
        """Count what `key` cost, unless it was counted before."""
        if key not in self._seen:
            self._seen.add(key)
            self.money += cost.money
            self.tokens += cost.tokens

    @contextmanager
    def holding(self, most: float) -> Iterator[Callable[[], None]]:
        """Hold `most` back while a request is under way. Raises Failed where that is more than is left.

        What is lent is to be called where a try was lost on its way: it may have been billed, so it counts as if it was.
        """
        self._check(most)
        self._held += most

        def lost() -> None:
            self._lost += most
            self._check(0.0)

        try:
            yield lost
        finally:
            self._held -= most

    def _check(self, more: float) -> None:
        gone = self.money + self._lost
        if self.allowed and gone + self._held + more > self.allowed * (1 + 1e-9):
            aside = f", {_round(self._lost)} of it for tries that may have been billed" if self._lost else ""
            raise Failed(
                f"limit: money is {self.allowed:g}: {_round(gone)} is spent{aside}, and the next answer may cost more than is left",
                "raise `limit: money`; what was paid for is kept, and the same command goes on from there",
            )


def _round(money: float) -> str:
    """Two decimals, or three figures of less than one: `12.35`, `0.000912`."""
    return f"{money:.{2 - min(0, math.floor(math.log10(money))) if money > 0 else 2}f}"
