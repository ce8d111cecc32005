"""Kahneman-Tversky optimisation (arXiv:2402.01306): answers that were judged one by one, wanted or not, become likelier or less
likely, measured by how likely the reference finds them and by how far the policy has gone from it altogether."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import torch

from tuneladder.task.comparing import halved
from tuneladder.train.preference import check_preferring, learn_preferring
from tuneladder.train.supervised import check
from tuneladder.train.unpaired import OneByOne, Wanted, plan_unpaired
from tuneladder.types import Cost, Family, Kit, Pace, Task, Variant


@dataclass(frozen=True, kw_only=True)
class Kto:
    """`beta` is how soon a gain is gain enough. `desirable` and `undesirable` are how much wanted and unwanted answers count: where
    there are many more of one sort, the other's is raised (arXiv:2402.01306, equation 8). A pair is an answer of each sort. What
    learns is the LoRA below, or a new one of rank `r` (0: 8); the reference is the variant below, with its LoRA. `learning_rate` 0
    is the step's own: 5e-5 at a width of 4096, growing as the width shrinks. `half` learns from one half of the prompts, a or
    b, so that a reward that learned from the other can judge. `batch_size` counts answers, `max_length` 0 is the context."""

    changes: ClassVar = "adapter"
    needs: ClassVar = "comparisons"
    families: ClassVar[tuple[Family, ...]] = ("decoder",)
    reads: ClassVar = ("train", "dev")
    version: ClassVar = 6

    beta: float = 0.1
    desirable: float = 1.0
    undesirable: float = 1.0
    half: Literal["", "a", "b"] = ""
    r: int = 0
    learning_rate: float = 0.0
    epochs: float = 2.0
    batch_size: int = 32
    max_length: int = 0
    warmup: float = 0.1

    def __post_init__(self) -> None:
        check_preferring(self, "kto")
        check(self, "kto", above=("desirable", "undesirable"), at_least=(), shares=())

    def plan(self, variant: Variant, task: Task, pace: Pace) -> tuple[Variant, Cost]:
        return plan_unpaired(self, variant, halved(task, self.half), pace, step="kto")

    def apply(self, variant: Variant, task: Task, kit: Kit) -> Variant:
        loss = partial(prospect, beta=self.beta, desirable=self.desirable, undesirable=self.undesirable)
        return learn_preferring(self, variant, halved(task, self.half), kit, step="kto", way=OneByOne(loss))


def prospect(
    policy_R: torch.Tensor, reference_R: torch.Tensor, judged: Wanted, *, beta: float, desirable: float, undesirable: float
) -> torch.Tensor:
    """The loss of each answer (R,): arXiv:2402.01306, equation 8, each value taken from the most that it can be."""
    gain_R = beta * (policy_R - reference_R - judged.baseline)
    good_R, bad_R = desirable * (1 - torch.sigmoid(gain_R)), undesirable * (1 - torch.sigmoid(-gain_R))
    return torch.where(judged.wanted, good_R, bad_R)
