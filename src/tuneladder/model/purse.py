"""What endpoints are paid: prices, and a purse that lets no more out of it than is allowed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
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
    either. An answer counts once however often it is read, for what it was first read for, and in full where an earlier, killed run
    paid for it: started again, a climb does not get its allowance anew.
    """

    def __init__(self, allowed: float = 0.0) -> None:
        self.allowed = allowed
        self.money, self.tokens = 0.0, 0.0
        self._held, self._lost = 0.0, 0.0
        self._paid: dict[str, tuple[str, Cost]] = {}
        self._booked = ""
        self._bills: list[dict[str, Cost]] = []

    def pay(self, key: str, cost: Cost) -> None:
        """Count what the answer of `key` cost, unless it was counted before."""
        for bill in self._bills:
            bill[key] = cost
        if key not in self._paid:
            self._paid[key] = (self._booked, cost)
            self.money += cost.money
            self.tokens += cost.tokens

    @property
    def parts(self) -> Mapping[str, Cost]:
        """Money and tokens by what they were paid for. They are summed exactly: an order of answers is nobody's choice."""
        found: dict[str, list[Cost]] = {}
        for booked, cost in self._paid.values():
            found.setdefault(booked, []).append(cost)
        return {
            booked: Cost(money=math.fsum(cost.money for cost in own), tokens=math.fsum(cost.tokens for cost in own))
            for booked, own in found.items()
        }

    @contextmanager
    def booking(self, what: str) -> Iterator[None]:
        """While open, all that is paid is for `what`."""
        before, self._booked = self._booked, what
        try:
            yield
        finally:
            self._booked = before

    @contextmanager
    def noting(self) -> Iterator[dict[str, Cost]]:
        """Lends what answers cost that are read while it is open, by their keys, those too that were counted before."""
        bill: dict[str, Cost] = {}
        self._bills.append(bill)
        try:
            yield bill
        finally:
            self._bills.pop()

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
