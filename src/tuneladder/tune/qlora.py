"""QLoRA: a LoRA over a frozen base that is held in four or eight bits. arXiv:2305.14314."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from tuneladder.errors import unknown
from tuneladder.model.hardware import device
from tuneladder.model.precision import QUANTISED, Form
from tuneladder.model.quantized import refuse_quantized
from tuneladder.train.low_rank import ALPHA, check_low_rank, learn_low_rank, plan_low_rank
from tuneladder.train.probing import Rate
from tuneladder.types import Cost, Family, Kit, Pace, Task, Variant


@dataclass(frozen=True, kw_only=True)
class Qlora:
    """`form`: nf4, with its scales quantized too, or int8. The base is held so in training and in answering; whatever learns all
    weights afterwards adds the adapter into the base's own. The rest is as in `lora`, `alpha` 0 is 16."""

    changes: ClassVar = "adapter"
    needs: ClassVar = "examples"
    families: ClassVar[tuple[Family, ...]] = ("decoder", "encoder", "seq2seq")
    reads: ClassVar = ("train", "dev")
    version: ClassVar = 8

    form: Form = "nf4"
    r: int = 8
    alpha: float = 0.0
    dropout: float = 0.0
    targets: str | tuple[str, ...] = "auto"
    learning_rate: Rate = 0.0
    epochs: float = 6.0
    batch_size: int = 16
    max_length: int = 0
    warmup: float = 0.06

    def __post_init__(self) -> None:
        if self.form not in QUANTISED:
            raise unknown("form of weights", self.form, QUANTISED)
        check_low_rank(self, "qlora")

    def plan(self, variant: Variant, task: Task, pace: Pace) -> tuple[Variant, Cost]:
        refuse_quantized("qlora", self.form, variant.base, device=device())
        return plan_low_rank(self, replace(variant, format=self.form), task, pace, step="qlora")

    def apply(self, variant: Variant, task: Task, kit: Kit) -> Variant:
        alpha = self.alpha or ALPHA
        return learn_low_rank(self, replace(variant, format=self.form), task, kit, step="qlora", alpha=alpha)
