"""Sentence embeddings from a teacher: pieces of text, where a teacher puts them, and the loss that brings a student there, alone or
beside what the student learns of running text.

Shapes: B rows, T tokens, S tokens of all rows, D the student's width, W the teacher's.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from tuneladder.errors import BadInput, Refused
from tuneladder.model.batching import TILE, mean_of, padded, tiled, unit
from tuneladder.model.inspect import inspect
from tuneladder.model.rows import keeping, reading
from tuneladder.model.shelf import Live
from tuneladder.model.whole import weighed
from tuneladder.store import digest
from tuneladder.task.encode import Encoded
from tuneladder.task.passages import TextCoder
from tuneladder.train.batches import Batches, Micro, bundle, narrower, packed
from tuneladder.train.loop import Loss
from tuneladder.train.masking import hide
from tuneladder.types import Base, Document, Embedder, Family, Kit, Prompt, Turn, Variant

_SENTENCE = re.compile(r"(?<=[.!?])[\"'”’)]*\s+|(?<=[。！？।؟۔])[”’」』）]*\s*|\n\s*\n")
OVERHEAD = 256  # tokens that a pass is worth: rows are compared with those of their own pass, so passes should not be small
PASS_TOKENS = 2048  # of the rows that are compared with each other: the same on every machine, however many lanes it has
PIECE = (20, 450)  # characters of a piece, from a phrase to a paragraph
ROWS_TOKENS = 33  # tokens of a piece, about, for the plan
CHUNK = 16_384  # texts that a teacher embeds under one key: what a kill can cost
HELD_OUT = 512  # pieces of dev text
SIMILARITY = 4.0  # how much the rows' cosines with each other weigh beside the distance to the teacher
LONGEST = 128  # tokens of a piece that is read beside running text


def teacher_of(name: str, step: str) -> Base:
    """The teacher of a step. Raises Refused where there is none of this name, or it is no encoder."""
    try:
        teacher = weighed(inspect(name))
    except BadInput as error:
        raise Refused(f"{step} has no teacher: {error.message}", error.hint) from error
    if teacher.family != "encoder":
        raise Refused(f"{name} is of the {teacher.family} family, and a teacher is an encoder", "for example minilm")
    return teacher


def embedded(teacher: Base, texts: Sequence[str], kit: Kit) -> tuple[np.ndarray[Any, Any], list[int]]:
    """The teacher's unit vectors (U, W) of the U different texts, and of each text which is its. Made once, by chunks; the shelf
    lends one model at a time, so before the student is borrowed."""
    place = {text: at for at, text in enumerate(dict.fromkeys(texts))}
    different = list(place)
    aims = np.zeros((len(different), teacher.width), np.float16)
    for start in range(0, len(different), CHUNK):
        chunk = different[start : start + CHUNK]
        key = f"aims-{digest(teacher.content, str(kit.shelf.dtype), chunk)}"

        def make(folder: Path, chunk: list[str] = chunk) -> Mapping[str, Any]:
            with kit.shelf.engine(Variant(teacher, Prompt())) as engine:
                assert isinstance(engine, Embedder)
                vectors = engine.embed([(Turn("user", text),) for text in chunk])
            np.save(folder / "aims.npy", unit(vectors).astype(np.float16))
            return {"texts": len(chunk)}

        aims[start : start + CHUNK] = np.load(kit.store.once(key, make) / "aims.npy")
    return aims, [place[text] for text in texts]


def pieces(text: str, draw: random.Random) -> list[str]:
    """The text in runs of whole sentences, each as long as a draw between the PIECE bounds says (its logarithm is uniform)."""
    made: list[str] = []
    start = 0
    least, most = PIECE

    def wanted() -> float:
        return float(least * (most / least) ** draw.random())

    size = wanted()
    for end in _ends(text, most):
        if end - start >= size or end == len(text):
            if piece := text[start:end].strip():
                made.append(piece)
            start, size = end, wanted()
    return made


def _ends(text: str, most: int) -> Iterator[int]:
    """Where it may be cut: behind its sentences, and in what goes on for more than `most` characters behind a word, or anywhere
    where words are not set apart."""
    last = 0
    for end in (*(found.end() for found in _SENTENCE.finditer(text)), len(text)):
        while end - last > most:
            last = max(text.rfind(blank, last, last + most) for blank in " \n\t") + 1 or last + most
            yield last
        last = end
        yield end


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
class Aimed:
    """A row's tokens, and its number among all."""

    ids: np.ndarray[Any, Any]
    at: int


