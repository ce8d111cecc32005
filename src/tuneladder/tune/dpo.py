"""Direct preference optimisation (arXiv:2305.18290): the answers that people chose become likelier than those they rejected,
measured by how likely the reference finds both; and IPO (arXiv:2310.12036), which stops pushing once the two are far enough
apart."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import torch
from torch.nn import functional

from tuneladder.errors import BadInput
from tuneladder.task.comparing import halved
from tuneladder.train.preference import ByPairs, Referrals, check_preferring, learn_preferring, plan_preferring
from tuneladder.types import Cost, Family, Kit, Pace, Task, Variant


@dataclass(frozen=True, kw_only=True)
class Dpo:
    """`beta` is how dearly leaving the reference is paid for; of `ipo` it is its tau. `label_smoothing` is the share of pairs that
    people may have judged the wrong way round. What learns is the LoRA below, or a new one of rank `r` (0: 8); the reference is the
    variant below, with its LoRA. `learning_rate` 0 is the step's own: 5e-5 at a width of 4096, growing as the width shrinks.
    `half` learns from one half of the prompts, a or b, so that a reward that learned from the other can judge. `batch_size` counts
    pairs, `max_length` 0 is the context."""

    changes: ClassVar = "adapter"
    needs: ClassVar = "comparisons"
    families: ClassVar[tuple[Family, ...]] = ("decoder",)
    reads: ClassVar = ("train", "dev")
    version: ClassVar = 6

    beta: float = 0.1
    loss: Literal["sigmoid", "ipo"] = "sigmoid"
    label_smoothing: float = 0.0
    half: Literal["", "a", "b"] = ""
    r: int = 0
    learning_rate: float = 0.0
    epochs: float = 2.0
    batch_size: int = 16
    max_length: int = 0
    warmup: float = 0.1

    def __post_init__(self) -> None:
        check_preferring(self, "dpo")
        if not 0 <= self.label_smoothing < 0.5:
            raise BadInput(f"dpo cannot use label_smoothing {self.label_smoothing}", "0 or more, and below one half")
        if self.label_smoothing and self.loss == "ipo":
            raise BadInput("label_smoothing is of the sigmoid loss, and the loss is ipo", "leave it out: ipo does not overstate")

    def plan(self, variant: Variant, task: Task, pace: Pace) -> tuple[Variant, Cost]:
        return plan_preferring(self, variant, halved(task, self.half), pace, step="dpo")

    def apply(self, variant: Variant, task: Task, kit: Kit) -> Variant:
        loss = (
            partial(identity, tau=self.beta)
            if self.loss == "ipo"
            else partial(sigmoid, beta=self.beta, label_smoothing=self.label_smoothing)
        )
        return learn_preferring(self, variant, halved(task, self.half), kit, step="dpo", way=ByPairs(loss))


def sigmoid(
    policy_P2: torch.Tensor, reference_P2: torch.Tensor, micro: Referrals, *, beta: float, label_smoothing: float = 0.0
) -> torch.Tensor:
    """The loss of each pair (P,), of the log-probabilities of chosen and rejected: arXiv:2305.18290, equation 7; with
    `label_smoothing` its expectation where that share of the labels is the wrong way round (conservative DPO)."""
    ratios_P2 = policy_P2 - reference_P2
    margin_P = beta * (ratios_P2[:, 0] - ratios_P2[:, 1])
    return -(1 - label_smoothing) * functional.logsigmoid(margin_P) - label_smoothing * functional.logsigmoid(-margin_P)


def identity(policy_P2: torch.Tensor, reference_P2: torch.Tensor, micro: Referrals, *, tau: float) -> torch.Tensor:
    """The loss of each pair (P,): arXiv:2310.12036, equation 17, with the log-ratios of a token, as TRL has it after asking the
    paper's authors: of whole answers the square would grow with their length."""
    ratios_P2 = (policy_P2 - reference_P2) / micro.sizes.view(-1, 2)
    return (ratios_P2[:, 0] - ratios_P2[:, 1] - 1 / (2 * tau)) ** 2
