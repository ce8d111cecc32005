"""SQuAD's F1 (arXiv:1606.05250): of the words that answer and reference share, but capitals, punctuation and articles; the best
over a row's references, and its mean over the rows. Where either has no words left it is whether both have none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tuneladder.evaluate.squad import words_of

better = "higher"
best = 1.0
kinds = ()
interval = "bootstrap"


def items(answers: Sequence[str], references: Sequence[Sequence[str]], labels: Sequence[str]) -> list[float]:
    return [max(_f1(words_of(answer), words_of(true)) for true in row) for answer, row in zip(answers, references, strict=True)]


def _f1(said: list[str], true: list[str]) -> float:
    if not said or not true:
        return float(said == true)
    shared = sum((Counter(said) & Counter(true)).values())
    return 2 * shared / (len(said) + len(true))