class Aims:
    """Rows of text with where a teacher puts each, `batch` to a step, the first again after the last.

    `ids` are the rows' tokens, `aims` (U, W) the teacher's unit vectors, `which` the row of `aims` that each text has, `lay` how
    rows are laid in tensors: its passes want no more than their aims.
    """

    def __init__(
        self,
        ids: Sequence[np.ndarray[Any, Any]],
        aims: np.ndarray[Any, Any],
        which: Sequence[int],
        lay: Callable[[Sequence[Aimed]], Micro],
        *,
        batch: int,
        tokens: int = PASS_TOKENS,
    ) -> None:
        self.ids, self.aims, self.which, self.lay = ids, aims, which, lay
        self.batch, self.tokens = min(batch, len(ids)), tokens

    def __len__(self) -> int:
        return max(1, len(self.ids) // self.batch)

    def narrow(self) -> bool:
        before, self.tokens = self.tokens, narrower(self.tokens, map(len, self.ids))
        return self.tokens < before

    def __getitem__(self, step: int) -> list[Micro]:
        first = step % len(self) * self.batch
        rows = [Aimed(self.ids[at], at) for at in range(first, first + self.batch)]
        return bundle(rows, tokens=self.tokens, overhead=OVERHEAD, pad=self._micro)

    def _micro(self, group: Sequence[Aimed]) -> Micro:
        aims_BW = torch.from_numpy(self.aims[[self.which[row.at] for row in group]].astype(np.float32))
        return replace(self.lay(group), aims=aims_BW)


def laid(group: Sequence[Aimed], *, side_by_side: bool = False) -> Micro:
    """Rows of which nothing else is learned, padded with a mask, or packed."""
    nothing = torch.zeros(0, dtype=torch.long)
    if side_by_side:
        rows = [Encoded(own.ids.tolist(), [False] * len(own.ids), 0) for own in group]
        return replace(packed(rows), rows=nothing, targets=nothing)
    ids_BT, mask_BT = padded([own.ids.tolist() for own in group], tile=TILE)
    return Micro(ids_BT, nothing, nothing, mask=mask_BT)


def hidden_in(group: Sequence[Aimed], *, coder: TextCoder, vocabulary: int, seed: int) -> Micro:
    """Rows half of which have tokens hidden, which are learned."""
    assert coder.mask is not None
    length = tiled(max(len(row.ids) for row in group))
    ids_BT = np.zeros((len(group), length), dtype=np.int64)
    mask_BT = np.zeros((len(group), length), dtype=np.int64)
    places: list[np.ndarray[Any, Any]] = []
    targets: list[np.ndarray[Any, Any]] = []
    for row, aimed in enumerate(group):
        own = aimed.ids.astype(np.int64)
        mask_BT[row, : len(own)] = 1
        free = np.flatnonzero(~np.isin(own, list(coder.specials)))
        draw = np.random.default_rng([seed, aimed.at])
        if len(free) and draw.random() < 0.5:
            hidden, chosen = hide(own, free, mask=coder.mask, vocabulary=vocabulary, draw=draw)
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
    )


class Student(torch.nn.Module):
    """A model with the linear map from its width to the teacher's; the map is thrown away when the model has learned."""

    def __init__(self, model: Any, *, width: int, aims: int, seed: int) -> None:
        super().__init__()
        self.model = model
        self.map = torch.nn.Linear(width, aims, bias=False)
        torch.nn.init.normal_(self.map.weight, std=width**-0.5, generator=torch.Generator().manual_seed(seed))


def off_aims(own_BD: torch.Tensor, map: torch.Tensor, aims_BW: torch.Tensor, *, similarity: float) -> torch.Tensor:
    """How far each row is from where it should lie (B,): 1 - cosine of the mapped embedding and its aim, and `similarity` times the
    mean squared difference between the rows' own cosines with each other and the teacher's, which is what makes the embedding
    useful without the map (W, D)."""
    with torch.autocast(own_BD.device.type, enabled=False):  # differences of cosines are lost in eight bits
        near_B = functional.cosine_similarity(functional.linear(own_BD, map), aims_BW)
        unit_BD = functional.normalize(own_BD, dim=-1)
        off_BB = unit_BD @ unit_BD.T - aims_BW @ aims_BW.T
        return 1 - near_B + similarity * off_BB.square().sum(1) / max(1, len(off_BB) - 1)


