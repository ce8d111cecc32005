"""Prefix tuning (arXiv:2101.00190): keys and values of a few tokens learn in every layer, and not one weight of the base."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from tuneladder.model.attach import Attached
from tuneladder.model.memory import skeleton_of
from tuneladder.model.shelf import Live
from tuneladder.model.soft import attach_prefix, prefix_parameters
from tuneladder.train.loop import Course
from tuneladder.train.probing import Rate
from tuneladder.train.supervised import check, first_tokens, learn_adapter, plan_adapter, refuse_over, text_of
from tuneladder.types import Cost, Family, Kit, Pace, Task, Variant


@dataclass(frozen=True, kw_only=True)
class PrefixTuning:
    """Keys and values of `tokens` tokens, at first those that the base makes of the task's own text; of a seq2seq in the encoder.
    `learning_rate` 0 is 1e-2; probe: what three short runs find. `max_length` 0 is the context, of which the prefix takes its
    part."""

    changes: ClassVar = "adapter"
    needs: ClassVar = "examples"
    families: ClassVar[tuple[Family, ...]] = ("decoder", "encoder", "seq2seq")
    reads: ClassVar = ("train", "dev")
    version: ClassVar = 4

    tokens: int = 20
    learning_rate: Rate = 0.0
    epochs: float = 10.0
    batch_size: int = 16
    max_length: int = 0
    warmup: float = 0.06

    def __post_init__(self) -> None:
        above = ("tokens", "epochs", "batch_size")
        check(self, "prefix_tuning", above=above, at_least=("max_length", "learning_rate"), shares=("warmup",))

    def plan(self, variant: Variant, task: Task, pace: Pace) -> tuple[Variant, Cost]:
        refuse_over(variant, "prefix_tuning")
        size = prefix_parameters(skeleton_of(variant.base), self.tokens)
        return plan_adapter(self, variant, task, pace, step="prefix_tuning", trainable=size, soft=self.tokens, fusible=False)

    def apply(self, variant: Variant, task: Task, kit: Kit) -> Variant:
        def attach(live: Live, head: Sequence[str], tags: bool) -> Attached:
            return attach_prefix(live.model, first_tokens(live, text_of(task, variant.prompt), self.tokens), head=head)

        course = Course(1e-2, warmup=self.warmup)
        return learn_adapter(self, variant, task, kit, step="prefix_tuning", course=course, attach=attach)
