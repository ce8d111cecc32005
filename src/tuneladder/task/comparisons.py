"""Comparisons from the shapes that people's preferences have: chosen and rejected, with their prompt or with it inside both, and
answers that are each good or bad."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tuneladder.errors import BadInput
from tuneladder.task.formats import Format, messages_of, recognise, text_of, to_comparison, to_example
from tuneladder.task.read import Row, columns_of, read_rows
from tuneladder.types import Comparison, Turn, Turns

_TURN = re.compile(r"(?:^|\n\n)(Human|Assistant):[ \t]?")
HINT = "rows of prompt, chosen, rejected; of chosen and rejected that are whole conversations; or of prompt, completion, label"


@dataclass(frozen=True)
class Compared:
    """`alike` counts rows whose two sides are the same, `dropped` those with an empty side, with no prompt that both sides share,
    or of KTO, answers whose prompt has none of the other label."""

    comparisons: tuple[Comparison, ...]
    format: str
    alike: int = 0
    dropped: int = 0


def read_comparisons(location: str) -> Compared:
    """The comparisons of a file. Raises BadInput for columns that hold none, and where nothing is left to learn."""
    rows = read_rows(location)
    columns = columns_of(rows)
    format = recognise(columns, rows)
    if format is not None and format.name == "kto":
        found, dropped = _paired(format, rows)
        name = "kto"
    else:
        names = {column.casefold(): column for column in columns}
        if "chosen" not in names or "rejected" not in names:
            raise BadInput(f"{location} holds no preferences: its columns are {', '.join(columns)[:200]}", HINT)
        numbered = [(str(number), row) for number, row in enumerate(rows, start=1)]
        if format is not None and format.name == "preference":
            made = [to_comparison(format, row, id) for id, row in numbered]
        else:
            made = [_parted(row[names["chosen"]], row[names["rejected"]], id) for id, row in numbered]
        found = [each for each in made if each]
        dropped, name = len(made) - len(found), "preference"
    kept = tuple(each for each in found if each.chosen.strip() != each.rejected.strip())
    if not kept:
        what = (
            "in every row chosen and rejected are the same" if found else f"no row of {len(rows):,} has two answers to one prompt"
        )
        raise BadInput(f"{location}: {what}", HINT)
    return Compared(kept, name, len(found) - len(kept), dropped)


def _parted(chosen: object, rejected: object, id: str) -> Comparison | None:
    """Two conversations that are the same but for what the assistant says last; None where they are not."""
    good, bad = (_conversation(side, id) for side in (chosen, rejected))
    if not good or not bad or good[:-1] != bad[:-1] or len(good) < 2 or {good[-1].role, bad[-1].role} != {"assistant"}:
        return None
    said = good[-1].text, bad[-1].text
    return Comparison(id, good[:-1], *said) if all(text.strip() for text in said) else None


def _conversation(side: object, id: str) -> Turns:
    """A list of messages, or one text whose turns begin with `Human:` and `Assistant:`."""
    if isinstance(side, list):
        return messages_of(side, id)
    text = text_of(side)
    marks = [*_TURN.finditer(text)]
    if not marks or marks[0].start():
        raise BadInput(f"row {id}: its two sides have no prompt before them: {text.strip()[:60]!r}", HINT)
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    roles = {"Human": "user", "Assistant": "assistant"}
    return tuple(Turn(roles[mark[1]], text[mark.end() : end].strip()) for mark, end in zip(marks, ends, strict=True))


def _paired(format: Format, rows: Sequence[Row]) -> tuple[list[Comparison], int]:
    """Every good answer of a prompt with every bad one of it, and how many answers found no other."""
    good: dict[Turns, list[tuple[str, str]]] = {}
    bad: dict[Turns, list[tuple[str, str]]] = {}
    count = 0
    for number, row in enumerate(rows, start=1):
        if example := to_example(format, row, str(number)):
            count += 1
            (good if example.meta["label"] else bad).setdefault(example.turns, []).append((example.id, example.references[0]))
    both = [turns for turns in good if turns in bad]
    found = [
        Comparison(f"{own}/{other}", turns, chosen, rejected, source=own)
        for turns in both
        for (own, chosen), (other, rejected) in itertools.product(good[turns], bad[turns])
    ]
    return found, count - sum(len(good[turns]) + len(bad[turns]) for turns in both)


def rows_of(comparisons: Iterable[Comparison]) -> Iterator[Row]:
    """Rows that read back as the same comparisons, and that other tools read too."""
    for each in comparisons:
        row: Row = {"prompt": prompt_of(each.turns), "chosen": each.chosen, "rejected": each.rejected}
        yield row | {"weight": each.weight, "margin": each.margin, "source": each.source}


def prompt_of(turns: Turns) -> str | list[dict[str, str]]:
    """A question alone is a text, more of a conversation a list of messages."""
    if len(turns) == 1 and turns[0].role == "user":
        return turns[0].text
    return [{"role": turn.role, "content": turn.text} for turn in turns]