class TowardTeacher:
    """The loss of an encoder's micro-batch, summed over its rows: `off_aims`, and `hidden` times the cross-entropy of the hidden
    tokens, `per_row` of which a row has on average."""

    def __init__(self, *, similarity: float, hidden: float, per_row: float) -> None:
        self.similarity, self.hidden, self.per_row = similarity, hidden, per_row

    def __call__(self, student: Student, micro: Micro) -> torch.Tensor:
        assert micro.aims is not None
        assert micro.rows is not None
        assert micro.mask is not None
        with keeping(student.model.base_model) as kept, reading(student.model, micro.rows):
            logits_NV = student.model(input_ids=micro.ids, attention_mask=micro.mask).logits
        own_BD = mean_of(kept[0].last_hidden_state, micro.mask)
        off_B = off_aims(own_BD, student.map.weight, micro.aims, similarity=self.similarity)
        tokens = functional.cross_entropy(logits_NV.float(), micro.targets, reduction="sum")
        return off_B.sum() + self.hidden / self.per_row * tokens


class Beside:
    """The passes of running text, and after them those of rows with aims, which count `toward` times as much as all of the text."""

    def __init__(self, text: Batches, aims: Aims, *, toward: float) -> None:
        self.text, self.aims, self.toward = text, aims, toward

    def __len__(self) -> int:
        return len(self.text)

    def narrow(self) -> bool:
        return any([self.text.narrow(), self.aims.narrow()])

    def __getitem__(self, step: int) -> list[Micro]:
        return beside(self.text[step], self.aims[step], toward=self.toward)


def beside(text: Sequence[Micro], aimed: Sequence[Micro], *, toward: float) -> list[Micro]:
    """Passes of text and passes of rows with aims, all of which together count `toward` times as much as the text."""
    each = toward * sum(micro.learned for micro in text) / max(1, sum(micro.learned for micro in aimed))
    return [*text, *(replace(micro, weights=torch.full((int(micro.learned),), each)) for micro in aimed)]


class AlsoTowardTeacher:
    """`loss` of a pass of text, and of one that has aims `off_aims` of what the model's trunk, or a seq2seq's encoder, makes of its
    rows, each row times its weight."""

    def __init__(self, loss: Loss, *, similarity: float) -> None:
        self.loss, self.similarity = loss, similarity

    def __call__(self, student: Student, micro: Micro) -> torch.Tensor:
        if micro.aims is None:
            return self.loss(student.model, micro)
        assert micro.weights is not None
        own_BD = embeddings(student.model, micro)[: len(micro.aims)]  # the last packed row may be there to fill a tile
        return (micro.weights * off_aims(own_BD, student.map.weight, micro.aims, similarity=self.similarity)).sum()


def embeddings(model: Any, micro: Micro) -> torch.Tensor:
    """The mean of the last layer over the tokens of each row (B, D), float32: a seq2seq's encoder's."""
    if model.config.is_encoder_decoder:
        assert micro.mask is not None
        states_BTD = model.get_encoder()(input_ids=micro.ids, attention_mask=micro.mask).last_hidden_state
        return mean_of(states_BTD, micro.mask)
    if micro.grid is None:
        assert micro.mask is not None  # the padding stands on the right, where under causal attention no token sees it
        return mean_of(model.base_model(input_ids=micro.ids, use_cache=False).last_hidden_state, micro.mask)
    grid = micro.grid
    told = {"grid": grid, "position_ids": grid.positions}
    hidden_SD = model.base_model(input_ids=micro.ids, use_cache=False, **told).last_hidden_state[0].float()
    row_S = grid.cells // grid.longest
    sums_BD: torch.Tensor = hidden_SD.new_zeros(grid.rows, hidden_SD.shape[1]).index_add(0, row_S, hidden_SD)
    return sums_BD / torch.bincount(row_S, minlength=grid.rows)[:, None]


Read = Callable[[Sequence[str]], list[list[int]]]  # texts to their tokens


def reading_of(live: Live, family: Family, *, length: int) -> Read:
    """How a student reads a piece, at most `length` tokens of it: as it reads any text when it embeds it."""
    limit = max(TILE, length // TILE * TILE)
    if family == "decoder":
        return lambda texts: [live.coder.encode_whole(text)[:limit] for text in texts]
    if family == "seq2seq":
        coder = live.pairs
        room = limit - len(coder.opening) - len(coder.closing)
        return lambda texts: [[*coder.opening, *own[:room], *coder.closing] for own in coder.plain(texts)]
    return lambda texts: [row.ids for row in live.texts.encode_many(texts, limit=limit)]


def encoded(texts: Sequence[str], read: Read, *, vocabulary: int) -> list[np.ndarray[Any, Any]]:
    """The tokens of each text, in as few bytes as the vocabulary allows."""
    width = np.uint16 if vocabulary <= 1 << 16 else np.uint32
    found: list[np.ndarray[Any, Any]] = []
    for at in range(0, len(texts), 4096):
        found += [np.array(own, dtype=width) for own in read(texts[at : at + 4096])]
    return found
