"""The options of a row that is a question with its own answers to choose from (kind `choose`).

They stand in one column, as a list, JSON, texts with | between, `{"text": [...], "label": [...]}` or a list of `{"text", "label"}`;
or in several columns, each an option. The answer is an option's text, its letter, or its place, from 0 or, where no row of the data
has a 0 and some has the number of its options, from 1.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tuneladder.errors import BadInput
from tuneladder.task.formats import Format, check_columns, text_of, value_of
from tuneladder.task.read import Row, columns_of
from tuneladder.types import Example

_LISTS = ("options", "choices", "endings", "candidates")  # what a column of options is called
_STEMS = ("", "option", "opt", "op", "choice", "ending", "answer", "sol", "solution", "candidate", "hypothesis")
_NUMBERED = re.compile(r"([a-z]*?)[ _-]?(\d|[a-j])")


@dataclass(frozen=True)
class Choosing:
    """Where rows keep their options: `columns` are one that lists them, or one for each; `first` is the place of the first."""

    columns: tuple[str, ...]
    first: int = 0


def options_in(columns: Sequence[str], rows: Sequence[Row]) -> tuple[str, ...]:
    """The columns of options by their names: one that lists them, or two or more that count (`ending0`, `ending1`; `A`, `B`); none
    where no names say so."""
    for name in _LISTS:
        for column in columns:
            if column.casefold() == name and any(_listed(row.get(column)) for row in rows[:100]):
                return (column,)
    groups: dict[str, dict[int, str]] = {}
    for column in columns:
        if (match := _NUMBERED.fullmatch(column.casefold())) and match[1] in _STEMS and (match[1] or not match[2].isdigit()):
            groups.setdefault(match[1], {})[_place(match[2])] = column
    for group in groups.values():
        start = min(group)
        run = [group[at] for at in range(start, start + len(group)) if at in group]
        if start <= 1 and len(run) == len(group) >= 2:
            return tuple(run)
    return ()


def choosing(
    found: Mapping[str, list[Row]], formats: Mapping[str, Format], places: Mapping[str, str], given: str | Sequence[str] | None
) -> Choosing | None:
    """Where the rows of all splits keep their options, `given` or known by its name; None where no column does.

    Raises BadInput for columns that are not there, or are what is learned.
    """
    named = (given,) if isinstance(given, str) else tuple(given or ())
    for part, rows in found.items():
        for column in named:
            check_columns(column, rows, places[part])
            if column == formats[part].target:
                raise BadInput(f"the column `{column}` is an option and the target", "the target says which option is right")
    if len(set(named)) < len(named):
        raise BadInput(f"options names a column twice: {', '.join(named)}", "each once")
    columns = named or options_in(columns_of(found["train"]), found["train"])
    if not columns:
        return None
    return Choosing(columns, _first([(row, formats[part]) for part, rows in found.items() for row in rows], columns))


def with_options(example: Example, row: Row, choosing: Choosing) -> Example:
    """The example with its row's options, and its answer as one of them; without any the example comes back as it is.

    Raises BadInput, naming the row, for fewer than two options, an empty one, two that are the same, and an answer that is none.
    """
    if not any(row.get(column) not in (None, "", []) for column in choosing.columns):
        return example
    options, letters = _read(row, choosing.columns, example.id)
    answer = example.references[0]
    place = _place_of(answer, options, letters, choosing.first)
    if place is None:
        raise BadInput(
            f"row {example.id}: the answer {answer[:80]!r} is none of its options",
            f"an option's text, its letter, or its place from {choosing.first}; options: {list(options)}",
        )
    return replace(example, options=options, references=(options[place],))


def answered_by(column: str, rows: Sequence[Row], columns: Sequence[str]) -> bool:
    """Whether this column says, in nearly every row, which of the options in `columns` is right."""
    first = _first([(row, Format("", "choose", target=column)) for row in rows], columns)
    told = 0
    for row in rows:
        try:
            told += _place_of(text_of(row.get(column)), *_read(row, columns, ""), first) is not None
        except BadInput:
            continue
    return told >= max(1, 0.95 * len(rows))


def _first(rows: Sequence[tuple[Row, Format]], columns: Sequence[str]) -> int:
    """1 where answers are numbers that count the options from there, else 0."""
    counted = last = False
    for row, format in rows:
        answer = text_of(value_of(format.target, row, "")).strip() if format.target else ""
        if not answer.isdecimal():
            continue
        try:
            options, letters = _read(row, columns, "")
        except BadInput:
            continue
        if answer in options or answer in letters:
            continue
        if int(answer) == 0:
            return 0
        counted, last = True, last or int(answer) == len(options)
    return int(counted and last)


def _read(row: Row, columns: Sequence[str], id: str) -> tuple[tuple[str, ...], list[str]]:
    """A row's options and their letters."""
    letters: list[str] = []
    if len(columns) == 1:
        value = _listed(row.get(columns[0]))
        if isinstance(value, dict):
            told, value = value.get("label", []), value.get("text")
            if not isinstance(told, list):
                raise BadInput(
                    f"row {id}: the labels of `{columns[0]}` are {told!r}", 'a list, {"label": ["A", "B"], "text": [...]}'
                )
            letters = [text_of(letter).strip() for letter in told]
        elif isinstance(value, list) and value and all(isinstance(each, dict) and "text" in each for each in value):
            letters = [text_of(each["label"]).strip() for each in value if "label" in each]
            value = [each["text"] for each in value]
        if not isinstance(value, list) or len(value) < 2:
            said = f"row {id}: `{columns[0]}` is {text_of(row.get(columns[0]))[:80]!r}"
            raise BadInput(said, 'a list of two or more options, such as ["yes", "no"]')
    else:
        value = [row.get(column) for column in columns]
        while value and not text_of(value[-1]).strip():  # rows may have fewer options than there are columns
            value.pop()
        if len(value) < 2:
            raise BadInput(
                f"row {id} has {len(value)} of the options {', '.join(columns)}", "there is nothing to choose: two or more"
            )
    options = tuple(text_of(option, id).strip() for option in value)
    if "" in options:
        raise BadInput(f"row {id}: option {options.index('') + 1} of {len(options)} is empty", f"options: {list(options)}")
    if twice := next((option for at, option in enumerate(options) if option in options[:at]), None):
        raise BadInput(f"row {id}: two of its options are {twice[:80]!r}", f"options: {list(options)}")
    return options, letters if len(letters) == len(options) else [chr(ord("A") + at) for at in range(len(options))]


def _listed(cell: Any) -> Any:
    """A cell of options as a list or a dict, where it can be read as one."""
    if not isinstance(cell, str):
        return cell if isinstance(cell, dict) else list(cell) if isinstance(cell, list | tuple) else None
    try:
        read = json.loads(cell)
    except (ValueError, RecursionError):
        read = None
    if isinstance(read, list | dict):
        return read
    parts = [part.strip() for part in cell.split("|")]
    return parts if len(parts) > 1 else None


def _place_of(answer: str, options: Sequence[str], letters: Sequence[str], first: int) -> int | None:
    """The place of the option that is meant, from 0."""
    answer = answer.strip()
    if answer in options:
        return options.index(answer)
    bare = answer.strip("().: ")
    for known in (letters, [letter.casefold() for letter in letters]):
        if bare and bare in known:
            return known.index(bare)
    place = int(bare) - first if bare.isdecimal() and bare.isascii() else -1
    return place if 0 <= place < len(options) else None


def _place(mark: str) -> int:
    return int(mark) if mark.isdigit() else ord(mark) - ord("a")
