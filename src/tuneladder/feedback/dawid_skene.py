"""Dawid and Skene 1979 (Applied Statistics 28): what is right, how often each labeler takes what for what, both from the judgements
alone, by expectation and maximisation in turn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tuneladder.evaluate.intervals import Array
from tuneladder.feedback.table import Table

PRIOR = 0.5  # judgements of every kind that each labeler is lent: whoever judged little is sure of nothing
TRUST = 4  # times as many more that are right: nobody is taken to err before the others say so
ROUNDS = 500


@dataclass(frozen=True)
class DawidSkene:
    """`right` (I, K): how likely each value is right; `share` (K,) how common it is; `taken` (L, K, K): how likely a labeler says
    the last value where the middle one is right; `likelihood` of the judgements and the prior, after every round."""

    right: Array
    share: Array
    taken: Array
    likelihood: tuple[float, ...]

    @property
    def value(self) -> tuple[int, ...]:
        """(I,): the likeliest value of each item."""
        return tuple(int(k) for k in self.right.argmax(1))


def dawid_skene(table: Table, *, prior: float = PRIOR, rounds: int = ROUNDS) -> DawidSkene:
    """The fit that begins with the items' shares of votes. `prior` is added to every cell of a labeler's table, and TRUST times
    that to those of right judgements; with 0 it is the paper's own, by maximum likelihood."""
    counts = table.counts
    right = counts / counts.sum(1, keepdims=True)
    lent = prior * (1 + TRUST * np.eye(len(table.values)))
    seen: list[float] = []
    while True:
        share, taken = _maximise(table, right, lent)
        right, likelihood = _expect(table, share, taken, lent)
        done = bool(seen) and likelihood - seen[-1] < 1e-8 * (1 + abs(likelihood))
        seen.append(likelihood)
        if done or len(seen) >= rounds:
            return DawidSkene(right, share, taken, tuple(seen))


def without(table: Table, fit: DawidSkene) -> Array:
    """(N, K): of each judgement's item how likely each value is right by the others' judgements alone."""
    own = np.maximum(fit.taken[table.labeler, :, table.value], 1e-12)
    others = np.log(np.maximum(fit.right[table.item], 1e-300)) - np.log(own)
    return _distributions(others)[0]


def _maximise(table: Table, right: Array, lent: Array) -> tuple[Array, Array]:
    labelers, values = len(table.labelers), len(table.values)
    share = right.mean(0)
    cells = np.zeros((labelers * values, values))
    np.add.at(cells, table.labeler * values + table.value, right[table.item])
    taken = cells.reshape(labelers, values, values).transpose(0, 2, 1) + lent
    whole = taken.sum(2, keepdims=True)
    # of what a labeler never met nothing is known
    return share, np.where(whole > 0, taken / np.where(whole > 0, whole, 1.0), 1 / values)


def _expect(table: Table, share: Array, taken: Array, lent: Array) -> tuple[Array, float]:
    logs = np.tile(np.log(np.maximum(share, 1e-300)), (len(table.items), 1))
    np.add.at(logs, table.item, np.log(np.maximum(taken, 1e-300))[table.labeler, :, table.value])
    right, whole = _distributions(logs)
    given = float((lent * np.log(taken)).sum()) if lent.any() else 0.0
    return right, float(whole.sum()) + given


def _distributions(logs: Array) -> tuple[Array, Array]:
    """Rows of logarithms as distributions, and the logarithm of what they sum to."""
    top = logs.max(1, keepdims=True)
    found = np.exp(logs - top)
    whole = found.sum(1, keepdims=True)
    return found / whole, (top + np.log(whole))[:, 0]
