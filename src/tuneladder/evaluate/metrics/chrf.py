"""Corpus chrF on sacrebleu's scale of 0 to 100: characters, orders 1 to 6, recall weighed twice (Popović 2015)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from tuneladder.evaluate.intervals import Array

better = "higher"
best = 100.0
kinds = ("generate",)
interval = "bootstrap"

_ORDERS = 6
_BETA = 2


def statistics(answers: Sequence[str], references: Sequence[Sequence[str]], labels: Sequence[str]) -> Array:
    """(rows, 18): n-grams of the answer, of the reference and in both, for six orders; the reference is the row's nearest."""
    rows = []
    for answer, row in zip(answers, references, strict=True):
        said = _grams(answer)
        counts = np.array([_counts(said, _grams(reference)) for reference in row], dtype=np.float64)
        rows.append(counts[int(np.argmax(combine(counts)))])
    return np.array(rows)


def combine(sums: Array) -> Array:
    said, true, both = np.split(sums, 3, axis=1)
    used = (said > 0) & (true > 0)
    orders = np.maximum(used.sum(1), 1)
    precision = np.divide(both, said, out=np.zeros_like(both), where=used).sum(1) / orders
    recall = np.divide(both, true, out=np.zeros_like(both), where=used).sum(1) / orders
    bottom = _BETA**2 * precision + recall
    return np.asarray(100 * np.divide((1 + _BETA**2) * precision * recall, bottom, out=np.zeros_like(bottom), where=bottom > 0))


def _grams(text: str) -> list[Counter[str]]:
    letters = "".join(text.split())
    return [Counter(letters[i : i + n] for i in range(len(letters) - n + 1)) for n in range(1, _ORDERS + 1)]


def _counts(said: list[Counter[str]], true: list[Counter[str]]) -> list[int]:
    # As sacrebleu: an order that the reference is too short for says nothing of the answer either.
    lengths = [s.total() if t else 0 for s, t in zip(said, true, strict=True)]
    both = [sum(min(count, t[gram]) for gram, count in s.items() if gram in t) for s, t in zip(said, true, strict=True)]
    return [*lengths, *(t.total() for t in true), *both]
