"""Full fine-tuning: every weight of the base learns, and of an adapter below it, which is merged into the base first."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from tuneladder.model.attach import draw_head, merged
from tuneladder.model.hardware import device, has_bf16
from tuneladder.model.memory import hold
from tuneladder.store import resident
from tuneladder.train.loop import Course, save_weights
from tuneladder.train.supervised import check, fit, foretell, lent_head, refuse_unmerged
from tuneladder.types import Cost, Family, Kit, Pace, Task, Variant


@dataclass(frozen=True, kw_only=True)
class Full:
    """`learning_rate` 0 is the step's own: 5e-5 at a width of 1024, growing as the width shrinks. `max_length` 0 is the context."""

    changes: ClassVar = "weights"
    needs: ClassVar = "examples"
    families: ClassVar[tuple[Family, ...]] = ("decoder", "encoder", "seq2seq")
    reads: ClassVar = ("train", "dev")
    version: ClassVar = 5

    learning_rate: float = 0.0
    epochs: float = 4.0
    batch_size: int = 16
    max_length: int = 0
    weight_decay: float = 0.01
    warmup: float = 0.06

    def __post_init__(self) -> None:
        at_least = ("learning_rate", "max_length", "weight_decay")
        check(self, "full", above=("epochs", "batch_size"), at_least=at_least, shares=("warmup",))

    def plan(self, variant: Variant, task: Task, pace: Pace) -> tuple[Variant, Cost]:
        refuse_unmerged(variant, "full")
        base = variant.base
        cost = foretell(self, variant, task, pace, step="full", trainable=base.parameters, frozen=False)
        made = replace(lent_head(variant, task), steps=(*variant.steps, "full"), weights="foretold", adapter=None)
        return made, replace(cost, disk=hold(base.parameters, 16 if has_bf16(device()) else 32))

    def apply(self, variant: Variant, task: Task, kit: Kit) -> Variant:
        rate = self.learning_rate or 5e-5 * 1024 / variant.base.width
        course = Course(rate, warmup=self.warmup, weight_decay=self.weight_decay)
        wanted = lent_head(variant, task)
        with kit.shelf.live(wanted, dtype=torch.float32) as live:
            if wanted != variant:
                draw_head(live.model, live.fresh, seed=kit.seed)
            model = merged(live.model)
            model.requires_grad_(True)
            ticks = fit(self, model, live, variant, task, kit, course=course, whole=True)
            save_weights(model, live.tokenizer, kit, ticks)
        return replace(wanted, steps=(*variant.steps, "full"), weights=str(kit.folder), adapter=None, bytes=resident(kit.folder))
