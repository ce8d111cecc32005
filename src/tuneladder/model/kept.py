"""Answers that were paid for, kept in the store as JSON lines: one file for each model of an endpoint.

A line is written as soon as its answer is there, so that a killed run loses none but those under way. A line that a kill tore in
two is passed over, and its question asked again.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import ValidationError

from tuneladder.store import Store, thaw, writing


@dataclass(frozen=True)
class Paid:
    """A reply, the tokens `read` and `written` that it was billed as (None where the endpoint does not say), the seconds that it
    took, and why each of its texts `ended`, where that is known."""

    reply: Any
    read: int | None
    written: int | None
    seconds: float
    ended: tuple[str, ...] = ()


class Kept:
    """What `name` has answered, by the digest of the question; in memory alone where there is no store."""

    def __init__(self, store: Store | None, name: str) -> None:
        self._store, self._name = store, name
        self._found: dict[str, Paid] = {}
        self._upto = 0

    def find(self, key: str) -> Paid | None:
        """The answer kept under a key, other processes' among them."""
        if key not in self._found:
            self._look()
        return self._found.get(key)

    def keep(self, key: str, paid: Paid) -> None:
        """Write an answer down. Raises NoRoom, or BadInput where the store cannot be written."""
        self._found[key] = paid
        if self._store is None:
            return
        line = json.dumps({"key": key, **asdict(paid)})
        with writing(self._store.root), self._store.lock(self._name), self._path.open("a", encoding="utf-8") as file:
            file.write(f"\n{line}\n")  # what a kill left half-written before it stays a line of its own

    @property
    def _path(self) -> Any:
        assert self._store is not None
        return self._store.root / f"{self._name}.jsonl"

    def _look(self) -> None:
        """Read what the file has gained since the last look, up to its last whole line."""
        if self._store is None or not self._path.is_file() or self._path.stat().st_size <= self._upto:
            return
        with self._path.open("rb") as file:
            file.seek(self._upto)
            whole, end, _ = file.read().rpartition(b"\n")
        self._upto += len(whole) + len(end)
        for line in whole.split(b"\n"):
            try:
                entry = json.loads(line)
                self._found.setdefault(entry.pop("key"), thaw(Paid, entry))
            except (ValueError, ValidationError, KeyError, AttributeError, TypeError):
                continue
