"""Writing judgements, once however often they are sent, and taking them back without losing what was said."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from tuneladder.errors import BadInput
from tuneladder.feedback.rubric import Rubric, as_asked, stamp
from tuneladder.studio import tables
from tuneladder.studio.clock import now
from tuneladder.studio.known import subjects
from tuneladder.studio.questions import Question
from tuneladder.studio.records import Asked, Person, Records
from tuneladder.types import Judgement

Subject = tuple[str, str]  # a criterion, and what a judgement under it calls its item


@dataclass(frozen=True)
class Given:
    """What a labeler says now. `rubric` is the version it was said under."""

    value: Any
    why: str
    rubric: str
    at: str


@dataclass(frozen=True)
class Said:
    """A judgement of an ask, as it is measured and exported."""

    ask: Asked
    judgement: Judgement


def write(
    records: Records, person: Person, ask: Asked, question: Question, value: Any, *, key: str, rubric: str, why: str = ""
) -> None:
    """Keep a judgement. One whose key is there already is the same one, sent again, and changes nothing."""
    row = {
        "criterion": question.criterion.name,
        "subject": question.subject,
        "value": json.dumps(value, ensure_ascii=False),
        "why": why,
        "rubric": rubric,
        "at": now(),
        "undoes": None,
    }
    with _alone(records, person) as connection:
        if _ask_of(connection, person, key) is None:
            _add(connection, records, person, ask, key, row)


def undo(records: Records, person: Person, asks: Mapping[int, Asked], *, key: str) -> int | None:
    """Take back what the labeler said last in one of `asks`, so that what they said before holds again, as they said it then: the
    ask's number, or None where there is nothing. Sent again, it is the same undo."""
    with _alone(records, person) as connection:
        done = _ask_of(connection, person, key)
        if done is not None:
            return done
        table = tables.judgements
        rows = connection.execute(select(table).where(table.c.labeler == person.id).order_by(table.c.id))
        last, before = _last(row for row in rows if row.ask in asks)
        if last is None:
            return None
        held: dict[str, Any] = {"value": None, "why": last.why, "rubric": last.rubric, "at": now()}
        if before is not None:
            held = {name: getattr(before, name) for name in held}
        row = {"criterion": last.criterion, "subject": last.subject, **held, "undoes": last.id}
        _add(connection, records, person, asks[last.ask], key, row)
        return int(last.ask)


def is_kept(records: Records, person: Person, key: str) -> bool:
    """Whether a judgement that is sent is there already."""
    with records.database.read() as connection:
        return _ask_of(connection, person, key) is not None


def given(records: Records, ask: Asked) -> dict[Subject, Given]:
    """What holds of an ask now."""
    with records.database.read() as connection:
        return _given(connection, ask.id)


def said(records: Records, whys: Sequence[str], person: Person | None = None, round: int | None = None) -> list[Said]:
    """All judgements that hold, of asks of these kinds, in the order in which they were given."""
    asks, table = tables.asks, tables.judgements
    query = (
        select(table, *(column.label(f"ask_{column.name}") for column in asks.c), tables.labelers.c.name)
        .join(asks, asks.c.id == table.c.ask)
        .join(tables.labelers, tables.labelers.c.id == table.c.labeler)
        .where(asks.c.why.in_(whys))
        .order_by(table.c.id)
    )
    query = query if person is None else query.where(table.c.labeler == person.id)
    query = query if round is None else query.where(asks.c.round == round)
    holding: dict[tuple[int, str, str], Said] = {}
    with records.database.read() as connection:
        for row in connection.execute(query):
            place = (row.ask, row.criterion, row.subject)
            holding.pop(place, None)
            if row.value is not None:
                ask = Asked(**{column.name: getattr(row, f"ask_{column.name}") for column in asks.c})
                rubric = records.rubrics[row.rubric]
                stamped = stamp(rubric, row.criterion)
                spoken = Judgement(row.subject, row.name, stamped, json.loads(row.value), row.at, row.why)
                holding[place] = Said(ask, as_asked(rubric, spoken))
    return list(holding.values())


def complete(rubric: Rubric, records: Records, ask: Asked, held: Mapping[Subject, Given]) -> bool:
    """Whether all that the rubric asks of an item is said, with a reason where one is wanted."""
    item = records.labelling.items[ask.item]
    wanted = [(criterion.name, subject) for criterion in rubric.criteria for subject in subjects(criterion, item)]
    return all(each in held and (held[each].why or each[0] not in records.labelling.reasons) for each in wanted)


@contextmanager
def _alone(records: Records, person: Person) -> Iterator[Connection]:
    """To write while nobody else writes as the same labeler: two pages of one, or two servers, would each take back what the other
    already has."""
    with records.database.write() as connection:
        connection.execute(select(tables.labelers.c.id).where(tables.labelers.c.id == person.id).with_for_update())
        yield connection


def _add(connection: Connection, records: Records, person: Person, ask: Asked, key: str, row: Mapping[str, Any]) -> None:
    """The row, and whether its ask is done with it."""
    # held until all is written, so that nobody who comes later is handed what is begun just now
    connection.execute(select(tables.asks.c.id).where(tables.asks.c.id == ask.id).with_for_update())
    connection.execute(insert(tables.judgements).values(**row, key=key, ask=ask.id, labeler=person.id))
    done = complete(records.rubrics[row["rubric"]], records, ask, _given(connection, ask.id))
    connection.execute(update(tables.asks).where(tables.asks.c.id == ask.id).values(done=done))


def _ask_of(connection: Connection, person: Person, key: str) -> int | None:
    """The ask of the labeler's judgement that has this key, None where there is none."""
    table = tables.judgements
    found = connection.execute(select(table.c.labeler, table.c.ask).where(table.c.key == key)).one_or_none()
    if found is not None and found.labeler != person.id:
        raise BadInput("another labeler's judgement has this key", "load the page again")
    return None if found is None else int(found.ask)


def _given(connection: Connection, ask: int) -> dict[Subject, Given]:
    table = tables.judgements
    found: dict[Subject, Given] = {}
    for row in connection.execute(select(table).where(table.c.ask == ask).order_by(table.c.id)):
        if row.value is None:
            found.pop((row.criterion, row.subject), None)
        else:
            found[row.criterion, row.subject] = Given(json.loads(row.value), row.why, row.rubric, row.at)
    return found


def _last(rows: Iterable[Row[Any]]) -> tuple[Row[Any] | None, Row[Any] | None]:
    """The last row that changed what was said and was not undone, and the one that held before it. One that gave the same value
    another reason changed nothing to be undone, and holds in place of what it repeats."""
    stack: dict[tuple[int, str, str], list[Row[Any] | None]] = {}
    order: list[Row[Any]] = []
    for row in rows:
        own = stack.setdefault((row.ask, row.criterion, row.subject), [None])
        held = own[-1]
        if row.undoes is not None:
            if any(each.id == row.undoes for each in order):  # and not undone already
                own.pop()
                order = [each for each in order if each.id != row.undoes]
        elif held is not None and row.value == held.value:
            own[-1] = row
        else:
            own.append(row)
            order.append(row)
    if not order:
        return None, None
    last = order[-1]
    return last, stack[last.ask, last.criterion, last.subject][-2]
