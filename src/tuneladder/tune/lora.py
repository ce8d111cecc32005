"""LoRA (arXiv:2106.09685): low-rank updates beside frozen linear layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from tuneladder.errors import BadInput, Refused
from tuneladder.model.attach import Attached, attach_lora, body_targets, expert_targets, linear_targets, saved_by_peft
from tuneladder.model.hardware import device, has_bf16
from tuneladder.model.memory import expert_copies, lora_parameters
from tuneladder.model.shelf import Live
from tuneladder.train.loop import Course
from tuneladder.train.supervised import check, learn_adapter, plan_adapter, refuse_over
from tuneladder.types import Cost, Family, Kit, Pace, Task, Variant


@dataclass(frozen=True, kw_only=True)
class Lora:
    """`alpha` 0 is twice the rank, with `rslora` 2 times the root of 8, so that both are alike at rank 8. `targets`: auto, linear
    layers of the blocks but routers (arXiv:2305.14314), a mixture's experts among them; attention; all; or names of linear modules
    and of experts' matrices. `dora` learns magnitudes apart from directions (arXiv:2402.09353), `rslora`
    divides alpha by the root of the rank (arXiv:2312.03732). `learning_rate` 0 is the step's own: 2e-4 at a width of 4096, growing
    as the width shrinks (3e-3 at 256). `max_length` 0 is the context."""

    changes: ClassVar = "adapter"
    needs: ClassVar = "examples"
    families: ClassVar[tuple[Family, ...]] = ("decoder", "encoder", "seq2seq")
    reads: ClassVar = ("train", "dev")
    version: ClassVar = 6

    r: int = 8
    alpha: float = 0.0
    dropout: float = 0.0
    targets: str | tuple[str, ...] = "auto"
    dora: bool = False
    rslora: bool = False
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
            raise BadInput("lora has no targets", "auto, attention, all, or names of linear modules")
        check(self, "lora", above=("epochs", "batch_size"), at_least=("alpha", "max_length", "learning_rate"), shares=("warmup",))

    def plan(self, variant: Variant, task: Task, pace: Pace) -> tuple[Variant, Cost]:
        refuse_over(variant, "lora")
        trainable = lora_parameters(variant.base, r=self.r, targets=self.targets, dora=self.dora)
        copies = expert_copies(variant.base, targets=self.targets, dtype="bfloat16" if has_bf16(device()) else "float32")
        if copies and (self.dora or self.dropout):
            what = "dora" if self.dora else f"dropout {self.dropout}"
            raise Refused(f"{what} has no form for the experts of {variant.base.name}", "leave it out, or `targets: attention`")
        made, cost = plan_adapter(self, variant, task, pace, step="lora", trainable=trainable)
        return made, replace(cost, memory=cost.memory + copies)

    def apply(self, variant: Variant, task: Task, kit: Kit) -> Variant:
        def attach(live: Live, head: Sequence[str], tags: bool) -> Attached:
            tuned = attach_lora(
                live.model,
                r=self.r,
                alpha=self.alpha or 2 * (8**0.5 if self.rslora else self.r),
                dropout=self.dropout,
                targets=(body_targets if head else linear_targets)(live.model, self.targets),
                experts=expert_targets(live.model, self.targets),
                seed=kit.seed,
                dora=self.dora,
                rslora=self.rslora,
                head=head,
                tags=tags,
            )
            return saved_by_peft(tuned)

        course = Course(self.learning_rate or 2e-4 * 4096 / variant.base.width, warmup=self.warmup)
        return learn_adapter(self, variant, task, kit, step="lora", course=course, attach=attach)
