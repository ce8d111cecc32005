"""Group-relative policy optimisation (arXiv:2402.03300): of several answers to one prompt those that earned more than the others
become likelier, by as much as they earned more, and no critic has to be learned."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch

from tuneladder.errors import BadInput
from tuneladder.train.losses import token_logs
from tuneladder.train.online import Method, check_online, clipped, learn_online, plan_online
from tuneladder.train.preference import Desk
from tuneladder.train.rewarders import Reward, placed_reward, reward_content, reward_keyed
from tuneladder.train.rollouts import Sampled, Written
from tuneladder.types import Cost, Family, Kit, Pace, Rollout, Task, Variant

LEAST = 1e-4  # what is added to a group's spread before it divides, as TRL has it


@dataclass(frozen=True, kw_only=True)
class Grpo:
    """`reward`: metric (the task's own, of each answer) or a metric's name, number, json, `my_module:fn`, or the folder of a node
    that `reward` made. In each of `phases`, `samples` answers of at most `tokens` tokens to each of `prompts` prompts are written,
    and learned from `updates` times, ratios clipped to within `clip` of 1; `beta` is what a nat of KL to the variant below costs.
    `scale` group: an advantage is over the spread of its group, none as in Dr. GRPO (arXiv:2503.20783); `length` answer: each
    answer counts alike, constant: each of its tokens (Dr. GRPO). It ends once the KL is above `most_kl` nats an answer (0: any),
    put back to where it was not, or the entropy below `least_entropy` nats a token. What learns is the LoRA below, or a new one of
    rank `r` (0: 8). `learning_rate` 0 is the step's own: 5e-5 at a width of 4096, growing as the width shrinks,
    divided by the `updates`."""

    changes: ClassVar = "adapter"
    needs: ClassVar = "rewards"
    families: ClassVar[tuple[Family, ...]] = ("decoder",)
    reads: ClassVar = ("train", "metric")
    version: ClassVar = 6
    places: ClassVar = {"reward": placed_reward}

    reward: Reward = "metric"
    phases: int = 100
    prompts: int = 8
    samples: int = 8
    tokens: int = 64
    updates: int = 1
    beta: float = 0.04
    clip: float = 0.2
    scale: Literal["group", "none"] = "group"
    length: Literal["answer", "constant"] = "answer"
    most_kl: float = 0.0
    least_entropy: float = 0.0
    r: int = 0
    learning_rate: float = 0.0
    warmup: float = 0.05

    def __post_init__(self) -> None:
        check_online(self, "grpo", above=("phases", "updates", "clip"), at_least=("beta", "most_kl", "least_entropy"))
        if self.samples < 2:
            raise BadInput(f"grpo cannot compare samples {self.samples}", "2 or more answers to a prompt; 8 is a good start")

    @property
    def content(self) -> str:
        return reward_content(self.reward)

    @property
    def keyed(self) -> dict[str, str]:
        return reward_keyed(self.reward)

    def plan(self, variant: Variant, task: Task, pace: Pace) -> tuple[Variant, Cost]:
        return plan_online(self, variant, task, pace, step="grpo", phases=self.phases, updates=self.updates)

    def apply(self, variant: Variant, task: Task, kit: Kit) -> Variant:
        method = Method(teach=self._taught, loss=self._loss, price=self._price)
        return learn_online(self, variant, task, kit, step="grpo", method=method)

    def _price(self, along: Sequence[Rollout]) -> float:
        return self.beta

    def _taught(self, rows: list[Written], price: float) -> list[Written]:
        found = advantages([row.reward for row in rows], self.samples, scale=self.scale == "group")
        return [replace(row, advantages=(own,) * len(row.logs)) for row, own in zip(rows, found, strict=True)]

    def _loss(self, model: Any, micro: Sampled, desk: Desk) -> torch.Tensor:
        logs_N = token_logs(model, micro, bare=desk.bare)
        each_N = surrogate(logs_N, micro, clip=self.clip, beta=self.beta)
        return of_answers(each_N, micro, self.tokens if self.length == "constant" else None)


def advantages(rewards: Sequence[float], group: int, *, scale: bool) -> list[float]:
    """How much more each answer earned than its group did in the mean; in standard deviations of the group if `scale`."""
    found: list[float] = []
    for start in range(0, len(rewards), group):
        own = rewards[start : start + group]
        mean, spread = statistics.fmean(own), statistics.stdev(own)
        found += [(value - mean) / (spread + LEAST if scale else 1.0) for value in own]
    return found


def surrogate(logs_N: torch.Tensor, micro: Sampled, *, clip: float, beta: float) -> torch.Tensor:
    """The loss of each token (N,): arXiv:2402.03300, equation 3, the KL to the reference by equation 4."""
    apart_N = micro.reference - logs_N
    return beta * (torch.exp(apart_N) - apart_N - 1) - clipped(logs_N, micro, clip=clip)


def of_answers(each_N: torch.Tensor, micro: Sampled, most: int | None) -> torch.Tensor:
    """The loss of each answer (R,): the mean over its tokens, or their sum over the `most` that an answer may have."""
    sums_R = each_N.new_zeros(len(micro.sizes)).index_add(0, micro.of, each_N)
    return sums_R / (most if most is not None else micro.sizes.clamp(min=1))
