"""What the database holds of a labelling: who is asked what, in which order, under which versions of the rubric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from sqlalchemy import Connection, insert, select, text, update

from tuneladder.errors import BadInput
from tuneladder.feedback.assignment import Ask, Why, anew, seen
from tuneladder.feedback.rubric import Rubric, keep, rubric_of
from tuneladder.studio import tables
from tuneladder.studio.clock import now
from tuneladder.studio.database import Database
from tuneladder.studio.labelling import Labelling, items_of
from tuneladder.studio.locks import hashed, token


@dataclass(frozen=True)
class Person:
    """A labeler. `made` counts their links, `told` the calibration rounds whose result they have seen."""

    id: int
    name: str
    token: str
    made: int
    told: int


@dataclass(frozen=True)
class Asked:
    """An ask of a labeler, as the database has it."""

    id: int
    labeler: int
    round: int
    place: int
    item: str
    why: Why
    done: bool


@dataclass(frozen=True)
class Records:
    """`rubrics` by version: all that judgements were made under."""

    database: Database
    labelling: Labelling
    secret: bytes
    rubrics: Mapping[str, Rubric]


def open_records(
    database: Database, labelling: Labelling, secret: bytes, folder: Path, *, new_links: bool = False, begun: bool = False
) -> Records:
    """The records of a labelling, made where there are none, unless it must have `begun`. Raises BadInput where the database holds
    another labelling, or its links were made with another secret."""
    written = keep(labelling.rubric, folder / "rubrics").read_text("utf-8")
    with database.write() as connection:
        if connection.dialect.name == "postgresql":  # two servers may start at once
            connection.execute(text("SELECT pg_advisory_xact_lock(8250)"))
        held = {row.name: row.value for row in connection.execute(select(tables.facts))}
        if not held and begun:
            raise BadInput("the database holds no labelling yet", "`tuneladder studio label` begins it; it names `labelers`")
        if not held:
            _begin(connection, labelling, secret)
        elif held["content"] != labelling.content:
            hint = "hand in what it was begun with, or name another folder with --out; the rubric alone may change"
            hint += ", and `tuneladder studio add` adds a labeler"
            raise BadInput("the database holds a labelling of other items, labelers, shares or another seed", hint)
        elif held["secret"] != hashed(secret.hex()):
            if not new_links:
                hint = f"copy {folder / 'secret'} from where it was begun, or make new links with --new-links"
                raise BadInput("the links of this labelling were made with another secret", hint)
            connection.execute(update(tables.facts).where(tables.facts.c.name == "secret").values(value=hashed(secret.hex())))
        if held and new_links:
            for person in everybody(connection):
                _renew(connection, secret, person)
        known = {row.version: row.yaml for row in connection.execute(select(tables.rubrics))}
        if labelling.rubric.version not in known:
            connection.execute(insert(tables.rubrics).values(version=labelling.rubric.version, yaml=written, at=now()))
    earlier = {version: rubric_of(yaml.safe_load(content)) for version, content in known.items()}
    return Records(database, labelling, secret, {**earlier, labelling.rubric.version: labelling.rubric})


def people(records: Records) -> list[Person]:
    with records.database.read() as connection:
        return everybody(connection)


def person_with(records: Records, link: str) -> Person | None:
    """Whose link it is."""
    with records.database.read() as connection:
        row = connection.execute(select(tables.labelers).where(tables.labelers.c.token == hashed(link))).one_or_none()
    return Person(**row._mapping) if row else None


def person_of(records: Records, id: int, token: str) -> Person | None:
    """A labeler by number, if the hash of their link is still that one."""
    with records.database.read() as connection:
        row = connection.execute(select(tables.labelers).where(tables.labelers.c.id == id)).one_or_none()
    return Person(**row._mapping) if row and row.token == token else None


def link_of(records: Records, person: Person) -> str:
    return token(records.secret, person.name, person.made)


def renew(records: Records, id: int) -> bool:
    """Give a labeler a new link; the old one and all sessions that it opened are closed."""
    with records.database.write() as connection:
        found = next((each for each in everybody(connection) if each.id == id), None)
        if found:
            _renew(connection, records.secret, found)
    return found is not None


def tell(records: Records, person: Person, round: int) -> None:
    """The labeler has seen the result of a round: it is closed."""
    with records.database.write() as connection:
        table = tables.labelers
        connection.execute(update(table).where(table.c.id == person.id, table.c.told < round).values(told=round))


def again(records: Records, person: Person, round: int) -> None:
    """The calibration once more, as `round`, of items that were not asked yet as far as there are; a second call for the same round
    does nothing."""
    labelling = records.labelling
    with records.database.write() as connection:
        table = tables.asks
        asked = select(table.c.round, table.c.item).where(table.c.labeler == person.id, table.c.round > 0)
        before = connection.execute(asked.order_by(table.c.round, table.c.place)).all()
        if all(row.round != round for row in before):
            many, seed = sum(row.round == 1 for row in before), f"{labelling.seed}/{person.name}/{round}"
            items = anew(items_of(labelling.calibration), [row.item for row in before], many, seed=seed)
            ask(connection, person.id, [Ask(item, "calibration") for item in items], round)


def sequence(records: Records, person: Person) -> list[Asked]:
    """All asks in their order: the rounds of the calibration, then the work."""
    with records.database.read() as connection:
        rows = connection.execute(select(tables.asks).where(tables.asks.c.labeler == person.id))
        found = [Asked(**row._mapping) for row in rows]
    return sorted(found, key=lambda each: (each.round == 0, each.round, each.place))


def letters_of(records: Records, person: Person, ask: Asked) -> Mapping[str, str]:
    """The answers' names by the letters over them; of a hidden repeat in another order, or the eye would remember."""
    item = f"{ask.item}, again" if ask.why == "repeat" else ask.item
    return seen(list(records.labelling.items[ask.item].answers), item=item, labeler=person.name, seed=records.labelling.seed)


def _begin(connection: Connection, labelling: Labelling, secret: bytes) -> None:
    held = {"content": labelling.content, "secret": hashed(secret.hex())}
    connection.execute(insert(tables.facts), [{"name": name, "value": value} for name, value in held.items()])
    for id, (name, asks) in enumerate(labelling.asks.items(), start=1):
        own = {"id": id, "name": name, "token": hashed(token(secret, name, 1)), "made": 1, "told": 0}
        connection.execute(insert(tables.labelers), [own])
        ask(connection, id, [own for own in asks if own.why == "calibration"], 1)
        ask(connection, id, [own for own in asks if own.why != "calibration"], 0)


def ask(connection: Connection, labeler: int, asks: Sequence[Ask], round: int) -> None:
    """Write down what a labeler is asked, in this order."""
    rows = [
        {"labeler": labeler, "round": round, "place": place, "item": own.item, "why": own.why, "done": False}
        for place, own in enumerate(asks)
    ]
    if rows:
        connection.execute(insert(tables.asks), rows)


def everybody(connection: Connection) -> list[Person]:
    """The labelers, in the order in which they came."""
    return [Person(**row._mapping) for row in connection.execute(select(tables.labelers).order_by(tables.labelers.c.id))]


def _renew(connection: Connection, secret: bytes, person: Person) -> None:
    table, made = tables.labelers, person.made + 1
    new = {"made": made, "token": hashed(token(secret, person.name, made))}
    connection.execute(update(table).where(table.c.id == person.id).values(**new))
