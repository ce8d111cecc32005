"""A linear head over frozen embeddings: one safetensors file, a JSON beside it, and the engine that answers with it.

`probe.safetensors` holds float32 tensors: mean and scale (width,), weight (K, width), bias (K,). The logits of an embedding e are
weight @ ((e - mean) / scale) + bias, in the order of `labels` in `probe.json`. Where `pairs` is true there, e is `paired`; where
`multi_label` is, each logit is that of a label for itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tuneladder.errors import Failed
from tuneladder.model.batching import label_places
from tuneladder.model.pieces import Cuts, Piece
from tuneladder.task.multi_label import likely
from tuneladder.task.passages import parts_of, said
from tuneladder.types import Decoding, Embedder, Engine, Turn, Turns

WEIGHTS, FACTS = "probe.safetensors", "probe.json"


@dataclass(frozen=True)
class Linear:
    """mean and scale (width,), weight (K, width), bias (K,); `labels` are the K. `pairs`: of `paired` embeddings; `multi_label`: a
    row has each label for itself."""

    labels: tuple[str, ...]
    mean: np.ndarray[Any, Any]
    scale: np.ndarray[Any, Any]
    weight: np.ndarray[Any, Any]
    bias: np.ndarray[Any, Any]
    pairs: bool = False
    multi_label: bool = False

    def logits(self, embedded: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """(N, K) of embeddings (N, width)."""
        standard = ((embedded - self.mean) / self.scale).astype(np.float64)
        return standard @ self.weight.T.astype(np.float64) + self.bias  # type: ignore[no-any-return]

    def logs(self, embedded: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Natural log-probabilities (N, K) of embeddings (N, width)."""
        logits_NK = self.logits(embedded)
        most_N1 = logits_NK.max(1, keepdims=True)
        return logits_NK - most_N1 - np.log(np.exp(logits_NK - most_N1).sum(1, keepdims=True))  # type: ignore[no-any-return]


def are_pairs(asks: Sequence[Turns]) -> bool:
    """Whether every row has just two parts, as premise and hypothesis are."""
    return bool(asks) and all(len(parts_of(said(ask))) == 2 for ask in asks)


def paired(embedder: Embedder, asks: Sequence[Turns]) -> np.ndarray[Any, Any]:
    """(N, 4 D) float32: of the embeddings u and v of a row's two parts [u, v, |u - v|, u * v] (arXiv:1705.02364, section 3.1), for
    how two texts stand to each other is lost in the mean of both. What a row has beyond a first part is its second; a row of a
    single part is its own second."""
    parts = [parts_of(said(ask)) for ask in asks]
    firsts, seconds = [own[0] for own in parts], ["\n\n".join(own[1:] or own) for own in parts]
    both = embedder.embed([(Turn("user", text),) for text in (*firsts, *seconds)])
    u_ND, v_ND = both[: len(asks)], both[len(asks) :]
    return np.concatenate([u_ND, v_ND, np.abs(u_ND - v_ND), u_ND * v_ND], axis=1)


def save_probe(head: Linear, folder: Path, facts: Mapping[str, Any]) -> None:
    """Write both files; `facts` says how the head was made, for people to read."""
    from safetensors.numpy import save_file

    tensors = {"mean": head.mean, "scale": head.scale, "weight": head.weight, "bias": head.bias}
    save_file({name: np.ascontiguousarray(own, np.float32) for name, own in tensors.items()}, folder / WEIGHTS)
    whole = {"labels": list(head.labels), "pooling": "mean", "width": len(head.mean), "pairs": head.pairs, **facts}
    whole |= {"multi_label": True} if head.multi_label else {}
    (folder / FACTS).write_text(json.dumps(whole, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def open_probe(folder: str) -> Linear:
    """The head in a folder. Raises Failed where it cannot be read."""
    from safetensors.numpy import load_file

    try:
        facts = json.loads((Path(folder) / FACTS).read_text("utf-8"))
        pairs, several = (bool(facts.get(name, False)) for name in ("pairs", "multi_label"))
        return Linear(tuple(facts["labels"]), **load_file(Path(folder) / WEIGHTS), pairs=pairs, multi_label=several)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Failed(f"the linear head in {folder} cannot be opened: {error}") from error


class ProbedEngine:
    """Implements `types.Engine` with a linear head over another engine's embeddings. What it writes is the other's, unless the head
    has several labels a row: then it is the set of them."""

    def __init__(self, engine: Engine, head: Linear) -> None:
        assert isinstance(engine, Embedder)
        self.name = engine.name
        self._engine, self._embedder, self._head = engine, engine, head

    @property
    def calls(self) -> Any:
        return self._engine.calls  # type: ignore[attr-defined]

    def pieces(self, text: str) -> list[Piece]:
        """See `pieces.Cuts`."""
        assert isinstance(self._engine, Cuts)
        return self._engine.pieces(text)

    def embed(self, asks: Sequence[Turns]) -> np.ndarray[Any, Any]:
        return self._embedder.embed(asks)

    def generate(self, asks: Sequence[Turns], decoding: Decoding) -> list[list[str]]:
        if self._head.multi_label:
            return [[likely(row, self._head.labels)] * decoding.samples for row in self._head.logits(self._read(asks)).tolist()]
        return self._engine.generate(asks, decoding)

    def score(self, asks: Sequence[Turns], endings: Sequence[Sequence[str]]) -> list[list[float]]:
        """Natural log-probability of each ending, which is one of the head's labels. Raises BadInput for another."""
        place = label_places(self._head.labels, endings)
        logs_NK = self._head.logs(self._read(asks))
        return [[float(row[place[ending]]) for ending in own] for row, own in zip(logs_NK, endings, strict=True)]

    def _read(self, asks: Sequence[Turns]) -> np.ndarray[Any, Any]:
        return paired(self._embedder, asks) if self._head.pairs else self._embedder.embed(asks)
