"""Corpus NIST-5 (Doddington 2002, doi:10.3115/1289189.1289273), as mteval-v13a and the E2E challenge's script count it.

Words are sacrebleu's 13a in lower case. How much an n-gram tells is counted in the references of all rows that are measured, and
a bootstrap draws rows and keeps it. An answer's n-grams are matched with all of the row's references together, each as often as
the one that has it most; the length is that of the row's mean reference. nltk's differs in both: it takes the best reference,
order by order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tuneladder.evaluate.grams import Grams, grams
from tuneladder.evaluate.intervals import Array

better = "higher"
best = math.inf
relative = True
kinds = ()
interval = "bootstrap"

_ORDERS = 5
_BETA = math.log(0.5) / math.log(1.5) ** 2  # two thirds of the length halve the score


def statistics(answers: Sequence[str], references: Sequence[Sequence[str]], labels: Sequence[str]) -> Array:
    """(rows, 11): bits in the matched n-grams of the five orders, n-grams of the five orders, mean length of the references."""
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

    tokenizer = Tokenizer13a()
    said = [tokenizer(answer.lower()).split() for answer in answers]
    true = [[tokenizer(reference.lower()).split() for reference in row] for row in references]
    counts = [[grams(each, _ORDERS) for each in row] for row in true]
    seen = Grams()
    for row in counts:
        for each in row:
            seen.update(each)
    # What tells of a single word is how rare it is among all words.
    seen[()] = sum(len(each) for row in true for each in row)
    lengths = [sum(map(len, row)) / len(row) for row in true]
    return np.array([[*_row(mine, theirs, seen), length] for mine, theirs, length in zip(said, counts, lengths, strict=True)])


def combine(sums: Array) -> Array:
    bits, total, reference = sums[:, :_ORDERS], sums[:, _ORDERS:-1], sums[:, -1]
    value = np.divide(bits, total, out=np.zeros_like(bits), where=total > 0).sum(1)
    ratio = np.divide(total[:, 0], reference, out=np.ones_like(reference), where=reference > 0)
    length = np.log(np.clip(ratio, 1e-300, 1.0))  # no words at all have nothing to be brief with: their bits are 0
    return np.asarray(value * np.exp(_BETA * length**2))


def _row(said: Sequence[str], true: Sequence[Grams], seen: Grams) -> list[float]:
    """The bits in the n-grams matched, and the n-grams said, of the five orders."""
    bits = [0.0] * _ORDERS
    for gram, count in grams(said, _ORDERS).items():
        if gram in seen and (matched := min(count, max(each.get(gram, 0) for each in true))):
            bits[len(gram) - 1] += matched * math.log2(seen[gram[:-1]] / seen[gram])
    return bits + [max(0, len(said) - order) for order in range(_ORDERS)]
