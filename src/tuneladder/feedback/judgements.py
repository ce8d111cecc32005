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
from tuneladder.feedback.rubric import unstamped
from tuneladder.feedback.table import in_time, is_number, seconds_of
from tuneladder.task.formats import text_of
from tuneladder.task.read import columns_of, read_rows
from tuneladder.types import Judgement

NEEDED = ("item", "labeler", "value")
MORE = ("rubric", "at", "gold", "why")


@dataclass(frozen=True)
class JudgementFile:
    """`gold` are by rubric the right values of the items that have one; `empty` counts rows without a value; `unread` are the
    columns that mean nothing here; `tool` is what wrote the file, "" where it is plain, and `unnamed` are the labelers whom it does
    not name, each of whom has one record."""

    judgements: tuple[Judgement, ...]
    gold: Mapping[str, Mapping[str, Any]]
    empty: int = 0
    unread: tuple[str, ...] = ()
    tool: str = ""
    unnamed: frozenset[str] = frozenset()


def read_judgements(location: str, *, columns: Mapping[str, str] | None = None) -> JudgementFile:
    """The judgements of a file with the columns item, labeler and value, and where there are any rubric, at, gold and why;
    `columns` says what the file calls them. Rankings are lists (rankings.py), also written out as JSON.

    Raises BadInput for a column that is not there, a row without item, labeler or rubric, and two right values of one item.
    """
    rows = read_rows(location)
    tool, rows, unnamed = foreign_rows(rows)
    has = columns_of(rows)
    called = _called(has, columns or {}, location)
    cells = [{name: row.get(column) for name, column in called.items()} for row in rows]
    scores = _scores(cells)
    judgements: list[Judgement] = []
    gold: dict[str, dict[str, Any]] = {}
    for number, own in enumerate(cells, start=1):
        where = f"{location}, row {number}"
        item, labeler = (_filled(own[name], f"{where}: {called[name]}") for name in ("item", "labeler"))
        rubric = _filled(own["rubric"], f"{where}: {called['rubric']}") if "rubric" in called else ""
        if (right := _value(own.get("gold"), rubric in scores)) is not None:
            known = gold.setdefault(rubric, {}).setdefault(item, right)
            if rubric in scores and not is_number(right):
                raise BadInput(
                    f"{where}: {called['gold']} is {text_of(right)[:40]!r}, and what was said are numbers", "so is what is right"
                )
            if known != right:
                said = f"{where}: item {item} is {text_of(right)} by {called['gold']}, and was {text_of(known)}"
                raise BadInput(said, "an item has one right value")
        at = text_of(own.get("at")).strip()
        seconds_of(at)
        if (value := _value(own["value"], rubric in scores)) is not None:
            judgements.append(Judgement(item, labeler, rubric, value, at, text_of(own.get("why")).strip()))
    if not judgements:
        raise BadInput(f"{location} holds no judgement: {called['value']} is empty in all {len(rows):,} rows", "what was said?")
    unread = tuple(name for name in has if name not in called.values())
    return JudgementFile(tuple(judgements), gold, len(rows) - len(judgements), unread, tool, unnamed)


def one_criterion(judgements: Sequence[Judgement], criterion: str = "", leave_out: Sequence[str] = ()) -> list[Judgement]:
    """Those under a criterion, whatever its version, without those of the labelers left out. Raises BadInput where several have
    judgements and none is named, for names that are not there, and where nothing is left."""
    names = sorted({unstamped(each.rubric)[0] for each in judgements})
    if criterion and criterion not in names:
        raise unknown("criterion", criterion, names)
    if not criterion and len(names) > 1:
        raise BadInput(f"the judgements are under {len(names)} criteria: {', '.join(names)[:200]}", "name one of them")
    people = {each.labeler for each in judgements}
    if stranger := next((name for name in leave_out if name not in people), None):
        raise unknown("labeler", stranger, people)
    named = criterion or names[0]
    kept = [each for each in judgements if unstamped(each.rubric)[0] == named and each.labeler not in leave_out]
    if not kept:
        raise BadInput("all judgements are by labelers who are left out", "leave out fewer")
    return kept


def last_versions(judgements: Sequence[Judgement]) -> list[Judgement]:
    """Of what a labeler said of an item under several versions of a guideline that under the last: it was judged anew because the
    one before misled."""
    rubric = {(each.item, each.labeler): each.rubric for each in in_time(judgements)}
    return [each for each in judgements if each.rubric == rubric[each.item, each.labeler]]


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
    return float(text) if numbers and _is_number(text) else text


def _scores(cells: Sequence[Mapping[str, Any]]) -> set[str]:
    """The rubrics under which all that was said is numbers, of a CSV too, whose cells are text."""
    words: dict[str, bool] = {}
    for own in cells:
        value, rubric = own["value"], text_of(own.get("rubric")).strip()
        if is_ranking(value) or text_of(value).strip():
            words[rubric] = words.get(rubric, False) or not _is_number(value)
    return {rubric for rubric, some in words.items() if not some}


def _is_number(cell: Any) -> bool:
    if is_number(cell):
        return math.isfinite(cell)
    try:
        return isinstance(cell, str) and math.isfinite(float(cell))
    except ValueError:
        return False
