"""SQuAD's exact match (arXiv:1606.05250): the share of answers that are one of the references but for capitals, punctuation,
articles and white space, as its evaluation script counts."""

from __future__ import annotations

from collections.abc import Sequence

from tuneladder.evaluate.squad import words_of

better = "higher"
best = 1.0
kinds = ()
interval = "wilson"


def items(answers: Sequence[str], references: Sequence[Sequence[str]], labels: Sequence[str]) -> list[float]:
    pairs = zip(answers, references, strict=True)
    return [float(any(words_of(answer) == words_of(true) for true in row)) for answer, row in pairs]
