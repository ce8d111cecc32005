"""Full fine-tuning: every weight of the base learns, and of an adapter below it, which is merged into the base first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from tuneladder.train.loop import Course
from tuneladder.train.probing import Rate
from tuneladder.train.supervised import check, learn_weights, plan_weights, refuse_unmerged
from tuneladder.types import Cost, Family, Kit, Pace, Task, Variant


@dataclass(frozen=True, kw_only=True)
class Full:
    """`learning_rate` 0 is the step's own: 5e-5 at a width of 1024, growing as the width shrinks, and five times as much for a T5;
    probe: what three short runs find. `max_length` 0 is the context."""

    changes: ClassVar = "weights"
    needs: ClassVar = "examples"
    families: ClassVar[tuple[Family, ...]] = ("decoder", "encoder", "seq2seq")
    reads: ClassVar = ("train", "dev")
    version: ClassVar = 9

    learning_rate: Rate = 0.0
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
        return plan_weights(self, variant, task, pace, step="full", trainable=variant.base.parameters, method="full")

    def apply(self, variant: Variant, task: Task, kit: Kit) -> Variant:
        course = Course(5e-5 * 1024 / variant.base.width, warmup=self.warmup, weight_decay=self.weight_decay)

        def choose(model: Any, head: Sequence[str]) -> None:
            model.requires_grad_(True)

        return learn_weights(self, variant, task, kit, step="full", course=course, choose=choose, method="full")
