"""Rows of a classification that have several labels, or none. A set of labels is written as one text, the labels in the task's
order with commas between, so that sets are learned, answered and marked as any other text is.

Data keeps such sets in a column of lists, in one of texts with a mark between the labels, or in a column for each label that says
whether the row has it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from tuneladder.errors import BadInput
from tuneladder.task.formats import Format, list_of, text_of, to_example, value_of
from tuneladder.task.labels import Words, label_words
from tuneladder.task.read import Row
from tuneladder.task.scripts import whole
from tuneladder.types import Example, Task

SEPARATORS = ("|", ";", ",", "\n")  # a blank stands in labels too: it has to be said
MOST_LABELS = 150  # what has more is hardly a column of labels
_BETWEEN = (", ", "; ", " | ", "\n")
_EMPTY = ("none", "no label", "(none)")
_MARKS = ".,;:'\"`()[]{}*-"  # that a model writes around a label
_TRUTHS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False, "": False}


@dataclass(frozen=True)
class _Written:
    """How sets of a task's labels are written: what stands between two, the word for the empty set, and what finds labels."""

    between: str
    empty: str
    known: Mapping[str, str]
    named: re.Pattern[str]


def kind_in_full(task: Task) -> str:
    """The task's kind, where a classification of several labels is a kind of its own, and so is the extraction of objects
    (`record`): their rows are measured by other metrics."""
    return "multi_label" if task.multi_label else "record" if task.prompt.schema else task.kind


@lru_cache(maxsize=64)
def _written(labels: tuple[str, ...]) -> _Written:
    folded = {label.casefold() for label in labels}
    between = next((mark for mark in _BETWEEN[:-1] if not any(mark.strip() in label for label in labels)), _BETWEEN[-1])
    empty = next((word for word in _EMPTY[:-1] if word not in folded), _EMPTY[-1])
    known = {label.casefold(): label for label in labels} | {label: label for label in labels}
    return _Written(between, empty, known, re.compile(whole(label.casefold() for label in labels)))


def joined(names: Iterable[str], labels: Sequence[str]) -> str:
    """A set of labels as text: in the task's order, or the word for none."""
    own, written = set(names), _written(tuple(labels))
    return written.between.join(label for label in labels if label in own) or written.empty


def likely(logits: Sequence[float], labels: Sequence[str]) -> str:
    """The set of those labels that are likelier than not, by the logit of each."""
    return joined((label for label, logit in zip(labels, logits, strict=True) if logit > 0), labels)


def labels_of(text: str, labels: Sequence[str]) -> list[str]:
    """The labels that `joined` wrote, in its order. A text that it did not write, such as one label alone or an answer that could
    not be read, says those of its parts that are labels."""
    if text in labels:
        return [text]
    known = set(labels)
    return [part for part in text.split(_written(tuple(labels)).between) if part in known]


def read_labels(text: str, labels: Sequence[str]) -> str:
    """The set of labels that a model wrote, as `joined` writes it; "" where it names neither a label nor the word for none.

    What stands between commas (or lines) is a label in any case, or else the labels that are named in it as whole words.
    """
    written, found = _written(tuple(labels)), set()
    for part in re.split(rf"{re.escape(written.between.strip() or _BETWEEN[-1])}|\n", text):
        plain = part.strip()
        label = written.known.get(plain) or written.known.get(plain.casefold()) or written.known.get(plain.strip(_MARKS).casefold())
        found |= {label} if label else {written.known[each] for each in written.named.findall(plain.casefold())}
    if found:
        return joined(found, labels)
    return written.empty if re.search(whole([written.empty]), text.casefold()) else ""


def hold_lists(cells: Sequence[Any]) -> bool:
    """Whether a column of labels holds lists, and one of them not just one label."""
    lists = [list_of(cell) for cell in cells if cell is not None]
    return bool(lists) and None not in lists and any(len(own or ()) != 1 for own in lists)


def separator_of(cells: Sequence[Any]) -> str | None:
    """What parts the labels in a column of texts: of the marks that stand there, the one that leaves the fewest different parts;
    None where none does."""
    texts = [text_of(cell) for cell in cells]
    counts = {mark: len(_parts(texts, mark)) for mark in SEPARATORS if any(mark in text for text in texts)}
    return min(counts, key=lambda mark: counts[mark], default=None)


