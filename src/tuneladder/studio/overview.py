"""What the owner sees of a labelling: who is how far, how far they agree, and what is in dispute."""

from __future__ import annotations

import csv
import io
import json
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from tuneladder.errors import BadInput
from tuneladder.feedback.agreement import Agreement, agreement
from tuneladder.feedback.changes import Change, changes
from tuneladder.feedback.disputes import Dispute, write_disputes
from tuneladder.feedback.items import Item, as_rankings, ranking_among, rankings_right
from tuneladder.feedback.judgements import MORE, NEEDED
from tuneladder.feedback.labelers import First, Labeler
from tuneladder.feedback.rankings import is_ranking
from tuneladder.feedback.rubric import unstamped
from tuneladder.feedback.under import Under, by_rubric
from tuneladder.studio import tables
from tuneladder.studio.judging import Said, said
from tuneladder.studio.records import Person, Records, letters_of, people
from tuneladder.studio.standing import Mark, Standing, mark_of, standing
from tuneladder.task.formats import text_of
from tuneladder.types import Judgement

WORK = ("judge", "gold", "repeat")  # what counts: of the calibration everybody was told what is right
RISKY = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet takes for a formula
COLUMNS = (*NEEDED, *MORE)


@dataclass(frozen=True)
class Progress:
    """How far a labeler is. `first` is the result of the first round of the calibration where there was another: after it they were
    shown what is right. `figures` are theirs by rubric."""

    person: Person
    standing: Standing
    first: Mark | None
    done: int
    of: int
    last: str
    figures: Mapping[str, Labeler]

    @property
    def findings(self) -> list[str]:
        return [finding.said for each in self.figures.values() for finding in each.findings]


@dataclass(frozen=True)
class Overview:
    """`refused` says by rubric why nothing can be measured yet."""

    people: tuple[Progress, ...]
    judgements: int
    found: tuple[Agreement, ...]
    refused: Mapping[str, str]
    changes: tuple[Change, ...]

    @property
    def disputes(self) -> dict[str, tuple[Dispute, ...]]:
        return {each.rubric: each.disputes for each in self.found}


class Watch:
    """The overview, measured anew when something was said since."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.seen: tuple[Any, ...] = ()
        self.last: Overview | None = None

    def overview(self, records: Records) -> Overview:
        with self.lock:
            with records.database.read() as connection:
                newest = connection.execute(select(func.max(tables.judgements.c.id))).scalar_one()
                people = connection.execute(select(tables.labelers.c.made, tables.labelers.c.told)).all()
                rounds = connection.execute(select(func.count()).select_from(tables.asks)).scalar_one()
            now = (newest, tuple(map(tuple, people)), rounds)
            if self.last is None or now != self.seen:
                self.seen, self.last = now, overview(records)
            return self.last


def overview(records: Records) -> Overview:
    everything, everybody = said(records, WORK), people(records)
    spoken = [each.judgement for each in everything]
    found, under, refused = [], [], {}
    order = [each.name for each in records.labelling.rubric.criteria]
    own_by = _by_rubric(everything)
    for rubric in sorted(own_by, key=lambda each: order.index(name) if (name := unstamped(each)[0]) in order else -1):
        own = [each.judgement for each in own_by[rubric]]
        right = {subject: each.value for subject, each in records.labelling.gold.get(unstamped(rubric)[0], {}).items()}
        firsts: dict[str, First] = {}
        if _asks(records, rubric) in ("choose", "rank"):
            own, right = as_rankings(records.labelling.items, own), rankings_right(records.labelling.items, right)
            firsts = _firsts(records, everybody, own_by[rubric])
        try:
            (each,) = by_rubric(own)
            found.append(agreement(each, right, firsts=firsts, seed=records.labelling.seed))
            under.append(each)
        except BadInput as error:
            refused[rubric] = error.message
    progress = tuple(_progress(records, person, spoken, found) for person in everybody)
    return Overview(progress, len(spoken), tuple(found), refused, _changes(under, records.labelling.seed))


def judgements_csv(records: Records) -> str:
    """The judgements that hold, as `tuneladder agreement` and `pairs` read them; those of the calibration are left out."""
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    for each in (each.judgement for each in said(records, WORK)):
        right = records.labelling.gold.get(unstamped(each.rubric)[0], {}).get(each.item)
        why = f"'{each.why}" if each.why.startswith(RISKY) else each.why
        cells = {"item": each.item, "labeler": each.labeler, "value": _cell(each.value), "rubric": each.rubric, "at": each.at}
        cells |= {"gold": _cell(right.value) if right else "", "why": why}
        writer.writerow([cells[name] for name in COLUMNS])
    return file.getvalue()


def disputes_csv(found: Overview) -> str:
    """The items in dispute, to be settled and handed in as `calibration`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "disputes.csv"
        write_disputes(path, found.disputes)
        return path.read_text("utf-8")


def item_of(records: Records, subject: str) -> tuple[Item, str]:
    """The item that a dispute speaks of, by itself, as `ITEM/ANSWER` or as a pair `ITEM: a over b`; and the answer, "" for all."""
    items = records.labelling.items
    if subject in items:
        return items[subject], ""
    for at in range(len(subject)):
        item = items.get(subject[:at])
        if item and subject[at : at + 2] == ": ":
            return item, ""
        if item and subject[at] == "/" and subject[at + 1 :] in item.answers:
            return item, subject[at + 1 :]
    raise AssertionError(subject)


def _by_rubric(spoken: Sequence[Said]) -> dict[str, list[Said]]:
    found: dict[str, list[Said]] = {}
    for each in spoken:
        found.setdefault(each.judgement.rubric, []).append(each)
    return found


def _asks(records: Records, rubric: str) -> str:
    """What the criterion of that version asks for."""
    name, version = unstamped(rubric)
    return next(each.asks for each in records.rubrics[version].criteria if each.name == name)


def _firsts(records: Records, everybody: Sequence[Person], spoken: Sequence[Said]) -> dict[str, First]:
    """How often each labeler took the answer that stood first before them, of the judgements that have one best."""
    person = {each.id: each for each in everybody}
    taken: dict[str, list[tuple[bool, float]]] = {}
    for each in spoken:
        own, item = person[each.ask.labeler], records.labelling.items[each.ask.item]
        best = ranking_among(item, each.judgement.value, own.name).places[:1]
        if best and len(best[0]) == 1:
            shown = next(iter(letters_of(records, own, each.ask).values()))
            taken.setdefault(own.name, []).append((best[0][0] == shown, 1 / len(item.answers)))
    return {name: First(sum(hit for hit, _ in own), len(own), sum(chance for _, chance in own)) for name, own in taken.items()}


def _progress(records: Records, person: Person, spoken: Sequence[Judgement], found: Sequence[Agreement]) -> Progress:
    stood = standing(records, person)
    work = [ask for ask in stood.asks if not ask.round]
    figures = {each.rubric: own for each in found for own in each.labelers if own.name == person.name}
    last = max((each.at for each in spoken if each.labeler == person.name), default="")
    first = mark_of(records, person, stood.asks, 1) if stood.round > 1 else None
    return Progress(person, stood, first, sum(ask.done for ask in work), len(work), last, figures)


def _changes(under: Sequence[Under], seed: int) -> tuple[Change, ...]:
    try:
        return changes(under, seed=seed)
    except BadInput:
        return ()


def _cell(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if is_ranking(value) else text_of(value)
