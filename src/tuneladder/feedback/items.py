"""What is judged: what was asked, and several answers to it, from a file or as variants write them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tuneladder.errors import BadInput, unknown
from tuneladder.feedback.rankings import FAILED, TIED, Ranking, choice_of, is_ranking, ranking_of
from tuneladder.store import write_lines
from tuneladder.task.comparisons import prompt_of
from tuneladder.task.formats import messages_of, text_of
from tuneladder.task.read import Row, columns_of, read_rows
from tuneladder.types import Judgement, Turn, Turns

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


def write_items(path: Path, items: Iterable[Item]) -> int:
    """As JSON lines that read back as the same items. The number of rows."""
    return write_lines(path, map(item_row, items))


def read_prompts(location: str) -> dict[str, Turns]:
    """What is to be asked, by item: rows of prompt (a text or messages), with an item or, for all, without: then their numbers.
    Raises BadInput for others, and an item given twice."""
    rows = read_rows(location)
    if "prompt" not in (columns := columns_of(rows)):
        hint = 'for example {"prompt": "Where is it?"}'
        raise BadInput(f"{location} has no column `prompt`: its columns are {', '.join(columns)[:200]}", hint)
    found: dict[str, Turns] = {}
    for number, row in enumerate(rows, start=1):
        where = f"{location}, row {number}"
        id = _id(row, where) if "item" in columns else str(number)
        if id in found:
            raise BadInput(f"{where}: item {id} is given twice", "give each prompt another, or leave the column out")
        found[id] = _turns(row, id, where)
    return found


def gathered(prompts: Mapping[str, Turns], written: Mapping[str, Sequence[Sequence[str]]]) -> tuple[Item, ...]:
    """The prompts with what was written to each, by whoever wrote it, called `name` or, where it wrote several, `name 1` and on.
    What somebody says again, it has said: equal texts of one writer stand once."""
    answers: dict[str, dict[str, str]] = {id: {} for id in prompts}
    for name, samples in written.items():
        for id, texts in zip(prompts, samples, strict=True):
            told = list(dict.fromkeys(texts))
            answers[id] |= {f"{name} {at}" if len(texts) > 1 else name: text for at, text in enumerate(told, start=1)}
    return tuple(Item(id, turns, answers[id]) for id, turns in prompts.items())


def ranking_among(item: Item, value: Any, who: str) -> Ranking:
    """A judgement of an item as a ranking of its answers, which a choice is, too. Raises BadInput for names that are not there."""
    found = ranking_of(value, f"{who} on item {item.id}") if is_ranking(value) else choice_of(value, tuple(item.answers))
    for name in found.names:
        if name not in item.answers:
            raise unknown(f"answer to item {item.id} ({who}):", name, (*item.answers, TIED, FAILED))
    return found


def as_rankings(items: Mapping[str, Item], judgements: Iterable[Judgement]) -> list[Judgement]:
    """The judgements with those of these items as rankings of their answers: an answer's name alone does not say among which it was
    chosen, and what chance would agree on goes by that. Others are as they were."""
    return [replace(each, value=_ranked(items, each.item, each.value, each.labeler)) for each in judgements]


def rankings_right(items: Mapping[str, Item], right: Mapping[str, Any]) -> dict[str, Any]:
    """What is right by item, as `as_rankings` has judgements."""
    return {id: _ranked(items, id, value, "what is right") for id, value in right.items()}


def _ranked(items: Mapping[str, Item], id: str, value: Any, who: str) -> Any:
    return ranking_among(items[id], value, who) if id in items else value


def _id(row: Row, where: str) -> str:
    if id := text_of(row.get("item")).strip():
        return id
    raise BadInput(f"{where}: item is empty", HINT)


def _turns(row: Row, id: str, where: str) -> Turns:
    prompt = row.get("prompt")
    turns = messages_of(prompt, where) if isinstance(prompt, list) else (Turn("user", text_of(prompt)),)
    if not any(turn.text.strip() for turn in turns):
        raise BadInput(f"{where}: item {id} asks nothing: its prompt is empty", HINT)
    return turns


def _item(row: Row, where: str) -> Item:
    id, answers = _id(row, where), row.get("answers")
    if not isinstance(answers, Mapping) or not answers:
        raise BadInput(f"{where}: the answers of item {id} have no names: {text_of(answers)[:60]!r}", HINT)
    named = {text_of(name): text_of(text) for name, text in answers.items() if text is not None}
    if odd := next((name for name in named if name in (TIED, FAILED)), None):
        raise BadInput(f"{where}: an answer of item {id} is called '{odd}', which a judgement says of all", "give it another name")
    return Item(id, _turns(row, id, where), named)
