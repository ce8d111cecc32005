"""LoRA (arXiv:2106.09685): low-rank updates beside frozen linear layers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from tuneladder.errors import BadInput, Refused
from tuneladder.model.attach import attach_lora, body_targets, draw_head, head_modules, linear_targets, save_adapter
from tuneladder.model.memory import lora_parameters
from tuneladder.store import resident
from tuneladder.train.loop import Course, tidy
from tuneladder.train.supervised import check, fit, foretell, lent_head
from tuneladder.types import Cost, Family, Kit, Pace, Task, Variant


@dataclass(frozen=True, kw_only=True)
class Lora:
    """`alpha` 0 is twice the rank. `targets`: attention, all, or names of linear modules. `learning_rate` 0 is the step's own:
    2e-4 at a width of 4096, growing as the width shrinks (3e-3 at 256). `max_length` 0 is the context."""

    changes: ClassVar = "adapter"
    needs: ClassVar = "examples"
    families: ClassVar[tuple[Family, ...]] = ("decoder", "encoder", "seq2seq")
    reads: ClassVar = ("train", "dev")
    version: ClassVar = 5

    r: int = 8
    alpha: float = 0.0
    dropout: float = 0.0
    targets: str | tuple[str, ...] = "all"
    learning_rate: float = 0.0
    epochs: float = 6.0
    batch_size: int = 16
    max_length: int = 0
    warmup: float = 0.06

    def __post_init__(self) -> None:
        if self.r < 1:
            raise BadInput(f"lora cannot have rank {self.r}", "r is 1 or more; 8 is a good start")
        if not 0 <= self.dropout < 1:
            raise BadInput(f"dropout {self.dropout} is not a share below 1", "0.1 drops a tenth")
        if not self.targets:
            raise BadInput("lora has no targets", "attention, all, or names of linear modules")
        check(self, "lora", above=("epochs", "batch_size"), at_least=("alpha", "max_length", "learning_rate"), shares=("warmup",))

    def plan(self, variant: Variant, task: Task, pace: Pace) -> tuple[Variant, Cost]:
        if variant.adapter:
            raise Refused("lora cannot lie over another adapter", "merge the first one, or train one adapter only")
        trainable = lora_parameters(variant.base, r=self.r, targets=self.targets)
        cost = foretell(self, variant, task, pace, step="lora", trainable=trainable, frozen=True)
        return replace(lent_head(variant, task), steps=(*variant.steps, "lora"), adapter="foretold"), cost

    def apply(self, variant: Variant, task: Task, kit: Kit) -> Variant:
        rate = self.learning_rate or 2e-4 * 4096 / variant.base.width
        course = Course(rate, warmup=self.warmup)
        wanted = lent_head(variant, task)
        with kit.shelf.live(wanted) as live:
            if wanted != variant:
                draw_head(live.model, live.fresh, seed=kit.seed)
            model = attach_lora(
                live.model,
                r=self.r,
                alpha=self.alpha or 2 * self.r,
                dropout=self.dropout,
                targets=(body_targets if wanted.head else linear_targets)(live.model, self.targets),
                seed=kit.seed,
                head=head_modules(live.model, live.fresh) if wanted.head else (),
                tags=wanted.head is not None and wanted.head.kind == "tags",
            )
            ticks = fit(self, model, live, variant, task, kit, course=course)
            save_adapter(model, kit.folder, base=variant.weights or variant.base.location)
            tidy(kit.folder, ticks)
        return replace(wanted, steps=(*variant.steps, "lora"), adapter=str(kit.folder), bytes=resident(kit.folder))
