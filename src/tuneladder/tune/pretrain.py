"""Pretraining on plain text: the causal objective (arXiv:2005.14165) for a decoder, masked language modelling (arXiv:1810.04805)
for an encoder, span corruption (arXiv:1910.10683) for a seq2seq; from random weights or, on a finished base, as domain-adaptive
pretraining (arXiv:2004.10964). Beside it a decoder or a seq2seq may learn what a teacher's sentence embeddings say of the text
(arXiv:2004.09813)."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from tuneladder.errors import BadInput, Refused
from tuneladder.model import memory
from tuneladder.model.addressed import content_of, placed
from tuneladder.model.attach import merged, pair_head, with_pair_head
from tuneladder.model.attention import attention_for, packs, pad_attention
from tuneladder.model.hardware import computed_in, device
from tuneladder.model.lanes import lanes_for
from tuneladder.model.packed import NAME as PACKED
from tuneladder.model.rows import bare_head
from tuneladder.model.shelf import Live, open_tokenizer
from tuneladder.model.trunk import fuse
from tuneladder.task.corpus import by_source
from tuneladder.task.encode import reader_of
from tuneladder.task.spans import MEAN
from tuneladder.task.template import ASKS
from tuneladder.train import corrupting
from tuneladder.train.answers import Answers
from tuneladder.train.batches import Batches, Blocks, Micro, in_one
from tuneladder.train.corrupting import Corrupted, LessonTokens, lessons_of
from tuneladder.train.distilling import (
    HELD_OUT,
    LONGEST,
    PIECE,
    ROWS_TOKENS,
    SIMILARITY,
    Aims,
    AlsoTowardTeacher,
    Beside,
    Student,
    beside,
    drawn,
    embedded,
    encoded,
    laid,
    reading_of,
    teacher_of,
)
from tuneladder.train.loop import Course, Loss, learn, save_weights, with_weights
from tuneladder.train.losses import answer_token, hidden_token, next_token
from tuneladder.train.masking import SHARE, Masked, held_out
from tuneladder.train.pairing import HiddenAndNext, Paired, Pairs, held_out_pairs, marks
from tuneladder.train.supervised import APART, HEADLESS, check, refuse_unmerged
from tuneladder.train.tokens import end_of, short_of, spread, token_files
from tuneladder.types import Base, Cost, Document, Family, Kit, Lesson, Pace, Task, Variant

MICRO_TOKENS = 8192  # larger passes are no faster on a CPU, only wider
TAUGHT = ("sentences", "readings", "toward")  # settings of how a teacher is followed
FUSED_TOKENS = 4096  # of fused layers, which start little that a wide pass would save


@dataclass(frozen=True)
class _Lesson:
    """What a family learns by: batches, held-out ones, their loss, what takes it, and what of that is saved in the end."""

    batches: Batches
    dev: list[Micro]
    loss: Loss
    learner: Any
    saved: Callable[[], Any]
    lanes: int


_Pieces = tuple[Sequence[str], np.ndarray[Any, Any], Sequence[int]]  # texts, vectors, and which of these each text has


@dataclass(frozen=True)
class _Taught:
    """What a teacher of this width says of the pieces that are learned from, and of held-out ones."""

    width: int
    train: _Pieces
    dev: _Pieces


@dataclass(frozen=True, kw_only=True)
class Pretrain:
    """`tokens` are the tokens seen; `length` 0 is the base's whole context; `batch_size` counts blocks of that length.

    `compile` is on, off or auto: auto compiles where the work outlasts the minute that it takes, but no layers that can be fused,
    which is faster on a CPU and takes no minute, and no seq2seq, which is no faster for it. `next_sentence` weighs next-sentence
    prediction (arXiv:1810.04805) beside an encoder's masked language modelling: 1 is BERT's own sum, 0 is off, which
    arXiv:1907.11692 found to be no worse. `replay` is the share of the tokens that general text has (the task's sources marked
    `replay`), so that a finished base forgets less of what it knew (arXiv:2403.08763). `answers` is how much each token counts of
    what a line of a decoder's text says after `Answer:`, as the tool's own prompts ask; what is held out counts alike.

    `teacher` is an encoder, by the name that a recipe gives a base: beside the text of each step, the mean embeddings of
    `sentences` pieces of it, each of them read `readings` times in all, learn to lie where the teacher's do, and count `toward`
    times as much as the text. An encoder has `sentence_distil`, which hides words in the pieces too.
    """

    changes: ClassVar = "weights"
    needs: ClassVar = "text"
    families: ClassVar[tuple[Family, ...]] = ("decoder", "encoder", "seq2seq")
    reads: ClassVar = ("train", "dev")
    version: ClassVar = 8
    places: ClassVar = {"teacher": placed}

    tokens: int = 15_000_000
    length: int = 0
    batch_size: int = 16
    learning_rate: float = 2e-3
    weight_decay: float = 0.1
    warmup: float = 0.03
    looks: int = 20
    next_sentence: float = 0.0
    replay: float = 0.0
    answers: float = 1.0
    teacher: str = ""
    sentences: int = 128
    readings: int = 1
    toward: float = 1.0
    compile: Literal["auto", "on", "off"] = "auto"

    def __post_init__(self) -> None:
        above = ("tokens", "batch_size", "learning_rate", "looks", "answers", "sentences", "readings", "toward")
        check(self, "pretrain", above=above, at_least=("length", "weight_decay", "next_sentence"), shares=("warmup", "replay"))
        if self.replay == 1:
            raise BadInput("pretrain with replay 1.0 would read nothing of the task's own text", "0.25 replays a quarter")
        if self.next_sentence and self.compile == "on":
            raise BadInput("pretrain cannot compile with next_sentence", "leave `compile` out: it is not compiled then")

    def plan(self, variant: Variant, task: Task, pace: Pace) -> tuple[Variant, Cost]:
        refuse_unmerged(variant, "pretrain")
        if not task.text.train:
            raise Refused("pretrain needs plain text, and this task has none", APART)
        if self.replay and not task.replay:
            refusal = f"pretrain is to replay {self.replay:.0%} general text, and this task has none"
            raise Refused(refusal, "give it a source such as {data: FILE, replay: true}")
        base = variant.base
        if self.length > base.context:
            said = f"length {self.length:,} is more than the {base.context:,} tokens that {base.name} reads at once"
            raise Refused(said, f"leave `length` out: blocks have {base.context:,} tokens then")
        own = {name: value for name in TAUGHT if (value := getattr(self, name)) != getattr(Pretrain, name)}
        for name, value in own.items() if not self.teacher else ():
            said = f"{name} {value:g} is of what a teacher says, and none is named"
            raise Refused(said, f"name a `teacher`, or leave `{name}` out")
        if base.family == "encoder" and not base.settings.get("masked"):
            raise Refused(f"{base.name} came without the head of its pretraining", HEADLESS)
        if self.next_sentence and base.family != "encoder":
            raise Refused(f"next_sentence is for an encoder, and {base.name} is a {base.family}", "leave `next_sentence` out")
        if self.answers != 1 and base.family != "decoder":
            raise Refused(f"answers are counted in a decoder's text, and {base.name} is a {base.family}", "leave `answers` out")
        if base.family == "seq2seq" and not base.settings.get("sentinels"):
            raise Refused(f"{base.name} has no sentinels to put for spans", "a T5 has them; lora and full, of rows, need none")
        if self.teacher and base.family == "encoder":
            raise Refused(
                f"pretrain has a teacher for a decoder or a seq2seq, and {base.name} is an encoder", "sentence_distil has one"
            )
        length = self._length(variant)
        self._refuse_short(base, task, length)
        teacher = teacher_of(self.teacher, "pretrain") if self.teacher else None
        learned = SHARE * (1 + 1 / MEAN) if base.family == "seq2seq" else SHARE  # spans, and a sentinel for each
        lanes = min(lanes_for(device(), trainable=base.parameters), self._most_lanes(length))
        # a decoder's layers are fused on a CPU, if they are of Llama's form, and then nothing is compiled
        fused = base.family == "decoder" and self.compile != "on" and memory.packs(length=length, device=device())
        rows = lanes * self._rows(length, lanes, FUSED_TOKENS if fused else MICRO_TOKENS)
        dtype = computed_in(device())
        need = memory.training(
            base,
            trainable=base.parameters,
            rows=rows,
            length=length,
            learned_rows=rows * length if base.family == "decoder" else math.ceil(learned * rows * length),
            answer=math.ceil(learned * length) if base.family == "seq2seq" else 0,
            dtype=dtype,
            device=device(),
            lanes=lanes,
            fused=memory.fuses(base, length=length, device=device()) and (fused or base.family == "seq2seq"),
        )
        compiled = self._compiled and not fused and (base.family != "seq2seq" or self.compile == "on")
        disk = memory.hold(base.parameters, 8 * memory.BYTES[dtype])
        seconds = pace.seconds(6.0 * base.parameters * self.tokens, 1.5 * self.tokens / (rows * length))
        if teacher:
            pieces, different = self._steps(length) * self.sentences, self._different(length)
            # of a seq2seq the encoder reads them, which is less than half of it
            student = base.parameters / (2 if base.family == "seq2seq" else 1)
            seconds += ROWS_TOKENS * (pieces * 6 * student + different * 2 * teacher.active) / pace.flops
            disk += 2 * teacher.width * different
        return with_weights(variant, "pretrain", None), Cost(seconds + 90 * compiled, need.peak, disk)

    def _refuse_short(self, base: Base, task: Task, length: int) -> None:
        """Raises Refused where no source makes a block. A shape has no tokenizer to count by yet, and lessons are counted as they
        are asked."""
        if base.source == "shape":
            return
        firsts = (next(iter(own), None) for own in by_source(task.text.train).values())
        asked = base.family == "seq2seq" and any(isinstance(first, Lesson) for first in firsts)
        wanted = {} if asked else {"text": (task.text.train, "set a smaller `length`")}
        if self.replay:
            wanted["text to replay"] = (task.replay, "leave `replay` out")
        for what, (documents, hint) in wanted.items():
            if most := short_of(partial(open_tokenizer, base), documents, length):
                said = f"no source of {what} is longer than the {length:,} tokens of a block: the longest has {most:,}"
                raise Refused(said, f"give more text, or {hint}")

    def apply(self, variant: Variant, task: Task, kit: Kit) -> Variant:
        length = self._length(variant)
        taught = self._taught(length, task, kit) if self.teacher else None
        with kit.shelf.live(variant, dtype=torch.float32) as live:
            model = merged(live.model)
            found: dict[str, Any] = dict(token_files(live.tokenizer, task.text.train, kit.store))
            seq2seq = variant.base.family == "seq2seq"
            lessons = lessons_of(live.pairs, task.text.train, length, kit.store) if seq2seq else {}
            found |= {name: own.tokens for name, own in lessons.items()}
            tokens = {name: own for name, own in found.items() if len(own) > length}
            if not tokens:
                raise BadInput(f"no source of text is longer than {length} tokens", "give more text, or set a smaller `length`")
            mixture = task.mixture
            if self.replay:
                general = {
                    name: own for name, own in token_files(live.tokenizer, task.replay, kit.store).items() if len(own) > length
                }
                if not general:
                    raise BadInput(f"no source to replay is longer than {length} tokens", "give more text, or leave `replay` out")
                mixture = shared(mixture, list(tokens), list(general), replay=self.replay)
                tokens |= general
            lesson = self._lesson(model, live, variant, tokens, lessons, mixture, task, kit)
            times = corrupting.times_of(model) if seq2seq else {}
            if taught:
                lesson = self._beside(lesson, taught, live, variant.base, kit)
                times = {f"model.{name}": own for name, own in times.items()}
            course = Course.pretraining(
                self.learning_rate,
                warmup=self.warmup,
                weight_decay=self.weight_decay,
                looks=self.looks,
                times=times,
            )
            learner = lesson.learner.to(kit.device).requires_grad_(True)
            ticks = learn(learner, lesson.batches, kit, loss=lesson.loss, course=course, dev=lesson.dev, lanes=lesson.lanes)
            save_weights(lesson.saved(), live.tokenizer, kit, ticks)
        return with_weights(variant, "pretrain", kit.folder)

    def _taught(self, length: int, task: Task, kit: Kit) -> _Taught:
        """Pieces of the task's text, and of what is held out, with where the teacher puts each."""
        teacher = teacher_of(self.teacher, "pretrain")
        each = sum(PIECE) / 2  # a piece has fewer characters in the mean: some are left over

        def some(documents: Sequence[Document], count: int) -> list[str]:
            plain = (document for document in documents if not isinstance(document, Lesson))
            return drawn(plain, task.mixture, characters=int(count * each), seed=kit.seed)[:count]

        texts, dev = some(task.text.train, self._different(length)), some(task.text.dev, HELD_OUT)
        if not texts:
            raise BadInput("there is no sentence in the text to learn from", "give more text, or leave `teacher` out")
        return _Taught(teacher.width, *((own, *embedded(teacher, own, kit)) for own in (texts, dev)))

    def _beside(self, lesson: _Lesson, taught: _Taught, live: Live, base: Base, kit: Kit) -> _Lesson:
        """The lesson, and beside it what the teacher says of pieces of text."""
        model = lesson.learner
        read = reading_of(live, base.family, length=min(LONGEST, base.context))
        lay = partial(laid, side_by_side=model.config._attn_implementation == PACKED)

        def aims(texts: Sequence[str], vectors: np.ndarray[Any, Any], which: Sequence[int]) -> Aims:
            return Aims(encoded(texts, read, vocabulary=base.vocabulary), vectors, which, lay, batch=self.sentences)

        dev = lesson.dev
        if dev and taught.dev[0]:
            looked = aims(*taught.dev)
            dev = beside(dev, [micro for step in range(len(looked)) for micro in looked[step]], toward=self.toward)
        return replace(
            lesson,
            batches=Beside(lesson.batches, aims(*taught.train), toward=self.toward),
            dev=dev,
            loss=AlsoTowardTeacher(lesson.loss, similarity=SIMILARITY),
            learner=Student(model, width=base.width, aims=taught.width, seed=kit.seed),
        )

    def _lesson(
        self,
        model: Any,
        live: Live,
        variant: Variant,
        tokens: Mapping[str, Any],
        lessons: Mapping[str, LessonTokens],
        mixture: Mapping[str, float],
        task: Task,
        kit: Kit,
    ) -> _Lesson:
        """What a base of this family learns by."""
        base, length = variant.base, self._length(variant)
        if base.family != "decoder":
            self._attend(model, length, kit.device, base.family)
        lanes = min(lanes_for(kit.device, trainable=base.parameters, model=model), self._most_lanes(length))
        # a packed model cannot be tried on rows without a grid
        bare = base.family == "decoder" and bare_head(model)
        fused = base.family == "decoder" and self._fuse(model, length, kit.device)
        rows = self._rows(length, lanes, FUSED_TOKENS if fused else MICRO_TOKENS)
        steps = self._steps(length)

        weigh = Answers.of(live.tokenizer, self.answers) if self.answers != 1 else None
        if weigh and not any(ASKS in document.text for document in task.text.train):
            raise BadInput(f"answers count {self.answers:g} times, and no line of the text says `Answer:`", "leave `answers` out")

        def blocks(marks: int) -> Blocks:
            sizes = {"length": length - marks, "batch": self.batch_size, "rows": rows, "steps": steps}
            return Blocks(tokens, mixture, seed=kit.seed, packed=fused, weigh=weigh, **sizes)

        if base.family == "decoder":
            dev = held_out_micros(live.tokenizer, task.text.dev, length=length, rows=rows)
            if fused:
                dev = [in_one(micro) for micro in dev]
            causal: Loss = partial(next_token, bare=bare)
            if self._compiled and not fused:
                causal = torch.compile(next_token)
            return _Lesson(blocks(0), dev, causal, model, lambda: model, lanes)
        if base.family == "seq2seq":
            said = [document.text for document in task.text.dev]
            spans = corrupting.held_out(said, live.pairs, length=length, rows=rows, end=end_of(live.tokenizer))
            corrupted = Corrupted(blocks(0), live.pairs, lessons, lanes=lanes, seed=kit.seed)
            return _Lesson(corrupted, spans, answer_token, model, lambda: model, lanes)
        coder = live.texts
        own: dict[str, Any] = {"vocabulary": base.vocabulary}
        held: dict[str, Any] = {"rows": rows, "end": end_of(live.tokenizer), **own}
        texts = [document.text for document in task.text.dev]
        if not self.next_sentence:
            around = len(coder.opening) + len(coder.closing)
            if self._compiled:
                model.base_model.compile()  # the head reads hidden places only, and their count is another in every batch
            masked = Masked(blocks(around), coder, seed=kit.seed, **own)
            return _Lesson(
                masked, held_out(texts, coder, length=length - around, **held), hidden_token, model, lambda: model, lanes
            )
        trust = bool(base.settings.get("trust_remote_code"))
        head = pair_head(variant.weights or base.location, model, seed=kit.seed, trust=trust)
        pairs = Pairs(blocks(marks(coder)), coder, seed=kit.seed, **own)
        dev = held_out_pairs(texts, coder, length=length - marks(coder), **held)
        return _Lesson(
            pairs, dev, HiddenAndNext(self.next_sentence), Paired(model, head), lambda: with_pair_head(model, head), lanes
        )

    def _attend(self, model: Any, length: int, device: str, family: Family) -> None:
        """Set an encoder or a seq2seq to the fastest way through it: lanes depend on what then draws its own dropout."""
        if self.compile == "on" and family == "seq2seq":
            model.set_attn_implementation(attention_for(length, device, family=family))
            model.get_encoder().compile()
            model.get_decoder().compile()
        else:
            model.requires_grad_(True)  # what fused sublayers are tried on: the gradients of all that learns
            pad_attention(model, length, device, family=family)

    def _fuse(self, model: Any, length: int, device: str) -> bool:
        """Whether the layers are fused now; else they are what they were."""
        if self.compile == "on":
            return False
        attention = model.config._attn_implementation
        model.requires_grad_(True)  # what fused layers are tried on: the gradients of all that learns
        if packs(model, length, device) and fuse(model):
            return True
        model.set_attn_implementation(attention)
        return False

    def _steps(self, length: int) -> int:
        return max(1, self.tokens // (length * self.batch_size))

    def _different(self, length: int) -> int:
        """Pieces for the teacher: whole steps of them, after the last of which the first comes again."""
        return -(-self._steps(length) // self.readings) * self.sentences

    def _most_lanes(self, length: int) -> int:
        return max(1, min(self.batch_size, MICRO_TOKENS // length))

    def _rows(self, length: int, lanes: int, tokens: int = MICRO_TOKENS) -> int:
        """Blocks of a pass: all lanes together have `tokens` in hand, and each the same number of passes where that can be."""
        most = max(1, min(-(-self.batch_size // lanes), tokens // (length * lanes)))
        return -(-self.batch_size // (-(-self.batch_size // (most * lanes)) * lanes))

    def _length(self, variant: Variant) -> int:
        return self.length or variant.base.context

    @property
    def content(self) -> str:
        """What the teacher is: see `addressed.content_of`."""
        return content_of(self.teacher)

    @property
    def keyed(self) -> dict[str, str]:
        return {"teacher": ""} if self.content else {}

    @property
    def _compiled(self) -> bool:
        worth = (
            self.tokens >= 2_000_000
            and not self.next_sentence
            and shutil.which("cc") is not None
            and shutil.which("c++") is not None
        )
        return self.compile == "on" or (self.compile == "auto" and worth)


def shared(mixture: Mapping[str, float], own: Sequence[str], general: Sequence[str], *, replay: float) -> dict[str, float]:
    """The share of each source in what is read, where `general` sources have `replay` of it: as they are weighed among
    themselves, each kind."""
    weights: dict[str, float] = {}
    for names, part in ((own, 1 - replay), (general, replay)):
        whole = sum(mixture.get(name, 1.0) for name in names)
        weights |= {name: part * mixture.get(name, 1.0) / whole for name in names}
    return weights


def held_out_micros(tokenizer: Any, documents: Sequence[Document], *, length: int, rows: int, most: int = 64) -> list[Micro]:
    """At most `most` blocks of held-out text, spread evenly over the documents, in micro-batches of at most `rows`, which decides
    nothing about what is held out."""
    reader = reader_of(tokenizer)
    texts = (reader.encode(document.text, add_special_tokens=False).ids for document in documents)
    blocks = spread(texts, length=length, end=end_of(tokenizer), most=most, ahead=1)
    micros = []
    for at in range(0, len(blocks), rows):
        ids = torch.from_numpy(np.stack(blocks[at : at + rows]))
        micros.append(Micro(ids[:, :-1].contiguous(), None, ids[:, 1:].reshape(-1)))
    return micros
