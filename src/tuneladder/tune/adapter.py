"""Bottleneck adapters (arXiv:1902.00751): small layers learn behind the sublayers of a frozen base."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from tuneladder.errors import Refused
from tuneladder.model.attach import Attached
from tuneladder.model.bottleneck import Placement, attach_bottlenecks, bottleneck_parameters
from tuneladder.model.memory import skeleton_of
from tuneladder.model.shelf import Live
from tuneladder.train.loop import Course
from tuneladder.train.probing import Rate
from tuneladder.train.supervised import check, learn_adapter, plan_adapter, refuse_over
from tuneladder.types import Cost, Family, Kit, Pace, Task, Variant


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """`r` is the bottleneck's width. `placement`: houlsby, behind attention and MLP, or pfeiffer, behind the MLP alone
    (arXiv:2005.00247). `learning_rate` 0 is the step's own: 1e-4 at a width of 4096, growing as the width shrinks; probe: what
    three short runs find. `max_length` 0 is the context."""

    changes: ClassVar = "adapter"
    needs: ClassVar = "examples"
    families: ClassVar[tuple[Family, ...]] = ("decoder", "encoder", "seq2seq")
    reads: ClassVar = ("train", "dev")
    version: ClassVar = 5

    r: int = 16
    placement: Placement = "pfeiffer"
    learning_rate: Rate = 0.0
    epochs: float = 6.0
    batch_size: int = 16
    max_length: int = 0
    warmup: float = 0.06

    def __post_init__(self) -> None:
        above, at_least = ("r", "epochs", "batch_size"), ("max_length", "learning_rate")
        check(self, "adapter", above=above, at_least=at_least, shares=("warmup",))

    def plan(self, variant: Variant, task: Task, pace: Pace) -> tuple[Variant, Cost]:
        refuse_over(variant, "adapter")
        if self.r > variant.base.width:
            raise Refused(
                f"r is {self.r:,}, and {variant.base.name} is {variant.base.width:,} wide: no bottleneck", "a narrower one"
            )
        trainable = bottleneck_parameters(skeleton_of(variant.base), r=self.r, placement=self.placement)
        return plan_adapter(self, variant, task, pace, step="adapter", trainable=trainable, fusible=False)

    def apply(self, variant: Variant, task: Task, kit: Kit) -> Variant:
        def attach(live: Live, head: Sequence[str], tags: bool) -> Attached:
            return attach_bottlenecks(live.model, r=self.r, placement=self.placement, seed=kit.seed, head=head)

        course = Course(1e-4 * 4096 / variant.base.width, warmup=self.warmup)
        return learn_adapter(self, variant, task, kit, step="adapter", course=course, attach=attach)
