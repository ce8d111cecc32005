"""The options of a row that is a question with its own answers to choose from (kind `choose`)."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from tuneladder.errors import BadInput
from tuneladder.task.formats import text_of
from tuneladder.task.read import Row
from tuneladder.types import Example


def with_options(example: Example, row: Row) -> Example:
    """The example with the options in the row's column `options` or `choices`, and its answer as one of them.

    Options are a list, JSON, texts with | between, or {"text": [...], "label": [...]}; the answer is an option's text, its
    letter, or its place from 0. Without such a column the example comes back as it is.
    """
    column = next((c for c in ("options", "choices") if row.get(c)), None)
    if column is None:
        return example
    value: Any = row[column]
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            value = [part.strip() for part in value.split("|")]
    letters = [text_of(letter) for letter in value.get("label", ())] if isinstance(value, dict) else []
    texts = value.get("text") if isinstance(value, dict) else value
    if not isinstance(texts, list) or len(texts) < 2:
        raise BadInput(
            f"row {example.id}: `{column}` is {text_of(row[column])[:80]!r}", 'a list of two or more options, such as ["yes", "no"]'
        )
    options = tuple(text_of(option) for option in texts)
    answer = example.references[0]
    letters = letters or [chr(ord("A") + n) for n in range(len(options))]
    if answer in options:
        place = options.index(answer)
    elif answer in letters:
        place = letters.index(answer)
    elif answer.isdecimal() and int(answer) < len(options):
        place = int(answer)
    else:
        raise BadInput(
            f"row {example.id}: the answer {answer[:80]!r} is none of its options",
            f"an option's text, its letter, or its place from 0; options: {list(options)}",
        )
    return replace(example, options=options, references=(options[place],))
