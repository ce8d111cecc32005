"""What Argilla and Label Studio export, as rows of judgements: item, labeler, value, rubric (the question), at.

Argilla's records have `fields` and `responses`, which is {question: [{value, user_id}]}, or of its first edition
[{user_id, values: {question: {value}}, status}]; flat, they have a column `question.responses` and its `.users` and `.status`.
Label Studio's tasks have `data` and `annotations`, whose `result` has a region for each question. Drafts, discarded responses and
skipped tasks are no judgements. Several labels of one answer are one value, their names in order joined by +. Whom an export
does not name is somebody of their own in each record: two whom nobody names are not one who judged twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tuneladder.errors import BadInput
from tuneladder.task.formats import text_of
from tuneladder.task.read import Row

UNNAMED = "unnamed"  # whoever the export does not tell, with the record's number and their own place in it
_FLAT = ".responses"
# what a region of each type holds its answer under, in Label Studio
_ANSWERS = {"choices": "choices", "rating": "rating", "number": "number", "pairwise": "selected", "ranker": "ranker"}


def foreign_rows(rows: Sequence[Row]) -> tuple[str, list[Row], frozenset[str]]:
    """What tool the rows come from, "" where they are plain, the judgements in them, and which labelers are called so because the
    export names nobody. Raises BadInput where there are none."""
    first = rows[0]
    if isinstance(first.get("annotations"), list) and "data" in first:
        tool, found = "Label Studio", [row for number, task in enumerate(rows, start=1) for row in _label_studio(task, number)]
    elif "responses" in first and ("fields" in first or isinstance(first["responses"], list | Mapping)):
        tool, found = "Argilla", [row for number, record in enumerate(rows, start=1) for row in _argilla(record, number)]
    elif any(name.endswith(_FLAT) for name in first):
        tool, found = "Argilla", [row for number, record in enumerate(rows, start=1) for row in _flat(record, number)]
    else:
        return "", list(rows), frozenset()
    found = [row for row in found if row["value"] not in (None, "", [])]
    unnamed = frozenset(row["labeler"] for row in found if row[UNNAMED])
    if not found:
        raise BadInput(f"nobody judged anything in this export from {tool}", "export submitted annotations, not only the tasks")
    return tool, [{name: cell for name, cell in row.items() if name != UNNAMED} for row in found], unnamed


def _argilla(record: Row, number: int) -> Iterator[Row]:
    item = _item(number, record.get("id"), record.get("external_id"))
    responses = record.get("responses") or {}
    if isinstance(responses, Mapping):
        said = [
            (question, place, answer, answer.get("value"))
            for question, own in responses.items()
            for place, answer in enumerate(_objects(own), start=1)
        ]
    else:
        said = [
            (question, place, answer, held.get("value") if isinstance(held, Mapping) else held)
            for place, answer in enumerate(_objects(responses), start=1)
            for question, held in (answer.get("values") or {}).items()
        ]
    for question, place, answer, value in said:
        if answer.get("status", "submitted") == "submitted":
            who, at = _who(answer.get("user_id"), number, place), text_of(answer.get("inserted_at") or "")
            yield {"item": item, **who, "value": _plain(value), "rubric": question, "at": at}


def _flat(record: Row, number: int) -> Iterator[Row]:
    item = _item(number, record.get("id"))
    for column, values in record.items():
        if not column.endswith(_FLAT) or not isinstance(values, list):
            continue
        users, states = (record.get(f"{column}.{more}") or [None] * len(values) for more in ("users", "status"))
        for place, (value, user, state) in enumerate(zip(values, users, states, strict=False), start=1):
            if state in (None, "submitted"):
                who, question = _who(user, number, place), column.removesuffix(_FLAT)
                yield {"item": item, **who, "value": _plain(value), "rubric": question, "at": ""}


def _plain(value: Any) -> Any:
    """Argilla's rankings are [{value, rank}]: places in order, those of one rank tied. A list of words are labels together."""
    if not isinstance(value, list):
        return value
    ranked = [each for each in _objects(value) if each.get("rank") is not None]
    if ranked:
        ranks = sorted({each["rank"] for each in ranked})
        return [[text_of(each["value"]) for each in ranked if each["rank"] == rank] for rank in ranks]
    return _together(value)


def _label_studio(task: Row, number: int) -> Iterator[Row]:
    item = _item(number, task.get("id"))
    for place, annotation in enumerate(_objects(task.get("annotations")), start=1):
        if annotation.get("was_cancelled"):
            continue
        by = annotation.get("completed_by")
        who = _who(by.get("email") or by.get("id") if isinstance(by, Mapping) else by, number, place)
        at = text_of(annotation.get("created_at") or "")
        for region in _objects(annotation.get("result")):
            if key := _ANSWERS.get(str(region.get("type"))):
                value = (region.get("value") or {}).get(key)
                if key == "choices" and isinstance(value, list):
                    value = _together(value)
                if key == "ranker" and isinstance(value, Mapping):
                    value = next(iter(value.values()), None)
                yield {"item": item, **who, "value": value, "rubric": text_of(region.get("from_name") or key), "at": at}


def _objects(cell: Any) -> Iterator[Mapping[str, Any]]:
    return (each for each in (cell if isinstance(cell, list) else [cell]) if isinstance(each, Mapping))


def _together(labels: Sequence[Any]) -> str:
    return " + ".join(sorted(map(text_of, labels)))


def _item(number: int, *ids: Any) -> str:
    """The first id that there is, which may be 0, or the record's number."""
    return next((text for each in ids if (text := text_of(each))), str(number))


def _who(user: Any, number: int, place: int) -> Row:
    """A labeler, and whether the export names them."""
    named = text_of(user)
    return {"labeler": named or f"{UNNAMED} {number}.{place}", UNNAMED: not named}