def look_like_sets(cells: Sequence[Any]) -> bool:
    """Whether nobody has to say that the cells of a column hold sets of labels, rather than texts: few labels, each short, which
    come back in other sets."""
    filled = [cell for cell in cells if cell is not None and cell != ""]
    lists = [list_of(cell) for cell in filled]
    if lists and None not in lists:
        if not hold_lists(filled) or any(isinstance(each, dict | list) for own in lists for each in own or ()):
            return False
        parts = {text_of(each).strip() for own in lists for each in own or ()}
        return 2 <= len(parts) <= max(2, min(MOST_LABELS, len(filled) // 2))
    texts = [text_of(cell) for cell in filled]
    mark = separator_of(texts)
    if mark is None or any(list_of(cell) is not None for cell in filled):
        return False
    parts = _parts(texts, mark)
    short = all(len(part) <= 40 and len(part.split()) <= 4 for part in parts)
    return short and 2 <= len(parts) <= min(MOST_LABELS, len(texts) // 2, len(set(texts)))


def flags_in(columns: Sequence[str], rows: Sequence[Row]) -> list[str]:
    """The columns that each say of one label whether a row has it: all cells are 0 or 1, true or false, and both occur."""
    found = []
    for column in columns:
        values = {text_of(row.get(column)).strip().casefold() for row in rows}
        if values <= _TRUTHS.keys() and {_TRUTHS[value] for value in values} == {True, False} and "" not in values:
            found.append(column)
    return found


def gathered(rows: Sequence[Row], columns: Sequence[str], name: str, place: str) -> list[Row]:
    """The rows with one more column, `name`, that lists those of the `columns` that say yes."""
    return [
        {**row, name: [column for column in columns if _says(row, column, number, place)]} for number, row in enumerate(rows, 1)
    ]


def to_labelled(format: Format, row: Row, id: str, separator: str | None) -> Example | None:
    """The row as an Example whose references are its labels, each once, or none; None where it has nothing to read or was never
    labelled: where a list would stand, there is nothing."""
    cell = value_of(format.target, row, id)
    if separator is not None:
        parts: Sequence[Any] = text_of(cell, id).split(separator)
    elif cell is None:
        return None
    else:
        found = list_of(cell)
        parts = [cell] if found is None else found
    names = dict.fromkeys(text for part in parts if (text := text_of(part, id).strip()))
    return to_example(format, row, id, references=tuple(names))


def name_sets(
    examples: Mapping[str, Sequence[Example]], labels: Mapping[Any, Any] | Sequence[Any] | None
) -> tuple[dict[str, list[Example]], Words]:
    """The examples with their sets as text, and the labels' words. `labels` and what is refused are `label_words`'."""
    apart = {split: [replace(e, references=(value,)) for e in part for value in e.references] for split, part in examples.items()}
    if not any(apart.values()):
        raise BadInput("no row has any label", "is `target` the right column?")
    words = label_words(apart, labels)
    made = {
        split: [replace(e, references=(joined((words.of[value] for value in e.references), words.words),)) for e in part]
        for split, part in examples.items()
    }
    sizes = [len({words.of[value] for value in e.references}) for part in examples.values() for e in part]
    said = f"a row has {sum(sizes) / len(sizes):.2f} labels on average, and {max(sizes)} at most"
    if empty := sizes.count(0):
        said += f"; {empty:,} of {len(sizes):,} have none, which is written '{joined((), words.words)}'"
    return made, Words(words.words, {}, (said, *words.notes))


def rarest(examples: Iterable[Example], labels: Sequence[str]) -> Mapping[str, str]:
    """Of each set that the examples have, the label that the fewest of them have. Splits drawn by it have rare labels on both
    sides, as in iterative stratification (Sechidis et al., ECML 2011); a rare set, drawn by itself, would stay on one."""
    sets = Counter(example.references[0] for example in examples)
    counts: Counter[str] = Counter()
    for text, count in sets.items():
        counts.update(dict.fromkeys(labels_of(text, labels), count))
    return {text: min(labels_of(text, labels), key=lambda label: (counts[label], label), default="") for text in sets}


def _parts(texts: Iterable[str], mark: str) -> set[str]:
    return {part.strip() for text in texts for part in text.split(mark)} - {""}


def _says(row: Row, column: str, number: int, place: str) -> bool:
    value = text_of(row.get(column)).strip()
    if value.casefold() not in _TRUTHS:
        raise BadInput(
            f"row {number} of {place}: `{column}` is {value[:80]!r}", "1 where the row has this label, 0 where it has not"
        )
    return _TRUTHS[value.casefold()]
