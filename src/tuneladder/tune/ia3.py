"""(IA)^3 (arXiv:2205.05638): a few vectors that multiply keys, values and what an MLP's last layer reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from tuneladder.model.attach import Attached, attach_ia3, ia3_parameters, makers, mlp_ends, saved_by_peft
from tuneladder.model.memory import skeleton_of
from tuneladder.model.shelf import Live
from tuneladder.train.loop import Course
from tuneladder.train.probing import Rate
from tuneladder.train.supervised import check, learn_adapter, plan_adapter, refuse_over
from tuneladder.types import Cost, Family, Kit, Pace, Task, Variant


@dataclass(frozen=True, kw_only=True)
class Ia3:
    """`learning_rate` 0 is 1e-2; probe: what three short runs find. `max_length` 0 is the context. Where
    queries, keys and values are one matrix, all three are multiplied."""

    changes: ClassVar = "adapter"
    needs: ClassVar = "examples"
    families: ClassVar[tuple[Family, ...]] = ("decoder", "encoder", "seq2seq")
    reads: ClassVar = ("train", "dev")
    version: ClassVar = 5

    learning_rate: Rate = 0.0
    epochs: float = 6.0
    batch_size: int = 16
    max_length: int = 0
    warmup: float = 0.06

    def __post_init__(self) -> None:
        check(self, "ia3", above=("epochs", "batch_size"), at_least=("max_length", "learning_rate"), shares=("warmup",))

    def plan(self, variant: Variant, task: Task, pace: Pace) -> tuple[Variant, Cost]:
        refuse_over(variant, "ia3")
        trainable = ia3_parameters(skeleton_of(variant.base))
        return plan_adapter(self, variant, task, pace, step="ia3", trainable=trainable, fusible=False)

    def apply(self, variant: Variant, task: Task, kit: Kit) -> Variant:
        def attach(live: Live, head: Sequence[str], tags: bool) -> Attached:
            scaled = [name for name, _, _ in makers(live.model, "ia3")]
            fed = [name for name, _ in mlp_ends(live.model)]
            return saved_by_peft(attach_ia3(live.model, scaled=scaled, fed=fed, seed=kit.seed, head=head, tags=tags))

        course = Course(1e-2, warmup=self.warmup)
        return learn_adapter(self, variant, task, kit, step="ia3", course=course, attach=attach)
