"""Questions without references, of one turn or several (arXiv:2306.05685), and what a variant answers to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tuneladder.errors import BadInput
from tuneladder.task.read import check_file, columns_of, read_rows
from tuneladder.types import Answer, Decoding, Engine, Marked, Turn, Turns

COLUMNS = ("question", "prompt", "instruction", "input")
IDS = ("question_id", "id")


@dataclass(frozen=True)
class Question:
    """What a person says, turn after turn, whatever is answered."""

    id: str
    turns: tuple[str, ...]


def read_questions(location: str) -> list[Question]:
    """Questions from a file with a column `turns` (a list of texts, as MT-bench has) or one of COLUMNS; each has another id."""
    check_file(location)
    rows = read_rows(location)
    columns = columns_of(rows)
    column = next((name for name in ("turns", *COLUMNS) if name in columns), "")
    if not column:
        raise BadInput(
            f"{location} holds no questions: its columns are {', '.join(columns)}", f"`turns`, or {' or '.join(COLUMNS)}"
        )
    key = next((name for name in IDS if name in columns), "")
    found = []
    for at, row in enumerate(rows, start=1):
        own = row.get(column)
        turns = tuple(str(turn) for turn in own) if isinstance(own, list) else (str(own or ""),)
        if not turns or not all(turn.strip() for turn in turns):
            raise BadInput(f"row {at} of {location} asks nothing in `{column}`", "fill it in, or leave the row out")
        found.append(Question(str(row.get(key, at)), turns))
    ids = [each.id for each in found]
    if twice := next((own for own in ids if ids.count(own) > 1), ""):
        raise BadInput(f"two questions in {location} have the id {twice}", "give each its own")
    return found


def answered(engine: Engine, questions: Sequence[Question], decoding: Decoding) -> list[Marked]:
    """What the engine answers: turn by turn, each after what was said before. Of several turns question and answer show all."""
    talks: list[Turns] = [() for _ in questions]
    for at in range(max((len(each.turns) for each in questions), default=0)):
        own = [number for number, each in enumerate(questions) if at < len(each.turns)]
        asks = [(*talks[number], Turn("user", questions[number].turns[at])) for number in own]
        for number, ask, texts in zip(own, asks, engine.generate(asks, decoding), strict=True):
            talks[number] = (*ask, Turn("assistant", texts[0]))
    return [
        Marked(each.id, _shown(talk, "user"), "", Answer(_shown(talk, "assistant")), None)
        for each, talk in zip(questions, talks, strict=True)
    ]


def _shown(talk: Turns, role: str) -> str:
    own = [turn.text for turn in talk if turn.role == role]
    return own[0] if len(own) == 1 else "\n\n".join(f"({number}) {text}" for number, text in enumerate(own, start=1))
