"""Judgements under one rubric, as arrays. Shapes in this room: I items, L labelers, K values, N judgements."""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from tuneladder.errors import BadInput
from tuneladder.evaluate.intervals import Array
from tuneladder.task.formats import text_of
from tuneladder.types import Judgement

Whole = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Repeat:
    """An item that a labeler judged again without being told."""

    item: str
    labeler: str
    first: str
    again: str


@dataclass(frozen=True)
class Table:
    """`item`, `labeler` and `value` (N,) point into the names; `number` (K,) are the values of a score, None of words; `at` (N,) is
    in seconds, nan where it is not known. What a labeler says of an item again is in `repeats` and nowhere else. Pairs of one
    ranked item, which are judged together, have one number in `group` (I,), None where items are no pairs."""

    items: tuple[str, ...]
    labelers: tuple[str, ...]
    values: tuple[str, ...]
    item: Whole
    labeler: Whole
    value: Whole
    number: Array | None
    at: Array
    repeats: tuple[Repeat, ...] = ()
    group: Whole | None = None

    @cached_property
    def counts(self) -> Array:
        """(I, K): how many said each value of each item."""
        flat = np.bincount(self.item * len(self.values) + self.value, minlength=len(self.items) * len(self.values))
        return flat.reshape(len(self.items), len(self.values)).astype(np.float64)

    @cached_property
    def said(self) -> Array:
        """(N,): the numbers said. Only of scores."""
        assert self.number is not None
        return np.asarray(self.number[self.value])

    @cached_property
    def source(self) -> Whole:
        """(I,): the number of what was judged at once."""
        return np.arange(len(self.items)) if self.group is None else self.group

    def by(self, labeler: int) -> Whole:
        """Where a labeler's judgements stand."""
        return np.flatnonzero(self.labeler == labeler)

    def again(self) -> dict[str, list[list[Repeat]]]:
        """What each labeler said again, by what was ranked or else by item: asked again once, they said it once."""
        place = dict(zip(self.items, self.source.tolist(), strict=True))
        found: dict[str, dict[int, list[Repeat]]] = {}
        for each in self.repeats:
            found.setdefault(each.labeler, {}).setdefault(place[each.item], []).append(each)
        return {name: list(own.values()) for name, own in found.items()}


def table_of(judgements: Sequence[Judgement], sources: Mapping[str, str] | None = None) -> Table:
    """The judgements as arrays; of the same labeler and item the earliest counts. `sources` says of which item each is a pair.
    Raises BadInput for numbers among words."""
    kept, repeats = firsts(judgements)
    names, scores = _values(judgements)
    places = [_place(part) for part in ((each.item for each in kept), (each.labeler for each in kept), names)]
    (items, labelers, values) = (tuple(place) for place in places)
    number = _place(sources[item] for item in items) if sources else {}
    group = np.array([number[sources[item]] for item in items], dtype=np.int64) if sources else None
    return Table(
        items,
        labelers,
        values,
        np.array([places[0][each.item] for each in kept], dtype=np.int64),
        np.array([places[1][each.labeler] for each in kept], dtype=np.int64),
        np.array([places[2][text_of(each.value)] for each in kept], dtype=np.int64),
        scores,
        np.array([seconds_of(each.at) for each in kept]),
        tuple(repeats),
        group,
    )


def firsts(judgements: Sequence[Judgement]) -> tuple[list[Judgement], list[Repeat]]:
    """What each labeler said first of each item, by time where all judgements say when, and what of it they said again."""
    found: dict[tuple[str, str], Judgement] = {}
    repeats = []
    for each in in_time(judgements):
        first = found.setdefault((each.item, each.labeler), each)
        if first is not each:
            repeats.append(Repeat(each.item, each.labeler, text_of(first.value), text_of(each.value)))
    return list(found.values()), repeats


def in_time(judgements: Sequence[Judgement]) -> Sequence[Judgement]:
    """By time where all say when, and else as they stand."""
    return sorted(judgements, key=lambda each: seconds_of(each.at)) if all(each.at for each in judgements) else judgements


def seconds_of(moment: str) -> float:
    """A time of day and date in ISO 8601, or seconds, as seconds; nan where it is empty. Raises BadInput for another."""
    if not moment:
        return math.nan
    try:
        return float(moment)
    except ValueError:
        pass
    try:
        found = datetime.datetime.fromisoformat(moment)
    except ValueError:
        raise BadInput(f"'{moment[:40]}' is no time", "write it as 2026-05-01T09:30:00, or as seconds") from None
    return (found if found.tzinfo else found.replace(tzinfo=datetime.UTC)).timestamp()


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _values(judgements: Iterable[Judgement]) -> tuple[list[str], Array | None]:
    """The values in their order, and the numbers that they are where they are a score."""
    found = {text_of(each.value): each.value for each in judgements}
    words = sorted(name for name, value in found.items() if not is_number(value))
    if not words:
        names = sorted(found, key=lambda name: float(found[name]))
        return names, np.array([float(found[name]) for name in names])
    if len(words) < len(found):
        number = next(name for name, value in found.items() if is_number(value))
        said = f"some judgements are numbers and others words: {number} and '{words[0]}'"
        raise BadInput(said, "leave out what has no score, or give the words a rubric of their own")
    return words, None


def _place(names: Iterable[str]) -> dict[str, int]:
    return {name: at for at, name in enumerate(dict.fromkeys(names))}
