"""The judgements made under one rubric, ready to be measured: rankings as their pairs, values at their level."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tuneladder.errors import BadInput, unknown
from tuneladder.feedback.alpha import LEVELS, Level
from tuneladder.feedback.rankings import TIED, Pair, as_pairs, is_ranking
from tuneladder.feedback.table import Table, table_of
from tuneladder.task.formats import text_of
from tuneladder.types import Judgement

CELLS = 20_000_000  # of all labelers' tables of what they take for what: 160 MB
ALONE = "have some of the items judged by a second labeler"


@dataclass(frozen=True)
class Under:
    """`given` as they were made, `judgements` and `table` as they are measured; `pairs` what each item of rankings stands for, else
    empty."""

    rubric: str
    given: tuple[Judgement, ...]
    judgements: tuple[Judgement, ...]
    table: Table
    level: Level
    pairs: Mapping[str, Pair]

    @property
    def levels(self) -> tuple[Level, ...]:
        """Those that agreement can be measured on."""
        return LEVELS if self.table.number is not None and len(self.table.values) > 2 else ("nominal",)


def by_rubric(judgements: Sequence[Judgement], level: str | None = None) -> tuple[Under, ...]:
    """One for each rubric, in the order in which they appear. `level` says how values differ; left out, words are nominal, and so
    are scores of two values; other scores are interval.

    Raises BadInput for judgements that no agreement can be measured on: of one labeler, all the same, rankings among others.
    """
    if level is not None and level not in LEVELS:
        raise unknown("level", level, LEVELS)
    own: dict[str, list[Judgement]] = {}
    for each in judgements:
        own.setdefault(each.rubric, []).append(each)
    return tuple(_under(rubric, tuple(given), level) for rubric, given in own.items())


def _under(rubric: str, given: tuple[Judgement, ...], level: str | None) -> Under:
    under = f" under {rubric}" if rubric else ""
    judgements, pairs = _measurable(given, under)
    _refuse(judgements, under)
    table = table_of(judgements, {item: pair.item for item, pair in pairs.items()})
    measured = _level(table, level, under)
    if measured == "nominal" and len(table.labelers) * len(table.values) ** 2 > CELLS:
        said = (
            f"{len(table.labelers):,} labelers say {len(table.values):,} different things{under}, such as '{table.values[0][:40]}'"
        )
        raise BadInput(f"{said}: these are no labels", "measure another criterion, or make scores or labels of them")
    return Under(rubric, given, judgements, table, measured, pairs)


def _measurable(given: tuple[Judgement, ...], under: str) -> tuple[tuple[Judgement, ...], dict[str, Pair]]:
    ranked = [each for each in given if is_ranking(each.value)]
    if not ranked:
        return given, {}
    if odd := next((each for each in given if not is_ranking(each.value)), None):
        said = f"some judgements{under} are rankings, and {odd.labeler} says {text_of(odd.value)[:40]!r} of item {odd.item}"
        raise BadInput(said, "rank with ties and failures: [['a', 'b']] and {ranked: ['a'], failed: ['b']}")
    judgements, pairs = as_pairs(ranked)
    if not judgements:
        raise BadInput(f"every answer judged{under} failed: there is no pair to agree on", "rank items that have a better answer")
    return tuple(judgements), pairs


def _refuse(judgements: Sequence[Judgement], under: str) -> None:
    people = {each.labeler for each in judgements}
    if len(people) == 1:
        raise BadInput(f"all {len(judgements):,} judgements{under} are by one labeler, {next(iter(people))}", ALONE)
    said = Counter(text_of(each.value) for each in judgements)
    if set(said) == {TIED}:
        hint = "ask about answers that differ, or define in the rubric what makes one better"
        raise BadInput(f"all {len(judgements):,} pairs judged{under} are tied: nothing was preferred", hint)
    if len(said) == 1:
        hint = "where nothing differs no agreement can be measured: judge items that differ"
        raise BadInput(f"all {len(judgements):,} judgements{under} are '{next(iter(said))}'", hint)


def _level(table: Table, level: str | None, under: str) -> Level:
    if table.number is None:
        if level in ("ordinal", "interval"):
            raise BadInput(f"the values{under} are words, such as '{table.values[0]}', which have no {level} order", "leave it out")
        return "nominal"
    if level is not None:
        return next(each for each in LEVELS if each == level)
    return "nominal" if len(table.values) == 2 else "interval"
