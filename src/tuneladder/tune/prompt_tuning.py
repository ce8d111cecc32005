"""Prompt tuning (arXiv:2104.08691): vectors before the input learn, and not one weight of the base."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from tuneladder.model.attach import Attached
from tuneladder.model.shelf import Live
from tuneladder.model.soft import attach_prompt
from tuneladder.train.loop import Course
from tuneladder.train.probing import Rate
from tuneladder.train.supervised import check, first_tokens, learn_adapter, plan_adapter, refuse_over, text_of
from tuneladder.types import Cost, Family, Kit, Pace, Task, Variant


@dataclass(frozen=True, kw_only=True)
class PromptTuning:
    """`tokens` vectors, at first the embeddings of the task's own text: its instruction, its labels, its rows. `learning_rate`
    0 is 3e-2; probe: what three short runs find. `max_length` 0 is the context, of which the vectors take their part."""

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
        check(self, "prompt_tuning", above=above, at_least=("max_length", "learning_rate"), shares=("warmup",))

    def plan(self, variant: Variant, task: Task, pace: Pace) -> tuple[Variant, Cost]:
        refuse_over(variant, "prompt_tuning")
        size = self.tokens * variant.base.width
        return plan_adapter(self, variant, task, pace, step="prompt_tuning", trainable=size, soft=self.tokens)

    def apply(self, variant: Variant, task: Task, kit: Kit) -> Variant:
        def attach(live: Live, head: Sequence[str], tags: bool) -> Attached:
            ids = first_tokens(live, text_of(task, variant.prompt), self.tokens)
            return attach_prompt(live.model, ids, seed=kit.seed, head=head, tags=tags)

        course = Course(3e-2, warmup=self.warmup)
        return learn_adapter(self, variant, task, kit, step="prompt_tuning", course=course, attach=attach)
