"""What the steps that learn a LoRA share, whatever the base's weights are held in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from tuneladder.errors import BadInput, Refused
from tuneladder.model.attach import Attached, attach_lora, body_targets, expert_targets, linear_targets, saved_by_peft
from tuneladder.model.hardware import computed_in, device
from tuneladder.model.memory import expert_copies, lora_parameters
from tuneladder.model.shelf import Live
from tuneladder.train.loop import Course
from tuneladder.train.supervised import Lessons, check, learn_adapter, plan_adapter, refuse_over
from tuneladder.types import Base, Cost, Kit, Pace, Task, Variant

# One for all ranks, that the rate need not change with the rank (arXiv:2106.09685, section 4.1): with twice the rank, one of 64
# learned nothing at the rate of one of 8.
ALPHA = 16.0


class LowRank(Lessons, Protocol):
    """The settings of a LoRA: `alpha` 0 is the step's own, `targets` are those of `attach.linear_targets`."""

    @property
    def r(self) -> int: ...

    @property
    def alpha(self) -> float: ...

    @property
    def dropout(self) -> float: ...

    @property
    def targets(self) -> str | tuple[str, ...]: ...

    @property
    def warmup(self) -> float: ...


def check_low_rank(settings: LowRank, step: str) -> None:
    """Raises BadInput for settings that no LoRA can have."""
    if settings.r < 1:
        raise BadInput(f"{step} cannot have rank {settings.r}", "r is 1 or more; 8 is a good start")
    if not 0 <= settings.dropout < 1:
        raise BadInput(f"dropout {settings.dropout} is not a share below 1", "0.1 drops a tenth")
    if not settings.targets:
        raise BadInput(f"{step} has no targets", "auto, attention, all, or names of linear modules")
    check(settings, step, above=("epochs", "batch_size"), at_least=("alpha", "max_length", "learning_rate"), shares=("warmup",))


def plan_low_rank(
    settings: LowRank, variant: Variant, task: Task, pace: Pace, *, step: str, dora: bool = False
) -> tuple[Variant, Cost]:
    """The variant with a LoRA that is foretold, and what it costs. Raises Refused."""
    refuse_over(variant, step)
    trainable = lora_parameters(variant.base, r=settings.r, targets=settings.targets, dora=dora)
    copies = expert_copies(variant.base, targets=settings.targets, dtype=computed_in(device()))
    if copies and (dora or settings.dropout):
        what = "dora" if dora else f"dropout {settings.dropout}"
        raise Refused(f"{what} has no form for the experts of {variant.base.name}", "leave it out, or `targets: attention`")
    # a layer is one function with a plain LoRA in it alone
    plain = not (dora or settings.dropout)
    return plan_adapter(settings, variant, task, pace, step=step, trainable=trainable, fusible=plain, beside=copies)


def lora_course(base: Base, *, warmup: float) -> Course:
    """How a LoRA learns where nothing else is said: at 2e-4 for a width of 4096, and half of that on an encoder, for with 2e-3 one
    draw in three stuck on MiniLM. As the width shrinks the rate grows by as much, as that of whole matrices does, but in a long
    training by the root of it alone: what learns a thousand rows well does not settle on eight thousand."""
    narrower = 4096 / base.width
    rate = 2e-4 * narrower * (0.5 if base.family == "encoder" else 1.0)
    return Course(rate, warmup=warmup, least=min(rate, 2e-4 * narrower**0.5))


def learn_low_rank(
    settings: LowRank,
    variant: Variant,
    task: Task,
    kit: Kit,
    *,
    step: str,
    alpha: float,
    dora: bool = False,
    rslora: bool = False,
) -> Variant:
    """The variant with a LoRA of so large an `alpha` that learned from the task's rows. Where nothing else is said, its rate is
    that of `lora_course`."""

    def attach(live: Live, head: Sequence[str], tags: bool) -> Attached:
        tuned = attach_lora(
            live.model,
            r=settings.r,
            alpha=alpha,
            dropout=settings.dropout,
            targets=(body_targets if head else linear_targets)(live.model, settings.targets),
            experts=expert_targets(live.model, settings.targets),
            seed=kit.seed,
            dora=dora,
            rslora=rslora,
            head=head,
            tags=tags,
        )
        return saved_by_peft(tuned)

    course = lora_course(variant.base, warmup=settings.warmup)
    return learn_adapter(settings, variant, task, kit, step=step, course=course, attach=attach)
