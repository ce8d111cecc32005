"""What is made once is paid for once: beside it lies what its answers were billed, and whoever takes it from the store counts the
same answers as whoever asked for them.

An answer is noted before anything is made of it, so that a try that was killed leaves its bill to the one that takes it up.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tuneladder.model.purse import Purse
from tuneladder.store import Store, freeze, thaw, writing
from tuneladder.types import Cost

FILE = "bill.jsonl"


def paid_once(
    store: Store, purse: Purse, key: str, make: Callable[[Path], Mapping[str, Any]], *, budget: float | None = None
) -> Path:
    """`store.once`, whose answers are counted in the purse, whether they were asked for now or in an earlier run."""

    def noting(part: Path) -> Mapping[str, Any]:
        _pay(purse, part)  # what an earlier try was answered may not be asked for again
        noted = set[str]()

        def note(answer: str, cost: Cost) -> None:
            if answer not in noted:
                noted.add(answer)
                line = json.dumps({"answer": answer, "cost": freeze(cost)})
                with writing(store.root), (part / FILE).open("a", encoding="utf-8") as file:
                    file.write(f"\n{line}\n")  # what was half-written before it stays a line of its own

        with purse.noting(note):
            return make(part)

    folder = store.once(key, noting, budget=budget)
    _pay(purse, folder)
    return folder


def billed_in(folder: Path) -> Cost:
    """What the answers of a node were billed; its seconds are those of kept answers, for which nobody waited."""
    costs = _bill(folder).values()
    seconds, money, tokens = (math.fsum(getattr(cost, name) for cost in costs) for name in ("seconds", "money", "tokens"))
    return Cost(seconds, money=money, tokens=tokens)


def _pay(purse: Purse, folder: Path) -> None:
    for answer, cost in _bill(folder).items():
        purse.pay(answer, cost)


def _bill(folder: Path) -> dict[str, Cost]:
    """By answer, each as its last reader paid for it. One whose line was half-written reached nobody, and is read again."""
    path, bill = folder / FILE, dict[str, Cost]()
    for line in path.read_text("utf-8").splitlines() if path.is_file() else ():
        with contextlib.suppress(json.JSONDecodeError):
            entry = json.loads(line)
            bill[entry["answer"]] = thaw(Cost, entry["cost"])
    return bill
