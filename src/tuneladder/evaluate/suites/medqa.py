"""MedQA (arXiv:2009.13081): questions of the medical licensing examination of the United States, each with four answers. Asked as
lm-eval's `medqa_4options`."""

from __future__ import annotations

from collections.abc import Sequence

from tuneladder.evaluate.suite import ACCURACY, Source, Suite, asked, cell, gold, text
from tuneladder.task.formats import text_of
from tuneladder.task.read import Row
from tuneladder.types import Example

LETTERS = ("A", "B", "C", "D")


def example(row: Row) -> Example:
    listed = "".join(f"{letter}. {option}\n" for letter, option in zip(LETTERS, _options(row), strict=True))
    question = f"Question: {text(row, 'sent1', 'question')}\n{listed}Answer:"
    return asked(question, LETTERS, gold(row, LETTERS, "label", "answer_idx", "answer"))


def _options(row: Row) -> Sequence[str]:
    if "options" in row:
        options = cell(row, "options")
        return [text_of(options[letter]) for letter in LETTERS]
    return [text(row, f"ending{at}") for at in range(len(LETTERS))]


parts = (
    Suite(
        "medqa",
        Source("GBaker/MedQA-USMLE-4-options-hf", "test"),
        example,
        {"accuracy": ACCURACY},
        shown=Source("GBaker/MedQA-USMLE-4-options-hf", "train"),
    ),
)
