"""A purse: what is counted once, what is held back, and what is refused."""

from __future__ import annotations

import asyncio

import pytest

from tuneladder.errors import Failed
from tuneladder.model.purse import Prices, Purse
from tuneladder.types import Cost


def test_prices_are_for_a_million_tokens() -> None:
    assert Prices(0.5, 2).of(2_000_000, 500_000) == 2


def test_an_answer_counts_once() -> None:
    purse = Purse()
    for key in ("a", "b", "a"):
        purse.pay(key, Cost(money=1.5, tokens=10))
    assert (purse.money, purse.tokens) == (3, 20)


def test_what_is_paid_is_booked_on_what_it_was_first_paid_for() -> None:
    purse = Purse()
    with purse.booking("a rung"):
        purse.pay("a", Cost(money=0.1, tokens=10))
        with purse.booking("a judge"):
            purse.pay("b", Cost(money=0.2, tokens=20))
        purse.pay("c", Cost(money=0.2, tokens=5, seconds=3))
        purse.pay("b", Cost(money=0.2, tokens=20))
    assert purse.parts == {"a rung": Cost(money=0.1 + 0.2, tokens=15), "a judge": Cost(money=0.2, tokens=20)}


def test_parts_are_summed_alike_in_any_order() -> None:
    sums = set()
    for order in (range(50), reversed(range(50))):
        purse = Purse()
        for at in order:
            purse.pay(str(at), Cost(money=1 / (at + 3)))
        sums.add(purse.parts[""].money)
    assert len(sums) == 1


def test_a_bill_has_what_was_counted_before_too() -> None:
    purse, one = Purse(), Cost(money=1.0)
    purse.pay("a", one)
    whole, part = [], []
    with purse.noting(lambda *said: whole.append(said)):
        purse.pay("a", one)
        with purse.noting(lambda *said: part.append(said)):
            purse.pay("b", one)
    purse.pay("c", one)
    assert (whole, part) == ([("a", one), ("b", one)], [("b", one)])
    assert purse.money == 3


def test_what_is_under_way_is_held_back() -> None:
    purse, asked = Purse(10), []

    async def request(name: str, most: float, costs: float) -> None:
        async with purse.holding(most):
            asked.append(name)
            await asyncio.sleep(0)
            purse.pay(name, Cost(money=costs))

    async def together(*requests: tuple[str, float, float]) -> None:
        await asyncio.gather(*(request(*each) for each in requests))

    asyncio.run(together(("a", 6, 2), ("b", 5, 1), ("c", 4, 1)))  # b waits until a, which took less than it might have, is there
    assert asked == ["a", "c", "b"]
    asyncio.run(together(("d", 6, 2)))
    with pytest.raises(Failed, match=r"limit: money is 10: 7.00 is spent, and the next"):
        asyncio.run(together(("e", 3, 1), ("f", 4, 0)))  # what is left when e is there is not enough
    assert asked == ["a", "c", "b", "d", "e"]
    asyncio.run(together(("g", 3, 1)))  # nothing is held any more


def test_what_may_have_been_billed_counts_as_if_it_was() -> None:
    purse = Purse(10)

    async def request() -> None:
        async with purse.holding(4) as lost:
            await lost()
            with pytest.raises(Failed, match=r"8.00 is spent, 8.00 of it for tries that may have been billed"):
                await lost()

    asyncio.run(request())
    assert purse.money == 0  # nobody knows: the price of an answer leaves it out


def test_a_try_that_was_lost_waits_for_what_others_hold() -> None:
    purse, ended = Purse(10), []

    async def request(name: str, tries: int) -> None:
        async with purse.holding(4) as lost:
            await asyncio.sleep(0)
            for _ in range(tries):
                await lost()
            ended.append(name)

    async def both() -> None:
        await asyncio.gather(request("a", 1), request("b", 0))

    asyncio.run(both())
    assert ended == ["b", "a"]


def test_without_a_limit_nothing_is_refused() -> None:
    async def request() -> None:
        async with Purse().holding(1e12) as lost:
            await lost()

    asyncio.run(request())


def test_small_sums_are_told_apart() -> None:
    purse = Purse(0.001)
    purse.pay("a", Cost(money=0.000912))

    async def request() -> None:
        async with purse.holding(0.0005):
            pass

    with pytest.raises(Failed, match=r"limit: money is 0.001: 0.000912 is spent"):
        asyncio.run(request())
