"""What is made once is paid for once: beside it lies what its answers were billed, and whoever takes it from the store counts the
same answers as whoever asked for them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tuneladder.model.purse import Purse
from tuneladder.store import Store, freeze, thaw, write_json
from tuneladder.types import Cost

FILE = "bill.json"


def paid_once(
    store: Store, purse: Purse, key: str, make: Callable[[Path], Mapping[str, Any]], *, budget: float | None = None
) -> Path:
    """`store.once`, whose answers are counted in the purse, whether they were asked for now or in an earlier run."""

    def noting(part: Path) -> Mapping[str, Any]:
        # a part that is taken up again does not ask again for what an earlier try was answered
        before = json.loads((part / FILE).read_text("utf-8")) if (part / FILE).is_file() else {}
        with purse.noting() as bill:
            try:
                return make(part)
            finally:
                if bill:
                    write_json(part / FILE, before | {answer: freeze(cost) for answer, cost in bill.items()})

    folder = store.once(key, noting, budget=budget)
    if (folder / FILE).is_file():
        for answer, cost in json.loads((folder / FILE).read_text("utf-8")).items():
            purse.pay(answer, thaw(Cost, cost))
    return folder
