"""Which rows are like which: for the shots that are nearest to a row, and for those that differ the most among themselves.

Two ways: `minilm`, the cosine of mean embeddings of the base of that name, where its package is installed, and `bm25`, the words
that two texts share. The encoder works on the CPU in float32 beside whatever else is at work, so that a prompt shows the same
rows on every machine.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from tuneladder.errors import BadInput
from tuneladder.model import memory
from tuneladder.model.batching import unit
from tuneladder.model.encoding import EncoderEngine
from tuneladder.model.inspect import inspect
from tuneladder.model.shelf import Shelf
from tuneladder.task.bm25 import Bm25
from tuneladder.task.shots import source_of
from tuneladder.types import Base, Example, Prompt, Shots, Turn, Variant

Array = np.ndarray[Any, Any]
Similarity = Literal["minilm", "bm25"]
Pick = Callable[[Sequence[Example]], list[tuple[Example, ...]]]
Embed = Callable[[Sequence[str]], Array]

ENCODER = "minilm"
CHUNK = 1024  # rows whose likeness to a pool is in memory at once
STARTS = 4  # of k-means, of which the tightest is kept
LENGTH = 32  # tokens of a row, about, for the plan


def similarity_here() -> Similarity:
    """The better way that this installation has."""
    try:
        inspect(ENCODER)
    except BadInput:
        return "bm25"
    return "minilm"


def content_of(similarity: Similarity) -> str:
    """What decides which rows are alike beside their texts. Raises BadInput where the encoder is not installed."""
    return inspect(ENCODER).content if similarity == "minilm" else "bm25"


def price_of(similarity: Similarity, characters: int) -> tuple[float, int]:
    """Flops to look at texts of so many characters, 4 a token, and the bytes that are held beside the model that answers. Raises
    BadInput where the encoder is not installed."""
    if similarity == "bm25":
        return 0.0, 0
    base = inspect(ENCODER)
    return 2.0 * base.active * characters / 4, memory.hold(base.parameters)


@contextlib.contextmanager
def choosing(shots: Shots | None) -> Iterator[Pick]:
    """What gives each row the shots it is asked with, for as long as rows are asked: the same for all or, of `nearest`, those of
    the pool that are most like it, the nearest last. A row is never shown itself, nor two rows of one source."""
    if shots is None or shots.choose != "nearest":
        shown = shots.chosen if shots else ()
        yield lambda examples: [shown] * len(examples)
        return
    texts = tuple(text_of(example) for example in shots.pool)
    with contextlib.ExitStack() as during:
        if shots.similarity == "bm25":
            alike: Embed = _index(texts).score
        else:
            pool_PD = _embedded(texts)
            embed = during.enter_context(_encoder())

            def alike(asked: Sequence[str]) -> Array:
                return embed(asked) @ pool_PD.T

        def pick(examples: Sequence[Example]) -> list[tuple[Example, ...]]:
            found: list[tuple[Example, ...]] = []
            for start in range(0, len(examples), CHUNK):
                rows = examples[start : start + CHUNK]
                found += [_nearest(shots, row, own) for row, own in zip(rows, alike([text_of(row) for row in rows]), strict=True)]
            return found

        yield pick


@contextlib.contextmanager
def opened(encoder: Base) -> Iterator[EncoderEngine]:
    """An untouched encoder on a shelf of its own: the ladder's lends the model that answers."""
    import torch

    shelf = Shelf("cpu", dtype=torch.float32)
    try:
        with shelf.engine(Variant(encoder, Prompt())) as engine:
            assert isinstance(engine, EncoderEngine)
            yield engine
    finally:
        shelf.close()


def prepare(shots: Shots) -> None:
    """Look at the pool once: who chooses from it later in this process need not."""
    (_index if shots.similarity == "bm25" else _embedded)(tuple(text_of(example) for example in shots.pool))


def spread(examples: Sequence[Example], count: int, *, similarity: Similarity, seed: int) -> tuple[Example, ...]:
    """`count` of the examples that lie apart: of as many clusters (k-means, seeded) the row in the middle of each, as in
    arXiv:2210.03493. Rows that read alike stand for one, until there are too few."""
    from sklearn.cluster import KMeans

    first = {text_of(example): at for at, example in reversed(list(enumerate(examples)))}
    places = sorted(first.values())
    texts = tuple(text_of(examples[at]) for at in places)
    clusters = min(count, len(places))
    if clusters == len(places):
        chosen = places
    else:
        points = _unit_rows(_index(texts).weights) if similarity == "bm25" else _embedded(texts)
        means: Any = KMeans(clusters, n_init=STARTS, random_state=seed).fit(points)
        apart_PC = means.transform(points)
        chosen = []
        for cluster in range(clusters):
            left = [at for at in np.argsort(apart_PC[:, cluster], kind="stable").tolist() if places[at] not in chosen]
            chosen.append(places[left[0]])
    rest = [at for at in range(len(examples)) if at not in chosen]
    return tuple(examples[at] for at in [*chosen, *rest][:count])


def text_of(example: Example) -> str:
    """What a row asks: its user's turns."""
    return "\n".join(turn.text for turn in example.turns if turn.role == "user")


def _nearest(shots: Shots, row: Example, likeness: Array) -> tuple[Example, ...]:
    """By `likeness` (P,) to the pool; of equals the earlier."""
    seen = {source_of(row)}
    found: list[Example] = []
    for at in np.argsort(-likeness, kind="stable"):
        if len(found) == shots.count:
            break
        if (source := source_of(shots.pool[at])) not in seen:
            seen.add(source)
            found.append(shots.pool[at])
    return tuple(reversed(found))


def _unit_rows(weights: Any) -> Any:
    from sklearn.preprocessing import normalize

    return normalize(weights)


@lru_cache(maxsize=4)
def _index(texts: tuple[str, ...]) -> Bm25:
    return Bm25(texts)


@lru_cache(maxsize=4)
def _embedded(texts: tuple[str, ...]) -> Array:
    """(N, width) float32 unit vectors."""
    with _encoder() as embed:
        return embed(texts)


@contextlib.contextmanager
def _encoder() -> Iterator[Embed]:
    """Raises BadInput where the encoder is not installed."""
    with opened(inspect(ENCODER)) as engine:
        yield lambda texts: np.asarray(unit(engine.embed([(Turn("user", text),) for text in texts])))
