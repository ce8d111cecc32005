"""Sentence embeddings distilled from a teacher (arXiv:2004.09813, on one language): an encoder's mean embedding, through a linear
map that is thrown away afterwards, learns to lie where the teacher's does, next to masked language modelling."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch

from tuneladder.errors import BadInput, Refused
from tuneladder.model import memory
from tuneladder.model.addressed import content_of, placed
from tuneladder.model.attach import merged
from tuneladder.model.attention import pad_attention
from tuneladder.model.hardware import computed_in, device
from tuneladder.model.lanes import lanes_for
from tuneladder.train.distilling import (
    HELD_OUT,
    PASS_TOKENS,
    ROWS_TOKENS,
    SIMILARITY,
    Aims,
    Student,
    TowardTeacher,
    drawn,
    embedded,
    encoded,
    hidden_in,
    reading_of,
    teacher_of,
)
from tuneladder.train.loop import Course, learn, save_weights, with_weights
from tuneladder.train.masking import SHARE
from tuneladder.train.supervised import APART, HEADLESS, check, refuse_unmerged
from tuneladder.types import Cost, Document, Family, Kit, Pace, Task, Variant


@dataclass(frozen=True, kw_only=True)
class SentenceDistil:
    """`teacher`: an encoder, by the name that a recipe gives a base. `tokens` are the tokens seen, each text `readings` times, with
    other tokens hidden; `batch_size` counts texts, `length` the most tokens of one. `similarity` and `hidden` weigh the rows'
    cosines with each other and the hidden tokens beside the distance to the teacher."""

    changes: ClassVar = "weights"
    needs: ClassVar = "text"
    families: ClassVar[tuple[Family, ...]] = ("encoder",)
    reads: ClassVar = ("train", "dev")
    version: ClassVar = 6
    places: ClassVar = {"teacher": placed}

    teacher: str = "minilm"
    tokens: int = 15_000_000
    readings: int = 1
    length: int = 128
    batch_size: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 0.1
    warmup: float = 0.03
    similarity: float = SIMILARITY
    hidden: float = 0.1
    looks: int = 20

    def __post_init__(self) -> None:
        above = ("tokens", "readings", "batch_size", "learning_rate", "looks", "length")
        check(self, "sentence_distil", above=above, at_least=("weight_decay", "similarity", "hidden"), shares=("warmup",))

    def plan(self, variant: Variant, task: Task, pace: Pace) -> tuple[Variant, Cost]:
        base = variant.base
        refuse_unmerged(variant, "sentence_distil")
        if not task.text.train:
            raise Refused("sentence_distil needs plain text, and this task has none", APART)
        if base.family == "encoder" and not base.settings.get("masked"):
            raise Refused(f"{base.name} came without the head of its pretraining", HEADLESS)
        teacher = teacher_of(self.teacher, "sentence_distil")
        length = min(self.length, base.context)
        lanes = lanes_for(device(), trainable=base.parameters)
        rows = lanes * max(1, PASS_TOKENS // length)
        dtype = computed_in(device())
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
        teacher = teacher_of(self.teacher, "sentence_distil")
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
            read = reading_of(live, base.family, length=length)
            lay = partial(hidden_in, coder=live.texts, vocabulary=base.vocabulary, seed=kit.seed)
            ids = encoded(texts, read, vocabulary=base.vocabulary)
            batches = Aims(ids, aims, which, lay, batch=self.batch_size)
            dev = []
            if held:
                dev_ids = encoded(held, read, vocabulary=base.vocabulary)
                looked = Aims(dev_ids, dev_aims, dev_which, lay, batch=self.batch_size)
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
        """What the teacher is: see `addressed.content_of`."""
        return content_of(self.teacher)

    @property
    def keyed(self) -> dict[str, str]:
        return {"teacher": ""} if self.content else {}


def _characters_of_a_token(coder: Any, documents: Sequence[Document]) -> float:
    """How many characters this tokenizer takes for one, on up to 200 beginnings of documents."""
    some = [document.text[:2000] for document in documents[:: max(1, len(documents) // 200)]]
    return sum(map(len, some)) / max(1, sum(map(len, coder.encode_plain(some))))
