"""What is judged: what was asked, and several answers to it, from a file or sampled from engines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tuneladder.errors import BadInput
from tuneladder.feedback.rankings import FAILED, TIED
from tuneladder.task.comparisons import prompt_of
from tuneladder.task.formats import messages_of, text_of
from tuneladder.task.read import Row, columns_of, read_rows
from tuneladder.types import Decoding, Engine, Turn, Turns

HINT = 'for example {"item": "1", "prompt": "Where is my parcel?", "answers": {"a": "On its way.", "b": "No idea."}}'


@dataclass(frozen=True)
class Item:
    """The answers are by the names that judgements call them by."""

    id: str
    turns: Turns
    answers: Mapping[str, str]


def read_items(location: str) -> tuple[Item, ...]:
    """Of rows of item, prompt (a text or messages) and answers (by name). Raises BadInput for others, and an item given twice."""
    rows = read_rows(location)
    if missing := [name for name in ("item", "prompt", "answers") if name not in columns_of(rows)]:
        raise BadInput(f"{location} has no column `{missing[0]}`", HINT)
    found: dict[str, Item] = {}
    for number, row in enumerate(rows, start=1):
        item = _item(row, f"{location}, row {number}")
        if item.id in found:
            raise BadInput(f"{location}, row {number}: item {item.id} is given twice", "give all its answers in one row")
        found[item.id] = item
    return tuple(found.values())


def item_row(item: Item) -> Row:
    """A row that reads back as the same item."""
    return {"item": item.id, "prompt": prompt_of(item.turns), "answers": dict(item.answers)}


def sampled(asks: Mapping[str, Turns], engines: Mapping[str, Engine], decoding: Decoding) -> tuple[Item, ...]:
    """Of each ask `decoding.samples` answers by every engine, called `name` or, where it gives several, `name 1` and on. What an
    engine says again, it has said: equal texts of one engine stand once, and an item has the answers of all."""
    answers: dict[str, dict[str, str]] = {id: {} for id in asks}
    for name, engine in engines.items():
        for id, texts in zip(asks, engine.generate(list(asks.values()), decoding), strict=True):
            told = list(dict.fromkeys(texts))
            answers[id] |= {f"{name} {at}" if decoding.samples > 1 else name: text for at, text in enumerate(told, start=1)}
    return tuple(Item(id, turns, answers[id]) for id, turns in asks.items())


def _item(row: Row, where: str) -> Item:
    id, prompt, answers = text_of(row.get("item")).strip(), row.get("prompt"), row.get("answers")
    if not id:
        raise BadInput(f"{where}: item is empty", HINT)
    if not isinstance(answers, Mapping) or not answers:
        raise BadInput(f"{where}: the answers of item {id} have no names: {text_of(answers)[:60]!r}", HINT)
    named = {text_of(name): text_of(text) for name, text in answers.items() if text is not None}
    if odd := next((name for name in named if name in (TIED, FAILED)), None):
        raise BadInput(f"{where}: an answer of item {id} is called '{odd}', which a judgement says of all", "give it another name")
    turns = messages_of(prompt, where) if isinstance(prompt, list) else (Turn("user", text_of(prompt)),)
    if not any(turn.text.strip() for turn in turns):
        raise BadInput(f"{where}: item {id} asks nothing: its prompt is empty", HINT)
    return Item(id, turns, named)
