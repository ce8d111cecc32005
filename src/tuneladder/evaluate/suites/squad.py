"""SQuAD (arXiv:1606.05250), and what has its columns, such as XQuAD: questions whose answer stands in a passage. The prompt is that
of lm-eval's `squadv2`, without the title where a copy has none."""

from __future__ import annotations

from tuneladder.evaluate.suite import Figure, Said, Source, Suite, asked, cell, text
from tuneladder.task.formats import text_of
from tuneladder.task.read import Row
from tuneladder.types import Decoding, Example


def example(row: Row) -> Example:
    answers = cell(row, "answers")
    listed = answers["text"] if isinstance(answers, dict) else answers
    right = [text_of(each["text"] if isinstance(each, dict) else each) for each in listed]
    title = f"Title: {text_of(row['title'])}\n\n" if row.get("title") else ""
    question = f"Background: {text(row, 'context')}\n\nQuestion: {text(row, 'question')}\n\nAnswer:"
    return asked(title + question, (), *dict.fromkeys(right))


def written(example: Example, said: Said) -> str:
    return said.text.strip()


parts = (
    Suite(
        "squad",
        Source("rajpurkar/squad", "validation"),
        example,
        {"exact_match": Figure("squad_exact", written), "f1": Figure("squad_f1", written)},
        shown=Source("rajpurkar/squad", "train"),
        decoding=Decoding(max_new_tokens=64, stop=("\n",)),
    ),
)
