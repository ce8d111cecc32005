"""HellaSwag (arXiv:1905.07830): which of four endings goes on from a scene. Asked as lm-eval's `hellaswag`.

A copy without the columns `ctx_a`, `ctx_b` and `activity_label` is read by its `ctx`, whose second half keeps its small letter.
"""

from __future__ import annotations

import re

from tuneladder.evaluate.suite import ACCURACY, ACCURACY_BY_LENGTH, Source, Suite, asked, cell, gold, text
from tuneladder.task.formats import text_of
from tuneladder.task.read import Row
from tuneladder.types import Example


def example(row: Row) -> Example:
    options = [_plain(text_of(ending)) for ending in cell(row, "endings")]
    return asked(_plain(_scene(row)), options, gold(row, options, "label"))


def _scene(row: Row) -> str:
    if row.get("ctx_a") is None:
        return text(row, "ctx")
    # the second half is empty where the first is all there is
    return f"{text(row, 'activity_label')}: {row['ctx_a']} {str(row.get('ctx_b') or '').capitalize()}"


def _plain(given: str) -> str:
    """Without the brackets that are left of WikiHow's marks."""
    kept = re.sub(r"\[.*?\]", "", given.strip().replace(" [title]", ". "))
    return kept.replace("  ", " ")


parts = (
    Suite(
        "hellaswag",
        Source("Rowan/hellaswag", "validation"),
        example,
        {"accuracy": ACCURACY, "accuracy_by_length": ACCURACY_BY_LENGTH},
        shown=Source("Rowan/hellaswag", "train"),
    ),
)
