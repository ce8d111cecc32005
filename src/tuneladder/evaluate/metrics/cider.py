"""CIDEr-D (arXiv:1411.5726, equation 6), ten times the mean cosine: 0 to 10, as pycocoevalcap has it and the E2E challenge reports.

Runs of one to four words are weighed by how few rows have them in their references, of all rows that are measured; a bootstrap
draws rows and keeps the weights. A single row, or rows whose references are all alike, weigh nothing: that is 0. Words are lower
case without punctuation and, as there, not stemmed. An answer is compared with each of the row's references and the mean taken,
so that only an answer to a single reference of four words or more can have 10.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tuneladder.evaluate.grams import Grams, grams, words

better = "higher"
best = 10.0
relative = True
kinds = ()
interval = "bootstrap"

_ORDERS = 4
_SIGMA = 6.0  # words by which lengths may differ


def items(answers: Sequence[str], references: Sequence[Sequence[str]], labels: Sequence[str]) -> list[float]:
    true = [[grams(words(reference), _ORDERS) for reference in row] for row in references]
    rows = Counter(gram for row in true for gram in set[tuple[str, ...]]().union(*row))
    weights = {gram: math.log(len(true) / count) for gram, count in rows.items()}
    new = math.log(len(true) or 1)  # what no reference has weighs as much as what one row's have
    found = []
    for answer, row in zip(answers, true, strict=True):
        one = _vector(grams(words(answer), _ORDERS), weights, new)
        found.append(10 * sum(_alike(one, _vector(each, weights, new)) for each in row) / len(row))
    return found


@dataclass(frozen=True)
class _Vector:
    """A text: the weight of each of its grams, the norms of the four orders, and its words."""

    weights: dict[tuple[str, ...], float]
    norms: list[float]
    length: int


def _vector(text: Grams, weights: Mapping[tuple[str, ...], float], new: float) -> _Vector:
    own = {gram: count * weights.get(gram, new) for gram, count in text.items()}
    squares = [0.0] * _ORDERS
    for gram, weight in own.items():
        squares[len(gram) - 1] += weight * weight
    return _Vector(own, [math.sqrt(square) for square in squares], sum(text[gram] for gram in text if len(gram) == 1))


def _alike(said: _Vector, true: _Vector) -> float:
    """The mean over the orders of the cosine, in which nothing counts more often than the reference has it; 0 to 1."""
    products = [0.0] * _ORDERS
    for gram, weight in said.weights.items():
        if there := true.weights.get(gram):
            products[len(gram) - 1] += min(weight, there) * there
    sizes = [mine * theirs for mine, theirs in zip(said.norms, true.norms, strict=True)]
    cosines = [product / size for product, size in zip(products, sizes, strict=True) if size]
    return sum(cosines) / _ORDERS * math.exp(-((said.length - true.length) ** 2) / (2 * _SIGMA**2))
