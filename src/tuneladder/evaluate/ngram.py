"""An n-gram model of bytes with interpolated modified Kneser-Ney smoothing (Chen and Goodman 1998, section 3), all in numpy.

A gram is one int64 of 9 bits a symbol, the last symbol lowest, so a shift gives its context and a mask its shorter gram.
Symbols are the bytes and 256, which stands before the start of a document and is never predicted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Array = npt.NDArray[np.float64]

_BITS = 9
_START = 256
CAP = 32_000_000  # train bytes used; more are drawn from by whole documents


@dataclass(frozen=True)
class _Level:
    """One order: `share` is a gram's discounted count over its context's total, `rest` what a context leaves to the order below."""

    grams: Ints
    share: Array
    contexts: Ints
    rest: Array


@dataclass(frozen=True)
class ByteModel:
    """P(byte | the `order` - 1 bytes before it). Levels from order 1 up."""

    order: int
    levels: tuple[_Level, ...]

    @classmethod
    def fit(cls, texts: Sequence[str], *, order: int = 5, seed: int = 0, cap: int = CAP) -> ByteModel:
        """Count at most `cap` bytes of the texts: where they are more, of whole texts drawn with the seed.

        No texts make the uniform model. order: 1 to 7, which is what an int64 holds.
        """
        assert 1 <= order <= 7
        chosen: list[bytes] = []
        room = cap
        for index in np.random.default_rng(seed).permutation(len(texts)):
            data = texts[index].encode("utf-8", "surrogatepass")[:room]
            chosen.append(data)
            room -= len(data)
            if room == 0:
                break
        grams, counts = _runs(np.sort(_grams(chosen, order)[0]))
        levels = []
        for size in range(order, 0, -1):
            levels.append(_level(grams, counts))
            # Below the highest order a gram counts once for each different symbol seen before it (equation 26).
            grams, counts = _runs(np.sort(grams & ((1 << _BITS * (size - 1)) - 1)))
        return cls(order, tuple(reversed(levels)))

    def bits(self, texts: Sequence[str]) -> list[float]:
        """The code length of each text, in bits, each read from its start."""
        grams, document = _grams([text.encode("utf-8", "surrogatepass") for text in texts], self.order)
        sums = np.bincount(document, weights=-np.log2(self.probability(grams)), minlength=len(texts))
        return [float(value) for value in sums]

    def probability(self, grams: Ints) -> Array:
        """Of the last symbol of each gram, given those before it. (N,) -> (N,)"""
        value = np.full(len(grams), 1 / 256)
        for size, level in enumerate(self.levels, start=1):
            short = grams & ((1 << _BITS * size) - 1)
            value = _look(level.grams, level.share, short, 0.0) + _look(level.contexts, level.rest, short >> _BITS, 1.0) * value
        return value


def _grams(documents: Sequence[bytes], order: int) -> tuple[Ints, Ints]:
    """Every gram that ends in a byte of a document, and the document's number."""
    start = np.full(order - 1, _START, dtype=np.int16)
    parts = [part for data in documents for part in (start, np.frombuffer(data, dtype=np.uint8).astype(np.int16))]
    symbols = np.concatenate([np.empty(0, dtype=np.int16), *parts])
    document = np.repeat(np.arange(len(documents)), [len(data) for data in documents])
    ends = np.flatnonzero(symbols != _START)
    grams = np.zeros(len(ends), dtype=np.int64)
    for back in range(order - 1, -1, -1):
        grams <<= _BITS
        grams |= symbols[ends - back]
    return grams, document


def _runs(values: Ints) -> tuple[Ints, Ints]:
    """The different values of a sorted array, and how often each stands there."""
    first = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]])[: len(values)])
    return values[first], np.diff(np.append(first, len(values)))


def _level(grams: Ints, counts: Ints) -> _Level:
    discount = _discounts(counts)[np.minimum(counts, 3)]
    contexts, sizes = _runs(grams >> _BITS)
    place = np.repeat(np.arange(len(contexts)), sizes)
    total = np.bincount(place, weights=counts, minlength=len(contexts))
    rest = np.bincount(place, weights=discount, minlength=len(contexts)) / total
    return _Level(grams, (counts - discount) / total[place], contexts, rest)


def _discounts(counts: Ints) -> Array:
    """What is taken from a gram seen once, twice, and more often (equation 17), at the index of that count."""
    n1, n2, n3, n4 = (int((counts == k).sum()) for k in (1, 2, 3, 4))
    if not (n1 and n2 and n3 and n4):
        return np.array([0.0, 0.5, 0.5, 0.5])
    y = n1 / (n1 + 2 * n2)
    found = np.array([0.0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3])
    return np.asarray(np.clip(found, [0.0, 0.05, 0.05, 0.05], [0.0, 0.95, 1.95, 2.95]))


def _look(keys: Ints, values: Array, wanted: Ints, otherwise: float) -> Array:
    if not len(keys):
        return np.full(len(wanted), otherwise)
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[place] == wanted, values[place], otherwise)
