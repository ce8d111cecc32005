"""A task of comparisons: rows that say which of two answers people preferred.

A row has `chosen` and `rejected`, with a prompt or a conversation before them or with all of it inside both, as lists of messages
or as a transcript of `Human:` and `Assistant:`. Columns `weight`, `margin`, `score_chosen` and `score_rejected` are read where they
are there. Or a row has one answer, and says of it whether it was wanted (`label`), or what people scored it on average (`score`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tuneladder.errors import BadInput
from tuneladder.task.build import LENGTHS, SPLITS, Findings, check_asked, load_splits, prompt_of
from tuneladder.task.comparing import asked, contests, tied, told_apart
from tuneladder.task.formats import Format, conversation_in, recognise, text_of, to_comparison, to_example
from tuneladder.task.read import Row, columns_of
from tuneladder.task.split import make_splits, share_sources
from tuneladder.types import Comparison, Decoding, Split, Task, Turn, Turns

METRIC = "preference"
KTO, RATED = "kto", "answers with scores"  # what rows of one answer are read as
SCORES = ("score_chosen", "score_rejected")
_SAID = re.compile(r"\n\n(Human|Assistant):[ \t]?")
_ROLES = {"Human": "user", "Assistant": "assistant"}


def build_preferences(
    *,
    name: str,
    data: str | Mapping[str, str],
    instruction: str | None = None,
    system: str = "",
    template: str | None = None,
    rows: Mapping[str, int] | None = None,
    decoding: Decoding | None = None,
    seed: int = 0,
) -> tuple[Task, Findings]:
    """The task and what was found in its data; splits are drawn as those of any task (`build.build`). Its examples are the prompts
    with the answers that were chosen or wanted, so that what learns from examples can go before what learns from comparisons.
    Raises BadInput for data that compare nothing."""
    check_asked("prefer", rows, template, None)
    found, places = load_splits(data)
    comparisons: dict[str, list[Comparison]] = {}
    names: dict[str, None] = {}
    empty = same = 0
    for part, part_rows in found.items():
        before = f"{part}:" if len(found) > 1 else ""
        format = format_of(columns_of(part_rows), part_rows, places[part])
        names[format.name] = None
        made = [_comparison(format, row, f"{before}{number}") for number, row in enumerate(part_rows, 1)]
        there = [own for own in made if own is not None]
        differ = [own for own in there if own.chosen != own.rejected]
        empty, same = empty + len(made) - len(there), same + len(there) - len(differ)
        _refuse_alike(format, there, differ, places[part], len(made))
        comparisons[part] = differ
    of = {own.id: own for part in comparisons.values() for own in part}
    try:
        split, leaks, done = make_splits(
            share_sources({part: [asked(own) for own in part_rows] for part, part_rows in comparisons.items()}),
            rows=rows or {},
            seed=seed,
            stratum=lambda example: _sort(of[example.id]),
        )
    except BadInput as error:
        if not same:
            raise
        raise BadInput(error.message, f"{same:,} pairs were dropped, for chosen equals rejected; {error.hint}") from error
    notes = [f"read as {' and '.join(names)}: {_counted(list(of.values()))}"]
    swapped = sum(bool(own.chosen and own.rejected and own.scores and own.scores[0] < own.scores[1]) for own in of.values())
    if swapped:
        notes.append(
            f"in {swapped:,} of {len(of):,} pairs the chosen answer has the lower score: are the columns the right way round?"
        )
    if level := sum(tied(own) for own in of.values()):
        notes.append(f"{level:,} pairs have the same score twice: they do not say which answer is better, and only teach scores")
    if same:
        notes.append(f"{same:,} pairs were dropped: chosen equals rejected")
    if empty:
        notes.append(f"{empty:,} rows were dropped: nothing to read, or a side is empty, or they differ before their last answer")
    compared = Split(*(tuple(replace(of[own.id], source=own.source) for own in getattr(split, part)) for part in SPLITS))
    for part in ("test", "dev"):
        if not contests(own := getattr(compared, part)):
            said = f"the {len(own):,} {part} rows hold no two answers of which one is better"
            raise BadInput(said, f"more rows, or rows: {{{part}: ...}}: answers of both sorts in each")

    task = Task(
        name=name,
        kind="prefer",
        examples=Split(*(tuple(own for own in getattr(split, part) if _shows(of[own.id])) for part in SPLITS)),
        comparisons=compared,
        prompt=prompt_of("prefer", (), instruction, system, template, decoding or Decoding(LENGTHS["prefer"], seed=seed), seed),
        metric=METRIC,
    )
    counts = {part: len(getattr(task.comparisons, part)) for part in SPLITS}
    return task, Findings(next(iter(names)), counts, tuple(leaks), 0, 0, empty, (*notes, *done))


def format_of(columns: Sequence[str], rows: Sequence[Row], place: str) -> Format:
    """How rows say what people preferred. Raises BadInput for rows that do not."""
    own = recognise(columns, rows)
    if own is not None and own.name in ("preference", KTO):
        return own
    there = {column.casefold(): column for column in columns}
    alone = own is not None and own.name in ("prompt/completion", "messages", "sharegpt")
    if own and alone and "score" in there:
        return replace(own, name=RATED)
    if {"chosen", "rejected"} <= {column.casefold() for column in columns}:
        return Format("preference", "chat")
    if alone and "label" in there:
        said = (text_of(row.get(there["label"])) for row in rows)
        odd = next((label for label in said if label.casefold() not in ("true", "false")), "")
        raise BadInput(f"{place} holds no comparisons: a label is {odd[:80]!r}", "true or false: whether people wanted the answer")
    raise BadInput(
        f"{place} holds no comparisons",
        f"columns `chosen` and `rejected`, or one answer with a `label` or a `score`; it has: {', '.join(columns)[:300]}",
    )


def _comparison(format: Format, row: Row, id: str) -> Comparison | None:
    """The row as a comparison; None where it compares nothing."""
    cells = {column.casefold(): value for column, value in row.items()}
    weight, margin = _number(cells, "weight", id, 1.0), _number(cells, "margin", id, 0.0)
    if weight <= 0:
        raise BadInput(f"row {id}: weight is {weight:g}", "above 0; leave the row out if it says nothing")
    if format.name in (KTO, RATED):
        return _alone(format, row, id, weight, _number(cells, "score", id, math.nan))
    if format.input or format.turns:
        found = to_comparison(format, row, id)
    else:
        found = _parted(_talk(cells["chosen"], id), _talk(cells["rejected"], id), id)
    if found is None or not any(turn.text.strip() for turn in found.turns if turn.role != "system"):
        return None
    return Comparison(id, found.turns, found.chosen, found.rejected, weight, margin, id, _scores(cells, id))


def _alone(format: Format, row: Row, id: str, weight: float, score: float) -> Comparison | None:
    """One answer: chosen where it was wanted or scored. None where nothing is said of it."""
    found = to_example(format, row, id)
    if found is None:
        return None
    answer = found.references[0]
    if format.name == RATED:
        return None if math.isnan(score) else Comparison(id, found.turns, answer, "", weight, 0.0, id, (score, 0.0))
    return Comparison(id, found.turns, *((answer, "") if found.meta["label"] else ("", answer)), weight, source=id)


def _refuse_alike(format: Format, there: Sequence[Comparison], differ: Sequence[Comparison], place: str, count: int) -> None:
    """Raises BadInput for rows that tell nothing apart."""
    if there and not differ:
        hint = "a pair teaches by what is better in one of its answers: leave out ties"
        raise BadInput(f"every pair of {place} is a tie: chosen equals rejected in all {len(there):,}", hint)
    if not differ:
        hint = "a prompt, an answer, and a number in `score`" if format.name == RATED else "a prompt and two answers to it"
        raise BadInput(f"no row of {place} compares answers ({count:,} rows)", hint)
    if format.name == KTO and len({bool(own.chosen) for own in differ}) < 2:
        said = "wanted" if differ[0].chosen else "unwanted"
        raise BadInput(f"every answer of {place} is {said}: nothing is better or worse", "answers of both labels, true and false")
    if format.name == RATED and len({own.scores for own in differ}) < 2:
        score = differ[0].scores[0] if differ[0].scores else 0.0
        raise BadInput(f"every answer of {place} has the score {score:g}: nothing is better or worse", "scores that differ")


def _sort(comparison: Comparison) -> str:
    """Pairs are of one sort; answers that were judged by themselves are wanted or not, and in each split as often."""
    return "unwanted" if not comparison.chosen else ""


def _shows(comparison: Comparison) -> bool:
    """Whether its better answer is one to learn from: of scored answers nobody said so."""
    return bool(comparison.chosen) and bool(comparison.rejected or comparison.scores is None)


def _counted(comparisons: Sequence[Comparison]) -> str:
    """How many there are, in words."""
    pairs = told_apart(comparisons)
    alone = [own for own in comparisons if not (own.chosen and own.rejected)]
    scored = sum(own.scores is not None for own in alone)
    wanted = sum(bool(own.chosen) for own in alone) - scored
    said = [f"{len(pairs):,} comparisons"] if pairs else []
    if wanted or len(alone) > scored:
        said.append(f"{wanted:,} wanted and {len(alone) - scored - wanted:,} unwanted answers")
    return "; ".join([*said, *([f"{scored:,} answers with a score"] if scored else [])])


def _talk(value: Any, id: str) -> Turns:
    """A whole conversation: messages, or a transcript of `Human:` and `Assistant:`."""
    if not isinstance(value, str) or value.lstrip().startswith("["):
        return conversation_in({"messages": value}, "messages", id)
    ahead, *said = _SAID.split(value if value.startswith("\n\n") else f"\n\n{value.lstrip()}")
    if ahead.strip() or not said:
        raise BadInput(
            f"row {id}: nothing says what {value.strip()[:60]!r} answers",
            "a column `prompt`, messages, or a transcript that begins with Human:",
        )
    return tuple(Turn(_ROLES[who], text.strip()) for who, text in zip(said[::2], said[1::2], strict=True))


def is_talk(value: Any) -> bool:
    """Whether a cell holds a whole conversation."""
    try:
        return bool(_talk(value, ""))
    except BadInput:
        return False


def _parted(chosen: Turns, rejected: Turns, id: str) -> Comparison | None:
    """Two conversations that differ in their last answer alone; None where they differ before it, or do not end in one."""
    if chosen[:-1] != rejected[:-1] or not all(own and own[-1].role == "assistant" for own in (chosen, rejected)):
        return None
    better, worse = chosen[-1].text, rejected[-1].text
    return Comparison(id, chosen[:-1], better, worse) if better.strip() and worse.strip() else None


def _scores(cells: Mapping[str, Any], id: str) -> tuple[float, float] | None:
    """What people gave each answer, where the row says so of both."""
    if any(cells.get(column) in (None, "") for column in SCORES):
        return None
    chosen, rejected = (_number(cells, column, id, 0.0) for column in SCORES)
    return chosen, rejected


def _number(cells: Mapping[str, Any], column: str, id: str, default: float) -> float:
    value = cells.get(column)
    if value is None or value == "":
        return default
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise BadInput(f"row {id}: {column} is {value!r}, not a number", f"a finite number, or no column `{column}`")
    return number
