"""Items whose right answer is known, from a file such as `tuneladder agreement --disputes` and a person write."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tuneladder.errors import BadInput, unknown
from tuneladder.feedback.disputes import read_settled
from tuneladder.feedback.items import Item
from tuneladder.feedback.rankings import FAILED, TIED, is_ranking, ranking_of
from tuneladder.feedback.rubric import Criterion, Rubric
from tuneladder.feedback.table import is_number
from tuneladder.task.formats import text_of


@dataclass(frozen=True)
class Right:
    """What is right of a subject of an item, and why."""

    item: str
    value: Any
    why: str = ""


Known = Mapping[str, Mapping[str, Right]]  # by criterion, by subject: what a judgement calls its item


def subjects(criterion: Criterion, item: Item) -> dict[str, str]:
    """What judgements of an item under a criterion call it, each with the answer that is meant, "" for all: a score or a label is
    of `ITEM/ANSWER`, a choice or a ranking of the item."""
    if criterion.asks in ("score", "label"):
        return {f"{item.id}/{name}": name for name in item.answers}
    return {item.id: ""}


def allowed(criterion: Criterion) -> dict[str, Any]:
    """What may be said of a score or a label, by its text: a number, or the text itself, for YAML has dates too."""
    return {text_of(value): value if is_number(value) else text_of(value) for value in criterion.values or {}}


def read_known(location: str, rubric: Rubric, items: Mapping[str, Item]) -> Known:
    """The rows of rubric, item, right and why by criterion and subject. A settled pair of answers, `ITEM: a over b`, is right as
    a ranking of those two.

    Raises BadInput for items and values that are not there, and for two settled pairs of one item.
    """
    found: dict[str, dict[str, Right]] = {}
    for name, settled in read_settled(location).items():
        criterion = _criterion(rubric, name, location)
        subject_of = {subject: item for item in items.values() for subject in subjects(criterion, item)}
        own = found.setdefault(criterion.name, {})
        for called, worked in settled.items():
            subject, said = (called, worked.value) if called in subject_of else _pair(called, worked.value, subject_of, location)
            if subject in own:
                raise BadInput(f"{location} says twice what is right of {subject}", "write the whole ranking in one row")
            item = subject_of[subject]
            own[subject] = Right(item.id, _value(criterion, item, said, f"{location}, {called}"), worked.why)
    return found


def _criterion(rubric: Rubric, name: str, location: str) -> Criterion:
    if not name and len(rubric.criteria) == 1:
        return rubric.criteria[0]
    if found := next((each for each in rubric.criteria if each.name == name), None):
        return found
    raise unknown(f"criterion in {location}", name, [each.name for each in rubric.criteria])


def _pair(called: str, said: Any, subject_of: Mapping[str, Item], location: str) -> tuple[str, str]:
    """The item of a pair of its answers, and the ranking of the two as JSON."""
    id, _, pair = called.rpartition(": ")
    one, over, other = pair.partition(" over ")
    if not over or id not in subject_of:
        hint = f"items are called {', '.join(list(subject_of)[:3])}; scores and labels are of ITEM/ANSWER"
        raise BadInput(f"{location}: there is no item '{called}'", hint)
    orders: dict[str, list[Any]] = {"yes": [one, other], "no": [other, one], TIED: [[one, other]]}
    if said not in orders:
        raise unknown(f"answer of a pair ({location}, {called})", text_of(said), orders)
    return id, json.dumps(orders[said])


def _value(criterion: Criterion, item: Item, said: Any, where: str) -> Any:
    """What is right, as a judgement would say it; of a choice it may be a ranking of some of the answers."""
    text = text_of(said).strip()
    if criterion.asks in ("score", "label"):
        values = allowed(criterion)
        if text not in values:
            raise unknown(f"value of {criterion.name} ({where})", text, values)
        return values[text]
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not is_ranking(value):
        if criterion.asks == "rank":
            raise BadInput(f"{where}: '{text[:60]}' is no ranking", 'write it as JSON, the best first: ["b", ["a", "c"]]')
        if text not in (*item.answers, TIED, FAILED):
            raise unknown(f"answer ({where})", text, (*item.answers, TIED, FAILED))
        return text
    if stray := next((name for name in ranking_of(value, where).names if name not in item.answers), ""):
        raise unknown(f"answer ({where})", stray, item.answers)
    return value
