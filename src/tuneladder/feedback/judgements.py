"""Judgements from a file: ours, or what Argilla and Label Studio export."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tuneladder.errors import BadInput, unknown
from tuneladder.feedback.foreign import foreign_rows
from tuneladder.feedback.rankings import is_ranking
from tuneladder.feedback.table import is_number, seconds_of
from tuneladder.task.formats import text_of
from tuneladder.task.read import columns_of, read_rows
from tuneladder.types import Judgement

NEEDED = ("item", "labeler", "value")
MORE = ("rubric", "at", "gold")


@dataclass(frozen=True)
class Judged:
    """`gold` are the right values of the items that have one; `empty` counts rows without a value, where nothing was said; `unread`
    are columns of the file that mean nothing here; `tool` is what wrote the file, "" where it is plain."""

    judgements: tuple[Judgement, ...]
    gold: Mapping[str, Any]
    empty: int = 0
    unread: tuple[str, ...] = ()
    tool: str = ""


def read_judgements(location: str, *, columns: Mapping[str, str] | None = None) -> Judged:
    """The judgements of a file with the columns item, labeler and value, and where there are any rubric, at and gold; `columns`
    says what the file calls them. Rankings are lists (rankings.py), also written out as JSON.

    Raises BadInput for a column that is not there, a row without item, labeler or rubric, and two right values of one item.
    """
    rows = read_rows(location)
    tool, rows = foreign_rows(rows)
    has = columns_of(rows)
    called = _called(has, columns or {}, location)
    numbers = _all_numbers(row.get(called["value"]) for row in rows)
    judgements, gold, empty = [], {}, 0
    for number, row in enumerate(rows, start=1):
        where = f"{location}, row {number}"
        own = {name: row.get(column) for name, column in called.items()}
        item, labeler = (_filled(own[name], f"{where}: {called[name]}") for name in ("item", "labeler"))
        if "gold" in called and (right := _value(own["gold"], numbers)) is not None:
            if item in gold and gold[item] != right:
                said = f"{where}: item {item} is {text_of(right)} by {called['gold']}, and was {text_of(gold[item])}"
                raise BadInput(said, "an item has one right value")
            gold[item] = right
        value = _value(own["value"], numbers)
        if value is None:
            empty += 1
            continue
        rubric = _filled(own["rubric"], f"{where}: {called['rubric']}") if "rubric" in called else ""
        at = text_of(own.get("at")).strip()
        seconds_of(at)
        judgements.append(Judgement(item, labeler, rubric, value, at))
    if not judgements:
        raise BadInput(f"{location} holds no judgement: {called['value']} is empty in all {len(rows):,} rows", "what was said?")
    return Judged(tuple(judgements), gold, empty, tuple(name for name in has if name not in called.values()), tool)


def _called(has: Sequence[str], columns: Mapping[str, str], location: str) -> dict[str, str]:
    """The file's column for each of ours that it has."""
    if stray := next((name for name in columns if name not in (*NEEDED, *MORE)), None):
        raise unknown("column of judgements", stray, (*NEEDED, *MORE))
    hint = f"{location} has: {', '.join(has)[:300]}; name another as labeler=COL"
    for name in (*columns.values(), *(name for name in NEEDED if name not in columns)):
        if name not in has:
            raise unknown("column", name, has, hint)
    called = {name: columns.get(name, name) for name in (*NEEDED, *MORE) if name in columns or name in has}
    strays = [name for name in has if name not in called.values()]
    for name in MORE:
        # a misspelt column would otherwise be left out without a word
        if name not in called and (close := difflib.get_close_matches(name, strays, n=1, cutoff=0.7)):
            raise BadInput(f"no column '{close[0]}' is known: did you mean '{name}'?", f"rename it, or say {name}={close[0]}")
    return called


def _filled(cell: Any, where: str) -> str:
    if text := text_of(cell).strip():
        return text
    raise BadInput(f"{where} is empty", "every judgement says what was judged, by whom, and under which rubric where there are any")


def _value(cell: Any, numbers: bool) -> Any:
    """A number, a word or a ranking; None where nothing was said."""
    if isinstance(cell, str) and cell.strip()[:1] in ("[", "{"):
        try:
            cell = json.loads(cell)
        except (ValueError, RecursionError):
            return cell.strip()
    if is_ranking(cell):
        return cell or None
    text = text_of(cell).strip()
    if not text:
        return None
    return float(text) if numbers else text


def _all_numbers(cells: Any) -> bool:
    """Whether all that was said is numbers, of a CSV too, whose cells are text."""
    said = [cell for cell in cells if is_ranking(cell) or text_of(cell).strip()]
    return bool(said) and all(_is_number(cell) for cell in said)


def _is_number(cell: Any) -> bool:
    if is_number(cell):
        return math.isfinite(cell)
    try:
        return isinstance(cell, str) and math.isfinite(float(cell))
    except ValueError:
        return False
