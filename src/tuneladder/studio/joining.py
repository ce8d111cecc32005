"""A labeler who comes when others are at work: what they are asked is what nobody has begun."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, delete, insert, select, text

from tuneladder.feedback.assignment import Ask, Work, join
from tuneladder.studio import tables
from tuneladder.studio.labelling import items_of
from tuneladder.studio.locks import hashed, token
from tuneladder.studio.records import Asked, Person, Records, ask, everybody


@dataclass(frozen=True)
class Newcomer:
    """`taken` counts the items that they have of each of the others."""

    person: Person
    taken: Mapping[str, int]


def add_labeler(records: Records, name: str) -> Newcomer:
    """A labeler of that name, with their share of what remains. What is judged, begun or on a screen stays with its labeler, and so
    do all links. Raises BadInput for a name that is taken or empty, and where nothing remains."""
    labelling, name = records.labelling, name.strip()
    with records.database.write() as connection:
        if connection.dialect.name == "postgresql":  # two servers may be asked at once
            connection.execute(text("SELECT pg_advisory_xact_lock(8250)"))
        known = everybody(connection)
        found = join(
            _works(connection, {person.id: person.name for person in known}),
            name,
            seed=labelling.seed,
            calibration=items_of(labelling.calibration),
            warm_up=labelling.warm_up,
            gold=items_of(labelling.gold),
            gold_share=labelling.gold_share,
            repeat_share=labelling.repeat_share,
        )
        for person in known:
            _hand_over(connection, person.id, found.taken.get(person.name, frozenset()))
        made = Person(max(person.id for person in known) + 1, name, hashed(token(records.secret, name, 1)), 1, 0)
        connection.execute(insert(tables.labelers), [vars(made)])
        ask(connection, made.id, [own for own in found.asks if own.why == "calibration"], 1)
        ask(connection, made.id, [own for own in found.asks if own.why != "calibration"], 0)
    return Newcomer(made, {giver: len(items) for giver, items in found.taken.items()})


def _works(connection: Connection, names: Mapping[int, str]) -> dict[str, Work]:
    """The work of each, held until all is written: nobody begins what is handed over meanwhile."""
    table = tables.asks
    rows = connection.execute(select(table).where(table.c.round == 0).order_by(table.c.labeler, table.c.place).with_for_update())
    asks: dict[int, list[Asked]] = {id: [] for id in names}
    for row in rows:
        asks[row.labeler].append(Asked(**row._mapping))
    begun = set(connection.execute(select(tables.judgements.c.ask).distinct()).scalars())
    return {names[id]: _work(own, begun) for id, own in asks.items()}


def _work(asks: list[Asked], begun: set[int]) -> Work:
    waiting = [own for own in asks if not own.done]
    left = [own for own in waiting if own.why == "judge"]
    free = frozenset(own.item for own in left if own.id not in begun and own is not waiting[0])
    return Work(tuple(Ask(own.item, own.why) for own in asks), len(left), free)


def _hand_over(connection: Connection, labeler: int, items: frozenset[str]) -> None:
    table = tables.asks
    if items:
        gone = delete(table).where(table.c.labeler == labeler, table.c.round == 0, table.c.item == bindparam("gone"))
        connection.execute(gone, [{"gone": item} for item in sorted(items)])
