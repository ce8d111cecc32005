"""Sentence embeddings distilled from a teacher (arXiv:2004.09813, on one language): an encoder's mean embedding, through a linear
map that is thrown away afterwards, learns to lie where the teacher's does, next to masked language modelling."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from tuneladder.errors import BadInput, Refused
from tuneladder.model import memory
from tuneladder.model.attach import merged
from tuneladder.model.batching import unit
from tuneladder.model.hardware import device, has_bf16
from tuneladder.model.inspect import inspect
from tuneladder.model.lanes import lanes_for
from tuneladder.store import digest
from tuneladder.train.distilling import Aims, Student, TowardTeacher, drawn, encoded
from tuneladder.train.loop import Course, learn, save_weights, with_weights
from tuneladder.train.masking import SHARE
from tuneladder.train.supervised import check, pad_attention, refuse_unmerged
from tuneladder.types import Base, Cost, Document, Embedder, Family, Kit, Pace, Prompt, Task, Turn, Variant

PASS_TOKENS = 2048  # of the rows that are compared with each other: the same on every machine, however many lanes it has
CHUNK = 16_384  # texts that a teacher embeds under one key: what a kill can cost
ROWS_TOKENS = 33  # tokens of a piece, about, for the plan
HELD_OUT = 512  # pieces of dev text


@dataclass(frozen=True, kw_only=True)
class SentenceDistil:
    """`teacher`: an encoder, by the name that a recipe gives a base. `tokens` are the tokens seen, each text `readings` times, with
    other tokens hidden; `batch_size` counts texts, `length` the most tokens of one. `similarity` and `hidden` weigh the rows'
    cosines with each other and the hidden tokens beside the distance to the teacher."""

    changes: ClassVar = "weights"
    needs: ClassVar = "text"
    families: ClassVar[tuple[Family, ...]] = ("encoder",)
    reads: ClassVar = ("train", "dev")
    version: ClassVar = 5

    teacher: str = "minilm"
    tokens: int = 15_000_000
    readings: int = 1
    length: int = 128
    batch_size: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 0.1
    warmup: float = 0.03
    similarity: float = 4.0
    hidden: float = 0.1
    looks: int = 20

    def __post_init__(self) -> None:
        above = ("tokens", "readings", "batch_size", "learning_rate", "looks", "length")
        check(self, "sentence_distil", above=above, at_least=("weight_decay", "similarity", "hidden"), shares=("warmup",))

    def plan(self, variant: Variant, task: Task, pace: Pace) -> tuple[Variant, Cost]:
        base = variant.base
        refuse_unmerged(variant, "sentence_distil")
        if not task.text.train:
            raise Refused("sentence_distil needs plain text, and this task has none", "give the task `kind: text`")
        if base.family == "encoder" and not base.settings.get("masked"):
            raise Refused(f"{base.name} came without the head of its pretraining", "full and linear_probe need none")
        teacher = self._teacher()
        length = min(self.length, base.context)
        lanes = lanes_for(device(), trainable=base.parameters)
        rows = lanes * max(1, PASS_TOKENS // length)
        dtype = "bfloat16" if has_bf16(device()) else "float32"
        learned = int(SHARE * rows * length / 2) + 1
        need = memory.training(
            base,
            trainable=base.parameters,
            rows=rows,
            length=length,
            learned_rows=learned,
            dtype=dtype,
            device=device(),
            lanes=lanes,
        )
        # the teacher's pace is taken for the student's: flops a second differ less between them than their sizes do
        seconds = 6 * base.parameters * self.tokens / pace.flops + 2 * teacher.active * self.tokens / self.readings / pace.flops
        disk = 2 * base.parameters + 2 * teacher.width * self.tokens // self.readings // ROWS_TOKENS
        return with_weights(variant, "sentence_distil", None), Cost(seconds, need.peak, disk)

    def apply(self, variant: Variant, task: Task, kit: Kit) -> Variant:
        teacher = self._teacher()
        base, length = variant.base, min(self.length, variant.base.context)
        with kit.shelf.live(variant) as live:
            each = _characters_of_a_token(live.texts, task.text.train)
        once = drawn(task.text.train, task.mixture, characters=int(self.tokens * each / self.readings), seed=kit.seed)
        texts = [text for number in range(self.readings) for text in random.Random(f"{kit.seed} {number}").sample(once, len(once))]
        held = (
            drawn(task.text.dev, task.mixture, characters=int(HELD_OUT * ROWS_TOKENS * each), seed=kit.seed)
            if task.text.dev
            else []
        )
        if not texts:
            raise BadInput("there is no sentence in the text to learn from", "give more text")
        # the teacher first: the shelf lends one model at a time
        (aims, which), (dev_aims, dev_which) = (embedded(teacher, own, kit) for own in (texts, held))
        with kit.shelf.live(variant, dtype=torch.float32) as live:
            model = merged(live.model)
            pad_attention(live.model, length, kit.device)
            model.requires_grad_(True)
            student = Student(model, width=base.width, aims=teacher.width, seed=kit.seed)
            lanes = lanes_for(kit.device, trainable=base.parameters, model=model)
            own: dict[str, Any] = {"tokens": PASS_TOKENS, "vocabulary": base.vocabulary}
            ids = encoded(texts, live.texts, length=length, vocabulary=base.vocabulary)
            batches = Aims(ids, aims, which, live.texts, batch=self.batch_size, seed=kit.seed, **own)
            dev = []
            if held:
                dev_ids = encoded(held, live.texts, length=length, vocabulary=base.vocabulary)
                looked = Aims(dev_ids, dev_aims, dev_which, live.texts, batch=self.batch_size, seed=kit.seed, **own)
                dev = [micro for step in range(len(looked)) for micro in looked[step]]
            loss = TowardTeacher(
                similarity=self.similarity,
                hidden=self.hidden,
                per_row=SHARE / 2 * sum(map(len, ids)) / len(ids),
            )
            course = Course.pretraining(self.learning_rate, warmup=self.warmup, weight_decay=self.weight_decay, looks=self.looks)
            ticks = learn(student, batches, kit, loss=loss, course=course, dev=dev, lanes=lanes)
            save_weights(model, live.tokenizer, kit, ticks)
        return with_weights(variant, "sentence_distil", kit.folder)

    @property
    def content(self) -> str:
        """What the teacher is: another one under the same name teaches something else. Nothing where there is none."""
        try:
            return inspect(self.teacher).content
        except BadInput:
            return ""

    def _teacher(self) -> Base:
        try:
            teacher = inspect(self.teacher)
        except BadInput as error:
            raise Refused(f"sentence_distil has no teacher: {error.message}", error.hint) from error
        if teacher.family != "encoder":
            raise Refused(f"{self.teacher} is of the {teacher.family} family, and a teacher is an encoder", "for example minilm")
        return teacher


def embedded(teacher: Base, texts: Sequence[str], kit: Kit) -> tuple[np.ndarray[Any, Any], list[int]]:
    """The teacher's unit vectors (U, width) of the U different texts, and of each text which is its. Made once, by chunks."""
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


def _characters_of_a_token(coder: Any, documents: Sequence[Document]) -> float:
    """How many characters this tokenizer takes for one, on up to 200 beginnings of documents."""
    some = [document.text[:2000] for document in documents[:: max(1, len(documents) // 200)]]
    return sum(map(len, some)) / max(1, sum(map(len, coder.encode_plain(some))))
