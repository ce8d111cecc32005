"""The outsiders' view of labelled rows: TF-IDF and an encoder's embeddings, each with logistic regression out of fold and with the
nearest labelled rows. They are trained here, and handed to `evaluate.disagreements`, which trains nothing."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tuneladder.evaluate.disagreements import NEAREST, Neighbour, View
from tuneladder.model.ask import turns_of
from tuneladder.model.shelf import Shelf
from tuneladder.store import Store, digest
from tuneladder.types import Embedder, Example, Prompt, Variant

FOLDS = 5
MOST = 20_000  # labelled rows that are learned from; of more, so many are drawn
STRENGTHS = {"TF-IDF": 10.0, "encoder": 0.003}  # scikit-learn's C
_BLOCK = 500  # rows whose likeness to all others is held at once

Matrix = Any  # (rows, features): an array, or scipy's sparse rows


def pool(asked: Sequence[Example], others: Sequence[Example], *, seed: int) -> list[Example]:
    """The rows to learn from: those asked about first, then the others, or as many drawn of them as there is room for."""
    room = max(0, MOST - len(asked))
    drawn = list(others) if len(others) <= room else random.Random(seed).sample(list(others), room)
    return [*asked, *drawn]


def views(rows: Sequence[Example], asked: int, labels: Sequence[str], embedded: Matrix | None, *, seed: int) -> tuple[View, ...]:
    """What TF-IDF makes of the first `asked` of the rows, and what the embeddings (rows, width) do, where there are any. TF-IDF is
    left out where there are no words to count."""
    features = {"TF-IDF": _tfidf(rows), "encoder": None if embedded is None else _standard(embedded)}
    shown = {"TF-IDF": features["TF-IDF"], "encoder": None if embedded is None else _centred(embedded)}
    return tuple(
        View(name, out_of_fold(own, rows, asked, labels, STRENGTHS[name], seed=seed), _nearest(shown[name], rows, asked))
        for name, own in features.items()
        if own is not None
    )


def embeddings(variant: Variant, rows: Sequence[Example], shelf: Shelf, store: Store) -> Matrix:
    """What an untouched encoder makes of the rows, (rows, width), made once."""
    plain = Prompt()
    asks = [turns_of(plain, row) for row in rows]
    key = f"embeddings-{digest(variant.base.content, str(shelf.dtype), shelf.device, asks)}"

    def make(folder: Any) -> dict[str, Any]:
        with shelf.engine(variant) as engine:
            assert isinstance(engine, Embedder)
            np.save(folder / "embeddings.npy", engine.embed(asks))
        return {"rows": len(asks)}

    return np.load(store.once(key, make) / "embeddings.npy")


def out_of_fold(
    features: Matrix, rows: Sequence[Example], asked: int, labels: Sequence[str], strength: float, *, seed: int
) -> np.ndarray[Any, Any]:
    """(asked, K): the probability of each label by a logistic regression that learned from the other folds."""
    from sklearn.linear_model import LogisticRegression

    place = {label: k for k, label in enumerate(labels)}
    right = np.array([place[row.references[0]] for row in rows])
    fold = _folds(right, seed)
    found = np.zeros((asked, len(labels)))
    for number in range(FOLDS):
        learned, wanted = np.flatnonzero(fold != number), np.flatnonzero(fold[:asked] == number)
        seen = np.unique(right[learned])
        if not len(wanted) or not len(seen):
            continue
        if len(seen) == 1:
            found[wanted, seen[0]] = 1.0
            continue
        model: Any = LogisticRegression(C=strength, max_iter=1000)
        model.fit(features[learned], right[learned])
        found[np.ix_(wanted, model.classes_)] = model.predict_proba(features[wanted])
    return found


def _folds(right: np.ndarray[Any, Any], seed: int) -> np.ndarray[Any, Any]:
    """A fold for each row, every label dealt evenly."""
    order = np.lexsort((np.random.default_rng(seed).random(len(right)), right))
    fold = np.empty(len(right), dtype=np.int64)
    fold[order] = np.arange(len(right)) % FOLDS
    return fold


def _nearest(features: Matrix, rows: Sequence[Example], asked: int) -> tuple[tuple[Neighbour, ...], ...]:
    """The NEAREST other rows of each of the first `asked`, whose features have length 1."""
    many = min(NEAREST, len(rows) - 1)
    texts = [_text(row) for row in rows]
    found = []
    for start in range(0, asked, _BLOCK):
        block = features[start : min(asked, start + _BLOCK)] @ features.T
        like: Any = block if isinstance(block, np.ndarray) else block.toarray()
        like[np.arange(len(like)), start + np.arange(len(like))] = -np.inf
        for own in like:
            near = np.argpartition(-own, many - 1)[:many] if many else np.empty(0, dtype=np.int64)
            near = near[np.argsort(-own[near], kind="stable")]
            found.append(tuple(Neighbour(texts[k], rows[k].references[0], float(own[k])) for k in near))
    return tuple(found)


def _tfidf(rows: Sequence[Example]) -> Matrix | None:
    from sklearn.feature_extraction.text import TfidfVectorizer

    words: Any = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2))
    texts = [_text(row) for row in rows]
    analyse: Callable[[str], Sequence[str]] = words.build_analyzer()
    return words.fit_transform(texts) if any(analyse(text) for text in texts) else None


def _standard(embedded: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    scale = embedded.std(0)
    return np.asarray((embedded - embedded.mean(0)) / np.where(scale > 1e-6, scale, 1.0))


def _centred(embedded: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Less their mean, which all texts have in common, and of length 1."""
    off = embedded - embedded.mean(0)
    length = np.linalg.norm(off, axis=1, keepdims=True)
    return np.asarray(off / np.where(length > 1e-9, length, 1.0))


def _text(row: Example) -> str:
    return "\n".join(turn.text for turn in row.turns)
