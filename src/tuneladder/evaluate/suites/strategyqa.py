"""StrategyQA (arXiv:2101.02235): questions of yes or no that want several facts. The prompt is ours: lm-eval has only BIG-bench's
form of it."""

from __future__ import annotations

from tuneladder.evaluate.suite import ACCURACY, Source, Suite, asked, gold, text
from tuneladder.task.read import Row
from tuneladder.types import Example

LABELS = ("no", "yes")


def example(row: Row) -> Example:
    return asked(f"Question: {text(row, 'question', 'input')}\nAnswer:", LABELS, gold(row, LABELS, "answer"))


parts = (
    Suite(
        "strategyqa",
        Source("ChilleD/StrategyQA", "test"),
        example,
        {"accuracy": ACCURACY},
        shown=Source("ChilleD/StrategyQA", "train"),
        labels=LABELS,
    ),
)
