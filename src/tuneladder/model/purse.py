"""What endpoints are paid: prices, and a purse that lets no more out of it than is allowed."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from tuneladder.errors import Failed
from tuneladder.types import Cost, Engine


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


def paid_so_far(engine: Engine) -> Cost:
    """What all that an engine was asked has cost; nothing where nobody is billed."""
    return engine.paid if isinstance(engine, Pays) else Cost()


def spent_since(before: Cost, engine: Engine, seconds: float) -> Cost:
    """What was spent since all had cost `before`, in so many seconds: an answer kept from an earlier, killed run is no faster for
    that."""
    after = paid_so_far(engine)
    return Cost(seconds + after.seconds - before.seconds, money=after.money - before.money, tokens=after.tokens - before.tokens)


class Purse:
    """The money of one climb. `allowed` 0 is no limit.

    Before a request the most that it may cost is held back, so that requests under way together cannot spend more than is allowed
    either. An answer counts once however often it is read, for what it was first read for, and in full where an earlier, killed run
    paid for it: started again, a climb does not get its allowance anew.
    """

    def __init__(self, allowed: float = 0.0) -> None:
        self.allowed = allowed
        self.money, self.tokens = 0.0, 0.0
        self._lost = 0.0
        self._held: dict[object, float] = {}  # by request
        self._waiting: list[asyncio.Event] = []
        self._paid: dict[str, tuple[str, Cost]] = {}
        self._booked = ""
        self._notes: list[Callable[[str, Cost], None]] = []

    def pay(self, key: str, cost: Cost) -> None:
        """Count what the answer of `key` cost, unless it was counted before."""
        for note in self._notes:
            note(key, cost)
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
    def noting(self, note: Callable[[str, Cost], None]) -> Iterator[None]:
        """While open, `note` is told at once of every answer that is read, by its key and cost, of those too that were counted
        before."""
        self._notes.append(note)
        try:
            yield
        finally:
            self._notes.pop()

    @asynccontextmanager
    async def holding(self, most: float) -> AsyncIterator[Callable[[], Awaitable[None]]]:
        """Hold `most` back while a request is under way. Where that is more than is left, it waits for what others hold; raises
        Failed where nobody holds anything.

        What is lent is to be awaited where a try was lost on its way: it may have been billed, so it counts as if it was, and for
        the next one as much is held anew.
        """
        request = object()

        async def lost() -> None:
            self._lost += most
            self._release(request)
            await self._hold(request, most)

        await self._hold(request, most)
        try:
            yield lost
        finally:
            self._release(request)

    @contextmanager
    def lending(self, most: float) -> Iterator[Callable[[], None]]:
        """As `holding`, for a request that is tried once, and waits for no other."""

        def lost() -> None:
            self._lost += most

        request = object()
        self._take(request, most)
        try:
            yield lost
        finally:
            self._release(request)

    async def _hold(self, request: object, most: float) -> None:
        while self._held and not self._has(most):
            released = asyncio.Event()
            self._waiting.append(released)
            await released.wait()
        self._take(request, most)

    def _take(self, request: object, most: float) -> None:
        if not self._has(most):
            aside = f", {_round(self._lost)} of it for tries that may have been billed" if self._lost else ""
            spent = _round(self.money + self._lost)
            raise Failed(
                f"limit: money is {self.allowed:g}: {spent} is spent{aside}, and the next answer may cost more than is left",
                "raise `limit: money`; what was paid for is kept, and the same command goes on from there",
            )
        self._held[request] = most

    def _has(self, more: float) -> bool:
        gone = self.money + self._lost + sum(self._held.values())
        return not self.allowed or gone + more <= self.allowed * (1 + 1e-9)

    def _release(self, request: object) -> None:
        self._held.pop(request, None)
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.set()


def _round(money: float) -> str:
    """Two decimals, or three figures of less than one: `12.35`, `0.000912`."""
    return f"{money:.{2 - min(0, math.floor(math.log10(money))) if money > 0 else 2}f}"
