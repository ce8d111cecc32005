"""Pretraining on plain text: the causal objective (arXiv:2005.14165) for a decoder, masked language modelling (arXiv:1810.04805)
for an encoder; from random weights or, on a finished base, as domain-adaptive pretraining (arXiv:2004.10964)."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from tuneladder.errors import BadInput, Refused
from tuneladder.model import memory
from tuneladder.model.attach import merged
from tuneladder.model.hardware import device, has_bf16
from tuneladder.model.lanes import lanes_for
from tuneladder.model.rows import bare_head
from tuneladder.model.trunk import fuse
from tuneladder.store import digest, resident
from tuneladder.train.batches import Batches, Blocks, Micro, in_one
from tuneladder.train.loop import Course, Loss, learn, save_weights
from tuneladder.train.losses import hidden_token, next_token
from tuneladder.train.masking import SHARE, Masked, held_out
from tuneladder.train.supervised import attention_for, check, packs
from tuneladder.types import Cost, Document, Family, Kit, Pace, Task, Variant

MICRO_TOKENS = 8192  # larger passes are no faster on a CPU, only wider
FUSED_TOKENS = 4096  # of fused layers, which start little that a wide pass would save


@dataclass(frozen=True, kw_only=True)
class Pretrain:
    """`tokens` are the tokens seen; `length` 0 is the base's whole context; `batch_size` counts blocks of that length.

    `compile` is on, off or auto: auto compiles where the work outlasts the minute that it takes and the layers cannot be fused,
    which is faster on a CPU and takes no minute.
    """

    changes: ClassVar = "weights"
    needs: ClassVar = "text"
    families: ClassVar[tuple[Family, ...]] = ("decoder", "encoder")
    reads: ClassVar = ("train", "dev")
    version: ClassVar = 3

    tokens: int = 15_000_000
    length: int = 0
    batch_size: int = 16
    learning_rate: float = 2e-3
    weight_decay: float = 0.1
    warmup: float = 0.03
    looks: int = 20
    compile: Literal["auto", "on", "off"] = "auto"

    def __post_init__(self) -> None:
        above = ("tokens", "batch_size", "learning_rate", "looks")
        check(self, "pretrain", above=above, at_least=("length", "weight_decay"), shares=("warmup",))

    def plan(self, variant: Variant, task: Task, pace: Pace) -> tuple[Variant, Cost]:
        if not task.text.train:
            raise Refused("pretrain needs plain text, and this task has none", "give the task `kind: text`")
        base = variant.base
        if base.family == "encoder" and not base.settings.get("masked"):
            raise Refused(f"{base.name} came without the head of its pretraining", "full and linear_probe need none")
        length = self._length(variant)
        lanes = min(lanes_for(device(), trainable=base.parameters), self._most_lanes(length))
        rows = lanes * self._rows(length, lanes)
        dtype = "bfloat16" if has_bf16(device()) else "float32"
        need = memory.training(
            base,
            trainable=base.parameters,
            rows=rows,
            length=length,
            learned_rows=rows * length if base.family == "decoder" else math.ceil(SHARE * rows * length),
            dtype=dtype,
            device=device(),
            lanes=lanes,
        )
        # a decoder's layers are fused on a CPU, if they are of Llama's form, and then nothing is compiled
        fused = base.family == "decoder" and device() == "cpu" and self.compile != "on"
        seconds = 6 * base.parameters * self.tokens / pace.flops + 90 * (self._compiled and not fused)
        return replace(variant, steps=(*variant.steps, "pretrain"), weights="foretold", adapter=None), Cost(
            seconds, need.peak, memory.hold(base.parameters, 8 * memory.BYTES[dtype])
        )

    def apply(self, variant: Variant, task: Task, kit: Kit) -> Variant:
        with kit.shelf.live(variant, dtype=torch.float32) as live:
            model, length = merged(live.model), self._length(variant)
            tokens = {
                name: np.load(_tokens(live.tokenizer, [d for d in task.text.train if d.source == name], kit), mmap_mode="r")
                for name in sorted({document.source for document in task.text.train})
            }
            if not any(len(own) > length for own in tokens.values()):
                raise BadInput(f"no source of text is longer than {length} tokens", "give more text, or set a smaller `length`")
            steps = max(1, self.tokens // (length * self.batch_size))
            lanes = min(lanes_for(kit.device, trainable=variant.base.parameters, model=model), self._most_lanes(length))
            encoder = variant.base.family == "encoder"
            model.requires_grad_(True)
            bare = not encoder and bare_head(model)
            attention = model.config._attn_implementation
            fused = not encoder and self.compile != "on" and packs(model, length, kit.device) and fuse(model)
            if not fused:
                model.set_attn_implementation(attention)
            rows = self._rows(length, lanes, FUSED_TOKENS if fused else MICRO_TOKENS)
            marks = len(live.texts.opening) + len(live.texts.closing) if encoder else 0
            blocks = Blocks(
                tokens,
                task.mixture,
                length=length - marks,
                batch=self.batch_size,
                rows=rows,
                steps=steps,
                seed=kit.seed,
                packed=fused,
            )
            batches: Batches = blocks
            if encoder:
                own: dict[str, Any] = {"vocabulary": variant.base.vocabulary}
                batches = Masked(blocks, live.texts, seed=kit.seed, **own)
                texts = [document.text for document in task.text.dev]
                dev = held_out(texts, live.texts, length=length - marks, rows=rows, end=_end(live.tokenizer), **own)
                live.model.set_attn_implementation(attention_for(length, kit.device))
            else:
                dev = held_out_micros(live.tokenizer, task.text.dev, length=length, rows=rows)
                dev = [in_one(micro) for micro in dev] if fused else dev
            course = Course.pretraining(self.learning_rate, warmup=self.warmup, weight_decay=self.weight_decay, looks=self.looks)
            loss: Loss = hidden_token if encoder else partial(next_token, bare=bare)
            if self._compiled and encoder:
                model.base_model.compile()  # the head reads hidden places only, and their count is another in every batch
            elif self._compiled and not fused:
                loss = torch.compile(next_token)
            ticks = learn(model, batches, kit, loss=loss, course=course, dev=dev, lanes=lanes)
            save_weights(model, live.tokenizer, kit, ticks)
        return replace(
            variant, steps=(*variant.steps, "pretrain"), weights=str(kit.folder), adapter=None, bytes=resident(kit.folder)
        )

    def _most_lanes(self, length: int) -> int:
        return max(1, min(self.batch_size, MICRO_TOKENS // length))

    def _rows(self, length: int, lanes: int, tokens: int = MICRO_TOKENS) -> int:
        """Blocks of a pass: all lanes together have `tokens` in hand, and each the same number of passes where that can be."""
        most = max(1, min(-(-self.batch_size // lanes), tokens // (length * lanes)))
        return -(-self.batch_size // (-(-self.batch_size // (most * lanes)) * lanes))

    def _length(self, variant: Variant) -> int:
        return min(self.length or variant.base.context, variant.base.context)

    @property
    def _compiled(self) -> bool:
        worth = self.tokens >= 2_000_000 and shutil.which("cc") is not None and shutil.which("c++") is not None
        return self.compile == "on" or (self.compile == "auto" and worth)


def _tokens(tokenizer: Any, documents: Sequence[Document], kit: Kit) -> Path:
    """The documents as one array, each closed by the end token; made once for every step that reads the same text."""
    key = "tokens-" + digest(tokenizer.backend_tokenizer.to_str(), [document.text for document in documents])

    def make(folder: Path) -> Mapping[str, Any]:
        width = np.uint16 if len(tokenizer) <= 1 << 16 else np.uint32
        parts = []
        for at in range(0, len(documents), 64):
            encoded = tokenizer.backend_tokenizer.encode_batch_fast(
                [d.text for d in documents[at : at + 64]], add_special_tokens=False
            )
            parts += [np.array([*text.ids, _end(tokenizer)], dtype=width) for text in encoded]
        whole = np.concatenate(parts)
        np.save(folder / "tokens.npy", whole)
        return {"tokens": len(whole)}

    return kit.store.once(key, make) / "tokens.npy"


def _end(tokenizer: Any) -> int:
    """What closes a text: the end token, or where an encoder's tokenizer has none its separator."""
    return int(tokenizer.sep_token_id if tokenizer.eos_token_id is None else tokenizer.eos_token_id)


def held_out_micros(tokenizer: Any, documents: Sequence[Document], *, length: int, rows: int, most: int = 64) -> list[Micro]:
    """At most `most` blocks of held-out text, spread evenly over the documents, in micro-batches of `rows`."""
    stream: list[int] = []
    for document in documents:
        stream += [*tokenizer(document.text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    count = (len(stream) - 1) // length
    chosen = [math.floor(at * count / min(most, count)) for at in range(min(most, count))]
    blocks = [stream[at * length : (at + 1) * length + 1] for at in chosen]
    blocks = blocks[: len(blocks) // rows * rows] or blocks
    micros = []
    for at in range(0, len(blocks), rows):
        ids = torch.tensor(blocks[at : at + rows])
        micros.append(Micro(ids[:, :-1].contiguous(), None, ids[:, 1:].reshape(-1)))
    return micros
