"""What was paid for in one run counts alike in the next that takes it from the store."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tuneladder.ladder.paid import FILE, billed_in, paid_once
from tuneladder.model.purse import Purse
from tuneladder.store import Store
from tuneladder.types import Cost

BILL = {"a": Cost(seconds=2.0, money=0.5, tokens=10.0), "b": Cost(money=0.25, tokens=4.0)}


def test_taken_from_the_store_an_answer_counts_as_when_it_was_asked_for(tmp_path: Path) -> None:
    store, first, again = Store(tmp_path), Purse(), Purse()

    def make(part: Path) -> Mapping[str, Any]:
        for answer, cost in BILL.items():
            first.pay(answer, cost)
        return {}

    for purse, making in ((first, make), (again, lambda part: pytest.fail("it was made already"))):
        with purse.booking("a rung"):
            paid_once(store, purse, "key", making)
            paid_once(store, purse, "key", making)
    assert again.parts == first.parts == {"a rung": Cost(money=0.75, tokens=14.0)}


def test_an_answer_that_two_nodes_share_counts_once_however_they_come(tmp_path: Path) -> None:
    """Also where one of them was there already and the other is made now."""
    store, money = Store(tmp_path), set()
    for keys in (("one", "two"), ("one", "two"), ("two", "three")):
        purse = Purse()
        for key in keys:
            paid_once(store, purse, key, lambda part, purse=purse: purse.pay("a", BILL["a"]) or {})  # type: ignore[misc]
        money.add(purse.money)
    assert money == {0.5}


def test_what_asks_nobody_has_no_bill(tmp_path: Path) -> None:
    assert not (paid_once(Store(tmp_path), Purse(), "key", lambda part: {}) / FILE).exists()


def test_a_try_that_broke_leaves_its_bill_to_the_one_that_takes_it_up(tmp_path: Path) -> None:
    store, first, second, again = Store(tmp_path), Purse(), Purse(), Purse()

    def breaking(part: Path) -> Mapping[str, Any]:
        first.pay("a", BILL["a"])
        noted.append((part / FILE).read_text())
        with (part / FILE).open("a") as file:
            file.write('{"answer": "c", "co')  # the disk was full
        raise KeyboardInterrupt

    def going_on(part: Path) -> Mapping[str, Any]:
        assert second.money == 0.5  # before more is asked
        second.pay("b", BILL["b"])
        return {}

    noted: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        paid_once(store, first, "key", breaking)
    assert noted[0].count('"answer"') == 1  # at once, for a kill leaves no time
    folder = paid_once(store, second, "key", going_on)
    paid_once(store, again, "key", lambda part: pytest.fail("it was made already"))
    assert second.money == again.money == 0.75
    assert billed_in(folder) == Cost(seconds=2.0, money=0.75, tokens=14.0)
