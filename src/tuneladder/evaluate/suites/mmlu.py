"""MMLU (arXiv:2009.03300): exam questions of 57 subjects, each with four answers, after five of its subject. Asked as lm-eval's
`mmlu`."""

from __future__ import annotations

from tuneladder.evaluate.suite import ACCURACY, Source, Suite, asked, cell, gold, text
from tuneladder.task.formats import text_of
from tuneladder.task.read import Row
from tuneladder.types import Example

LETTERS = ("A", "B", "C", "D")


def example(row: Row) -> Example:
    choices = "\n".join(f"{letter}. {text_of(choice)}" for letter, choice in zip(LETTERS, cell(row, "choices"), strict=True))
    question = f"{text(row, 'question').strip()}\n{choices}\nAnswer:"
    return asked(question, LETTERS, gold(row, LETTERS, "answer"), subject=text(row, "subject"))


def lead(subject: str) -> str:
    return f"The following are multiple choice questions (with answers) about {subject.replace('_', ' ')}.\n\n"


parts = (
    Suite(
        "mmlu",
        Source("cais/mmlu", "test", ("all",)),
        example,
        {"accuracy": ACCURACY},
        shots=5,
        shown=Source("cais/mmlu", "dev", ("all",)),
        lead=lead,
    ),
)
