"""Okapi BM25 (Robertson and Zaragoza 2009, doi:10.1561/1500000019): which texts share the rarer words of another."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from tuneladder.task.scripts import DENSE

K1 = 1.5  # how soon a word that is said again says no more
B = 0.75  # how much a long text is held against it
# a script that is written without blanks gives a word for each of its characters
_WORD = re.compile(rf"[{DENSE}]|[^\W{DENSE}]+")


class Bm25:
    """An index over texts. `weights` (texts, words) is what each word counts in each text; a score is the sum over the words that
    are asked for. The rarity of a word is Lucene's, which is never negative."""

    def __init__(self, texts: Sequence[str]) -> None:
        counts = [Counter(words_in(text)) for text in texts]
        self._place = {word: at for at, word in enumerate(sorted({word for own in counts for word in own}))}
        found = self._matrix(counts)
        lengths = np.asarray(found.sum(1)).ravel()
        texts_with = np.asarray((found > 0).sum(0)).ravel()
        rarity = np.log1p((len(texts) - texts_with + 0.5) / (texts_with + 0.5))
        rows, columns = found.nonzero()
        said = found.data
        norm = 1 - B + B * lengths[rows] / max(1.0, lengths.mean() if len(texts) else 1.0)
        self.weights = csr_matrix((rarity[columns] * said * (K1 + 1) / (said + K1 * norm), (rows, columns)), shape=found.shape)

    def score(self, texts: Sequence[str]) -> np.ndarray[Any, Any]:
        """(asked, indexed): how well each text of the index fits each that is asked for."""
        asked = self._matrix([dict.fromkeys(words_in(text), 1) for text in texts])
        return np.asarray((asked @ self.weights.T).todense())

    def _matrix(self, counts: Sequence[dict[str, int]]) -> Any:
        """(texts, words) float64 of the words that the index knows."""
        found = [
            (row, self._place[word], count) for row, own in enumerate(counts) for word, count in own.items() if word in self._place
        ]
        rows, columns, values = zip(*found, strict=True) if found else ((), (), ())
        shape = (len(counts), len(self._place))
        return csr_matrix(
            (np.asarray(values, np.float64), (np.asarray(rows, np.int64), np.asarray(columns, np.int64))), shape=shape
        )


def words_in(text: str) -> list[str]:
    """The words of a text, in any case."""
    return _WORD.findall(text.casefold())
