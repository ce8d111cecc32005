"""OpenBookQA (arXiv:1809.02789): sentences of elementary science with four endings. Asked as lm-eval's `openbookqa`."""

from __future__ import annotations

from tuneladder.evaluate.suite import ACCURACY, ACCURACY_BY_LENGTH, Source, Suite, asked, cell, gold, text
from tuneladder.task.formats import text_of
from tuneladder.task.read import Row
from tuneladder.types import Example


def example(row: Row) -> Example:
    choices = cell(row, "choices")
    told = isinstance(choices, dict)
    options = [text_of(choice) for choice in (choices["text"] if told else choices)]
    letters = [text_of(letter) for letter in choices["label"]] if told else ()
    right = gold(row, options, "answerKey", "answer", letters=letters)
    return asked(text(row, "question_stem", "q"), options, right)


parts = (
    Suite(
        "openbookqa",
        Source("allenai/openbookqa", "test", ("main",)),
        example,
        {"accuracy": ACCURACY, "accuracy_by_length": ACCURACY_BY_LENGTH},
        shown=Source("allenai/openbookqa", "train", ("main",)),
    ),
)
