"""Sentence embeddings from a teacher: pieces of text, where a teacher puts them, and the loss that brings a student there.

Shapes: B rows, T tokens, D the student's width, W the teacher's.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from tuneladder.model.batching import TILE, mean_of, tiled
from tuneladder.model.rows import keeping, reading
from tuneladder.task.passages import TextCoder
from tuneladder.train.batches import Micro, bundle, narrower
from tuneladder.train.masking import hide
from tuneladder.types import Document

_SENTENCE = re.compile(r"(?<=[.!?])[\"'”’)]*\s+|\n\s*\n")
OVERHEAD = 256  # tokens that a pass is worth: rows are compared with those of their own pass, so passes should not be small
PIECE = (20, 450)  # characters of a piece, from a phrase to a paragraph


def pieces(text: str, draw: random.Random) -> list[str]:
    """The text in runs of whole sentences, each as long as a draw between the PIECE bounds says (its logarithm is uniform)."""
    made: list[str] = []
    start = 0
    least, most = PIECE

    def wanted() -> float:
        return float(least * (most / least) ** draw.random())

    size = wanted()
    ends = [*(found.end() for found in _SENTENCE.finditer(text)), len(text)]
    for end in ends:
        if end - start >= size or end == len(text):
            if piece := text[start:end].strip()[: 2 * most]:
                made.append(piece)
            start, size = end, wanted()
    return made


def drawn(documents: Iterable[Document], mixture: Mapping[str, float], *, characters: int, seed: int) -> list[str]:
    """Pieces of about `characters` in all, each source by its weight; one is read whole before any of it comes again."""
    by_source: dict[str, list[str]] = {}
    for document in documents:
        own = random.Random(f"{seed} {document.source} {len(by_source.get(document.source, ()))} pieces")
        by_source.setdefault(document.source, []).extend(pieces(document.text, own))
    weights = {name: mixture.get(name, 1.0) for name, own in by_source.items() if own}
    taken: list[str] = []
    for name in sorted(weights):
        left = characters * weights[name] / sum(weights.values())
        order = random.Random(f"{seed} {name} order")
        while left > 0:
            for piece in order.sample(by_source[name], len(by_source[name])):
                taken.append(piece)
                left -= len(piece)
                if left <= 0:
                    break
    random.Random(f"{seed} rows").shuffle(taken)
    return taken


@dataclass(frozen=True)
class _Aimed:
    """A row's tokens, and its number among all."""

    ids: np.ndarray[Any, Any]
    at: int


