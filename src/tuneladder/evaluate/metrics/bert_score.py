"""BERTScore (arXiv:1904.09675, section 3): each token of answer and reference takes the one of the other text that an encoder puts
nearest to it, by cosine; F1 of the two means, the best over a row's references, and its mean over the rows.

As in its authors' code, the marks around a text weigh nothing but may be taken, and nothing is rescaled: of texts that have nothing
to do with each other it is well above 0. White space is a single blank, and a text longer than the encoder's context loses its
middle. A text against itself is 1; where either has no tokens else, it is 0. Shapes: S tokens of the answer, T of the reference.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from tuneladder.errors import BadInput
from tuneladder.evaluate.intervals import Array
from tuneladder.model.batching import unit
from tuneladder.model.encoding import EncoderEngine
from tuneladder.model.inspect import inspect
from tuneladder.model.likeness import opened
from tuneladder.task.read import expand
from tuneladder.types import Base

better = "higher"
best = 1.0
kinds = ()
interval = "bootstrap"

_ROWS = 64  # whose tokens' vectors are in memory at once


@dataclass(frozen=True, kw_only=True)
class Settings:
    """`encoder` is a base of that family: `pocket-encoder`, `minilm`, a folder or a hub id. `layer` counts from 1; 0 is the one
    three quarters up, about where the paper finds the best one (9 of BERT base's 12). With `idf` a token weighs the more, the
    fewer of the references have it."""

    encoder: str = "pocket-encoder"
    layer: int = 0
    idf: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.layer <= self.base.layers:
            raise BadInput(f"bert_score: layer is {self.layer}, and {self.encoder} has {self.base.layers}", "1 is the lowest")

    @property
    def base(self) -> Base:
        found = _inspected(self.encoder)
        if found.family != "encoder":
            raise BadInput(
                f"bert_score: {self.encoder} is a {found.family}", "name an encoder: pocket-encoder, minilm, or a folder"
            )
        return found

    @property
    def full(self) -> Mapping[str, Any]:
        """What a score has to say beside its value: those of two encoders, or of two of their layers, do not compare."""
        place = Path(expand(self.encoder))
        found = {"encoder": str(place.resolve()) if place.is_dir() else self.encoder, "layer": self._depth}
        return found | ({"idf": True} if self.idf else {})

    @property
    def content(self) -> str:
        return self.base.content

    def items(self, answers: Sequence[str], references: Sequence[Sequence[str]], labels: Sequence[str]) -> list[float]:
        rows = [(_plain(answer), [_plain(true) for true in row]) for answer, row in zip(answers, references, strict=True)]
        found: list[float] = []
        with opened(self.base) as engine:
            texts = list(dict.fromkeys(chain.from_iterable((said, *true) for said, true in rows)))
            own = _Texts(engine, texts, [text for _, true in rows for text in true] if self.idf else None)
            for start in range(0, len(rows), _ROWS):
                found += own.scores(rows[start : start + _ROWS], self._depth)
        return found

    @property
    def _depth(self) -> int:
        return self.layer or math.ceil(self.base.layers * 3 / 4)


def greedy(cosines_ST: Array, said_S: Array, true_T: Array) -> tuple[float, float, float]:
    """Precision, recall and F1 of greedy matching under the tokens' weights; 0 where a text has no weight."""
    if not said_S.sum() or not true_T.sum():
        return 0.0, 0.0, 0.0
    precision = float(cosines_ST.max(1) @ said_S / said_S.sum())
    recall = float(cosines_ST.max(0) @ true_T / true_T.sum())
    return precision, recall, 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0


class _Texts:
    """Texts as the encoder's tokens, and what each token weighs; `references` make the weights, where there are any."""

    def __init__(self, engine: EncoderEngine, texts: Sequence[str], references: Sequence[str] | None) -> None:
        coder = engine.coder
        self._engine = engine
        self._before, self._after = len(coder.opening), len(coder.closing)
        self._ids = dict(zip(texts, (row.ids for row in coder.encode_many(texts)), strict=True))
        self._weights = None if references is None else _rarity([self._tokens(text) for text in references])
        self._new = 0.0 if references is None else math.log(len(references) + 1)

    def scores(self, rows: Sequence[tuple[str, Sequence[str]]], layer: int) -> list[float]:
        """Of each row the best F1 over its references."""
        pairs = {(said, true) for said, row in rows for true in row if not self._same(said, true)}
        apart = [text for text in dict.fromkeys(chain.from_iterable(sorted(pairs))) if self._tokens(text)]
        vectors = {text: unit(own) for text, own in zip(apart, self._engine.states(apart, layer), strict=True)}

        def f1(said: str, true: str) -> float:
            if self._same(said, true):
                return 1.0
            if said not in vectors or true not in vectors:
                return 0.0
            return greedy(vectors[said] @ vectors[true].T, self._weighed(said), self._weighed(true))[2]

        return [max(f1(said, true) for true in row) for said, row in rows]

    def _same(self, said: str, true: str) -> bool:
        return self._ids[said] == self._ids[true]

    def _tokens(self, text: str) -> list[int]:
        return self._ids[text][self._before : len(self._ids[text]) - self._after]

    def _weighed(self, text: str) -> Array:
        own = [1.0 if self._weights is None else self._weights.get(token, self._new) for token in self._tokens(text)]
        return np.array([*[0.0] * self._before, *own, *[0.0] * self._after])


def _rarity(references: Sequence[Sequence[int]]) -> dict[int, float]:
    """log((M + 1) / (m + 1)) of a token that m of M references have: the paper's idf, smoothed as its authors' code has it."""
    counts = Counter(token for own in references for token in set(own))
    return {token: math.log((len(references) + 1) / (count + 1)) for token, count in counts.items()}


def _plain(text: str) -> str:
    return " ".join(text.split())


@lru_cache(maxsize=8)
def _inspected(encoder: str) -> Base:
    return inspect(encoder)
