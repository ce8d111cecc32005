"""A suite's questions and shots, read from the hub or from files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tuneladder.errors import BadInput
from tuneladder.evaluate.suite import Source, Suite
from tuneladder.task.read import Row, check_file, read_rows
from tuneladder.types import Example


@dataclass(frozen=True)
class Questions:
    """What a suite asks of a variant, and the shots before it, by subject. `data` says where the rows come from."""

    suite: Suite
    examples: tuple[Example, ...]
    leads: Mapping[str, str]
    shots: Mapping[str, tuple[Example, ...]]
    count: int
    data: str
    notes: tuple[str, ...]


def questions_of(suite: Suite, *, data: str = "", shown: str = "", rows: int = 0, shots: int | None = None) -> Questions:
    """The questions of a suite, of its own source or of the file `data`: the first `rows` of each subject, each after `shots` of
    its own subject, which come from the suite's source of shots or from the file `shown`.

    Raises BadInput for rows that make no question, that have no gold answer, or an id twice, and for shots that are not there.
    """
    count = suite.shots if shots is None else shots
    _check_shots(suite, count, data, shown)
    examples = _numbered(suite, _rows(suite.source, data), data or str(suite.source))
    if rows:
        examples = _first(examples, rows)
    subjects = list(dict.fromkeys(example.set for example in examples))
    leads = {subject: suite.lead(subject) for subject in subjects}
    given: dict[str, tuple[Example, ...]] = dict.fromkeys(subjects, ())
    if count:
        assert suite.shown
        own, pool = _pool(suite, _rows(suite.shown, shown), shown or str(suite.shown))
        leads |= {subject: lead for subject, lead in own.items() if subject in leads}
        given = {subject: _shots(suite, subject, pool, count) for subject in subjects}
    return Questions(suite, examples, leads, given, count, data or str(suite.source), tuple(_notes(suite, examples, given)))


def _check_shots(suite: Suite, count: int, data: str, shown: str) -> None:
    if count and suite.shown is None:
        raise BadInput(f"{suite.name} shows no shots, and {count} are asked for", "--shots 0, or leave it out")
    if count and data and not shown:
        raise BadInput(
            f"{suite.name} shows {count} shots, and {data} holds only what is asked",
            "--shots-data FILE says where they are, or --shots 0",
        )
    if shown and not count:
        raise BadInput(f"{suite.name} shows no shots, and --shots-data is {shown}", "--shots N says how many to show")


def _rows(source: Source, file: str) -> list[Row]:
    if file:
        check_file(file)
        return read_rows(file)
    rows: list[Row] = []
    for subset in source.subsets:
        own = read_rows(source.hub, subset=subset, split=source.split)
        rows += [{**row, source.column: subset} for row in own] if source.column else own
    return rows


def _numbered(suite: Suite, rows: Sequence[Row], place: str) -> tuple[Example, ...]:
    """Each row as an example, with the row's own id or its number from 1."""
    ids = [str(row["id"]) if row.get("id") is not None else str(number) for number, row in enumerate(rows, 1)]
    if twice := [id for id, times in Counter(ids).items() if times > 1]:
        raise BadInput(
            f"{place} has the id {twice[0]!r} more than once ({len(twice):,} such ids)", "answers are told apart by their ids"
        )
    return tuple(replace(_example(suite, row, id, place), id=id) for id, row in zip(ids, rows, strict=True))


def _example(suite: Suite, row: Row, id: str, place: str) -> Example:
    try:
        return suite.example(row)
    except BadInput as error:
        raise BadInput(f"row {id} of {place} is no question of {suite.name}: {error.message}", error.hint) from error
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:  # a cell that is not of the kind it should be
        said = f"row {id} of {place} is no question of {suite.name}: {type(error).__name__}: {error}"
        raise BadInput(said, f"its columns: {', '.join(row)}") from error


def _first(examples: Sequence[Example], rows: int) -> tuple[Example, ...]:
    seen: Counter[str] = Counter()
    kept = []
    for example in examples:
        if seen[example.set] < rows:
            kept.append(example)
        seen[example.set] += 1
    return tuple(kept)


def _pool(suite: Suite, rows: Sequence[Row], place: str) -> tuple[Mapping[str, str], list[Example]]:
    """What stands before all where the prompts say so, and all that may be shown."""
    if suite.worked is None:
        return {}, [_example(suite, row, str(number), place) for number, row in enumerate(rows, 1)]
    try:
        return suite.worked(rows)
    except BadInput as error:
        raise BadInput(f"{place} holds no prompts of {suite.name}: {error.message}", error.hint) from error


def _shots(suite: Suite, subject: str, pool: Sequence[Example], count: int) -> tuple[Example, ...]:
    """The first of the subject's own, so that all its prompts begin alike."""
    own = [example for example in pool if example.set == subject]
    if len(own) < count:
        of = f" of {subject}" if subject else ""
        raise BadInput(f"{count} shots asked for, and {suite.name} has {len(own)}{of} to show", f"--shots {len(own)}")
    return tuple(own[:count])


def _notes(suite: Suite, examples: Sequence[Example], shots: Mapping[str, Sequence[Example]]) -> list[str]:
    notes = []
    right = {reference for example in examples for reference in example.references}
    if absent := [label for label in suite.labels if label not in right]:
        notes.append(f"no row's right answer is {' or '.join(map(repr, absent))}: what counts classes says little")
    seen = {(shot.set, shot.turns, shot.options) for own in shots.values() for shot in own}
    if shown := sum((example.set, example.turns, example.options) in seen for example in examples):
        notes.append(f"{shown:,} of the rows are shown as shots, their answers with them")
    return notes