class Aims:
    """Rows of text with where a teacher puts each, `batch` to a step; half of the rows have tokens hidden.

    `ids` are the rows' tokens, `aims` (U, W) the teacher's unit vectors, `which` the row of `aims` that each text has.
    """

    def __init__(
        self,
        ids: Sequence[np.ndarray[Any, Any]],
        aims: np.ndarray[Any, Any],
        which: Sequence[int],
        coder: TextCoder,
        *,
        batch: int,
        tokens: int,
        vocabulary: int,
        seed: int,
    ) -> None:
        self.ids, self.aims, self.which, self.coder = ids, aims, which, coder
        self.batch, self.tokens, self.vocabulary, self.seed = min(batch, len(ids)), tokens, vocabulary, seed

    def __len__(self) -> int:
        return max(1, len(self.ids) // self.batch)

    def narrow(self) -> bool:
        before, self.tokens = self.tokens, narrower(self.tokens, map(len, self.ids))
        return self.tokens < before

    def __getitem__(self, step: int) -> list[Micro]:
        rows = [_Aimed(self.ids[at], at) for at in range(step * self.batch, (step + 1) * self.batch)]
        return bundle(rows, tokens=self.tokens, overhead=OVERHEAD, pad=self._micro)

    def _micro(self, group: Sequence[_Aimed]) -> Micro:
        assert self.coder.mask is not None
        length = tiled(max(len(row.ids) for row in group))
        ids_BT = np.zeros((len(group), length), dtype=np.int64)
        mask_BT = np.zeros((len(group), length), dtype=np.int64)
        places: list[np.ndarray[Any, Any]] = []
        targets: list[np.ndarray[Any, Any]] = []
        for row, aimed in enumerate(group):
            own = aimed.ids.astype(np.int64)
            mask_BT[row, : len(own)] = 1
            free = np.flatnonzero(~np.isin(own, list(self.coder.specials)))
            draw = np.random.default_rng([self.seed, aimed.at])
            if len(free) and draw.random() < 0.5:
                hidden, chosen = hide(own, free, mask=self.coder.mask, vocabulary=self.vocabulary, draw=draw)
                places.append(row * length + chosen)
                targets.append(own[chosen])
                own = hidden
            ids_BT[row, : len(own)] = own
        nothing = np.zeros(0, dtype=np.int64)
        return Micro(
            torch.from_numpy(ids_BT),
            torch.from_numpy(np.concatenate([nothing, *places])),
            torch.from_numpy(np.concatenate([nothing, *targets])),
            mask=torch.from_numpy(mask_BT),
            aims=torch.from_numpy(self.aims[[self.which[row.at] for row in group]].astype(np.float32)),
        )


class Student(torch.nn.Module):
    """An encoder with the linear map from its width to the teacher's; the map is thrown away when the encoder has learned."""

    def __init__(self, encoder: Any, *, width: int, aims: int, seed: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.map = torch.nn.Linear(width, aims, bias=False)
        torch.nn.init.normal_(self.map.weight, std=width**-0.5, generator=torch.Generator().manual_seed(seed))


class TowardTeacher:
    """The loss of a micro-batch, summed over its rows: 1 - cosine of the mapped embedding and its aim; `similarity` times the mean
    squared difference between the rows' own cosines with each other and the teacher's, which is what makes the embedding useful
    without the map; `hidden` times the cross-entropy of the hidden tokens, `per_row` of which a row has on average."""

    def __init__(self, *, similarity: float, hidden: float, per_row: float) -> None:
        self.similarity, self.hidden, self.per_row = similarity, hidden, per_row

    def __call__(self, student: Student, micro: Micro) -> torch.Tensor:
        assert micro.aims is not None
        assert micro.rows is not None
        assert micro.mask is not None
        with keeping(student.encoder.base_model) as kept, reading(student.encoder, micro.rows):
            logits_NV = student.encoder(input_ids=micro.ids, attention_mask=micro.mask).logits
        own_BD = mean_of(kept[0].last_hidden_state, micro.mask)
        with torch.autocast(micro.ids.device.type, enabled=False):  # differences of cosines are lost in eight bits
            near_B = functional.cosine_similarity(functional.linear(own_BD, student.map.weight), micro.aims)
            unit_BD = functional.normalize(own_BD, dim=-1)
            off_BB = unit_BD @ unit_BD.T - micro.aims @ micro.aims.T
            among_B = off_BB.square().sum(1) / max(1, len(off_BB) - 1)
            tokens = functional.cross_entropy(logits_NV.float(), micro.targets, reduction="sum")
            return (1 - near_B + self.similarity * among_B).sum() + self.hidden / self.per_row * tokens


def encoded(texts: Sequence[str], coder: TextCoder, *, length: int, vocabulary: int) -> list[np.ndarray[Any, Any]]:
    """The tokens of each text with its marks, at most `length` of them, in as few bytes as the vocabulary allows."""
    width = np.uint16 if vocabulary <= 1 << 16 else np.uint32
    limit = max(TILE, length // TILE * TILE)
    found: list[np.ndarray[Any, Any]] = []
    for at in range(0, len(texts), 4096):
        found += [np.array(row.ids, dtype=width) for row in coder.encode_many(texts[at : at + 4096], limit=limit)]
    return found
