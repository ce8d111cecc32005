"""QLoRA: a LoRA over a frozen base that is held in four or eight bits. arXiv:2305.14314."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from tuneladder.errors import BadInput, unknown
from tuneladder.model.attach import Attached, attach_lora, body_targets, linear_targets, saved_by_peft
from tuneladder.model.hardware import device
from tuneladder.model.memory import lora_parameters
from tuneladder.model.precision import QUANTISED, Form
from tuneladder.model.quantized import refuse_quantized
from tuneladder.model.shelf import Live
from tuneladder.train.loop import Course
from tuneladder.train.probing import Rate
from tuneladder.train.supervised import check, learn_adapter, plan_adapter, refuse_over
from tuneladder.types import Cost, Family, Kit, Pace, Task, Variant


@dataclass(frozen=True, kw_only=True)
class Qlora:
    """`form`: nf4, with its scales quantized too, or int8. The base is held so in training and in answering; whatever learns all
    weights afterwards adds the adapter into the base's own. The rest is as in `lora`, `alpha` 0 twice the rank."""

    changes: ClassVar = "adapter"
    needs: ClassVar = "examples"
    families: ClassVar[tuple[Family, ...]] = ("decoder", "encoder", "seq2seq")
    reads: ClassVar = ("train", "dev")
    version: ClassVar = 1

    form: Form = "nf4"
    r: int = 8
    alpha: float = 0.0
    dropout: float = 0.0
    targets: str | tuple[str, ...] = "all"
    learning_rate: Rate = 0.0
    epochs: float = 6.0
    batch_size: int = 16
    max_length: int = 0
    warmup: float = 0.06

    def __post_init__(self) -> None:
        if self.form not in QUANTISED:
            raise unknown("form of weights", self.form, QUANTISED)
        if self.r < 1:
            raise BadInput(f"qlora cannot have rank {self.r}", "r is 1 or more; 8 is a good start")
        if not 0 <= self.dropout < 1:
            raise BadInput(f"dropout {self.dropout} is not a share below 1", "0.1 drops a tenth")
        if not self.targets:
            raise BadInput("qlora has no targets", "attention, all, or names of linear modules")
        check(self, "qlora", above=("epochs", "batch_size"), at_least=("alpha", "max_length", "learning_rate"), shares=("warmup",))

    def plan(self, variant: Variant, task: Task, pace: Pace) -> tuple[Variant, Cost]:
        refuse_over(variant, "qlora")
        refuse_quantized("qlora", self.form, device=device())
        trainable = lora_parameters(variant.base, r=self.r, targets=self.targets)
        return plan_adapter(self, replace(variant, format=self.form), task, pace, step="qlora", trainable=trainable)

    def apply(self, variant: Variant, task: Task, kit: Kit) -> Variant:
        def attach(live: Live, head: Sequence[str], tags: bool) -> Attached:
            tuned = attach_lora(
                live.model,
                r=self.r,
                alpha=self.alpha or 2 * self.r,
                dropout=self.dropout,
                targets=(body_targets if head else linear_targets)(live.model, self.targets),
                seed=kit.seed,
                head=head,
                tags=tags,
            )
            return saved_by_peft(tuned)

        course = Course(2e-4 * 4096 / variant.base.width, warmup=self.warmup)
        return learn_adapter(self, replace(variant, format=self.form), task, kit, step="qlora", course=course, attach=attach)
