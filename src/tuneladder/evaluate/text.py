"""How well a model knows plain text: bits per byte and perplexity of held-out documents, by source, beside xz and an
n-gram model."""

from __future__ import annotations

import lzma
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

from tuneladder.errors import BadInput
from tuneladder.evaluate.find import find_metric
from tuneladder.evaluate.measure import rate
from tuneladder.evaluate.ngram import CAP, ByteModel
from tuneladder.task.corpus import sampled
from tuneladder.types import Answer, Cost, Document, Marked, Measurement, Score

_METRIC = "bits_per_byte"
_BY_TOKEN = "perplexity"


@runtime_checkable
class Reader(Protocol):
    """An engine that can also read."""

    name: str

    def read(self, texts: Sequence[str]) -> list[float]:
        """Natural log-probability of each whole text."""
        ...


@runtime_checkable
class Tokenized(Protocol):
    """An engine that also says how many tokens what it reads has."""

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Of each text the tokens whose log-probabilities `read` adds up."""
        ...


def measure_text(reader: Reader, documents: Sequence[Document], *, seed: int) -> Measurement:
    """Bits per byte of all documents as `bits_per_byte`, and of each source as `bits_per_byte[source]` where there are several; and
    `perplexity` likewise, of a reader that says what its tokens are.

    An answer kept is the document's natural log-probability; its `input` is the source, its `reference` how the document begins.
    """
    measured = _read(reader.name, reader.read, documents, seed)
    if not isinstance(reader, Tokenized):
        return measured
    read = [document for document in documents if document.text]
    sizes = reader.lengths([document.text for document in read])
    answers = [f"{marked.answer.text} {size}" for marked, size in zip(measured.answers, sizes, strict=True)]
    return replace(measured, quality={**measured.quality, **_rated(_BY_TOKEN, answers, read, seed)})


def text_baselines(train: Sequence[Document], held_out: Sequence[Document], *, seed: int) -> dict[str, Measurement]:
    """What needs no neural network: `xz` on the held-out bytes of each source, and `ngram`, an order-5 model of at most CAP of the
    train bytes."""
    start = time.perf_counter()
    model = ByteModel.fit(sampled(train, characters=CAP, seed=f"{seed} ngram"), seed=seed)
    fitting = time.perf_counter() - start
    ngram = _read("order-5 n-gram", lambda texts: [-bits * math.log(2) for bits in model.bits(texts)], held_out, seed, fitting)
    return {"xz": _xz(held_out), "ngram": ngram}


def _read(
    name: str, read: Callable[[Sequence[str]], list[float]], documents: Sequence[Document], seed: int, before: float = 0.0
) -> Measurement:
    documents = [document for document in documents if document.text]
    if not documents:
        raise BadInput("there is no held-out text to measure", "give a dev and a test split of the text")
    start = time.perf_counter()
    answers = [f"{value:.6f}" for value in read([document.text for document in documents])]
    seconds = time.perf_counter() - start
    quality = _rated(_METRIC, answers, documents, seed)
    marked = tuple(
        Marked(str(row), document.source, document.text[:160], Answer(answer), None)
        for row, (document, answer) in enumerate(zip(documents, answers, strict=True))
    )
    return Measurement(quality, {}, None, Cost(seconds=before + seconds), Cost(seconds=seconds / len(documents)), name, marked)


def _rated(name: str, answers: Sequence[str], documents: Sequence[Document], seed: int) -> dict[str, Score]:
    """The metric of all documents, and of each source."""
    metric = find_metric(name)
    return {
        called: rate(metric, [answers[row] for row in rows], [(documents[row].text,) for row in rows], seed=seed)
        for called, rows in _by_source(name, documents).items()
    }


def _by_source(name: str, documents: Sequence[Document]) -> dict[str, list[int]]:
    sources = sorted({document.source for document in documents})
    rows = {name: list(range(len(documents)))}
    if len(sources) > 1:
        for source in sources:
            rows[f"{name}[{source}]"] = [row for row, document in enumerate(documents) if document.source == source]
    return rows


def _xz(documents: Sequence[Document]) -> Measurement:
    start = time.perf_counter()
    documents = [document for document in documents if document.text]
    quality = {}
    for name, rows in _by_source(_METRIC, documents).items():
        data = b"".join(documents[row].text.encode("utf-8", "surrogatepass") for row in rows)
        value = 8 * len(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME)) / len(data)
        # The size of a compressed file is a fact of these bytes: documents share one dictionary and cannot be drawn again.
        quality[name] = Score(value, value, value, len(rows), "exact")
    seconds = time.perf_counter() - start
    return Measurement(quality, {}, None, Cost(seconds=seconds), Cost(seconds=seconds / len(documents)), "xz -9e")
