"""Proximal policy optimisation (arXiv:1707.06347), as language models are taught by it (arXiv:1909.08593): each token of an answer
becomes likelier by as much as what it led to was better than a critic foretold, and leaving the reference costs reward."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, ClassVar

import torch

from tuneladder.errors import BadInput
from tuneladder.train.critic import logs_and_values
from tuneladder.train.online import Method, check_online, clipped, learn_online, plan_online
from tuneladder.train.preference import Desk
from tuneladder.train.rewarders import Reward, placed_reward, reward_content, reward_keyed
from tuneladder.train.rollouts import Sampled, Valued, Written
from tuneladder.types import Cost, Family, Kit, Pace, Rollout, Task, Variant

LEAST = 1e-8  # what is added to the variance of advantages before it divides
FARTHEST = 0.2  # share of the target: a KL that misses it by more counts no more
GAIN = 0.1  # of a miss, what the price moves by


@dataclass(frozen=True, kw_only=True)
class Ppo:
    """`reward`: metric (the task's own, of each answer) or a metric's name, number, json, `my_module:fn`, or the folder of a node
    that `reward` made. In each of `phases`, `samples` answers of at most `tokens` tokens to each of `prompts` prompts are written,
    and learned from `updates` times, ratios clipped to within `clip` of 1. A nat of KL to the variant below costs `beta` of the
    standard deviation that rewards have in the first phase, whatever their scale (arXiv:1909.08593, section 2.1); with `target_kl`
    that is where the price begins, and it moves until answers have so many nats. Advantages are estimated by `gamma` and `lam`
    (lambda: below 1 the first tokens hear little of a reward that comes with the last), and what the critic misses counts
    `value_weight` in the loss, its values clipped to within `clip_value` of what they were. It ends once the KL is above `most_kl`
    nats an answer (0: any), or the entropy below `least_entropy` nats a token. What learns is the LoRA below, or a new one of rank
    `r` (0: 8), and the critic. `learning_rate` 0 is the step's own: 5e-5 at a width of 4096, growing as the width shrinks,
    divided by the `updates`."""

    changes: ClassVar = "adapter"
    needs: ClassVar = "rewards"
    families: ClassVar[tuple[Family, ...]] = ("decoder",)
    reads: ClassVar = ("train", "metric")
    version: ClassVar = 5
    places: ClassVar = {"reward": placed_reward}

    reward: Reward = "metric"
    phases: int = 100
    prompts: int = 64
    samples: int = 1
    tokens: int = 64
    updates: int = 4
    beta: float = 0.05
    target_kl: float = 0.0
    gamma: float = 1.0
    lam: float = 1.0
    clip: float = 0.2
    clip_value: float = 0.2
    value_weight: float = 0.1
    most_kl: float = 0.0
    least_entropy: float = 0.0
    r: int = 0
    learning_rate: float = 0.0
    warmup: float = 0.05

    def __post_init__(self) -> None:
        above = ("phases", "updates", "clip", "clip_value")
        at_least = ("beta", "target_kl", "value_weight", "most_kl", "least_entropy")
        check_online(self, "ppo", above=above, at_least=at_least, shares=("gamma", "lam"))
        if self.target_kl and not self.beta:
            hint = "beta is where the price begins: above 0; or leave `target_kl` out"
            raise BadInput(f"ppo cannot move a price of 0 towards target_kl {self.target_kl}", hint)

    @property
    def content(self) -> str:
        return reward_content(self.reward)

    @property
    def keyed(self) -> dict[str, str]:
        return reward_keyed(self.reward)

    def plan(self, variant: Variant, task: Task, pace: Pace) -> tuple[Variant, Cost]:
        return plan_online(self, variant, task, pace, step="ppo", phases=self.phases, updates=self.updates)

    def apply(self, variant: Variant, task: Task, kit: Kit) -> Variant:
        method = Method(teach=self._taught, loss=self._loss, price=self._price, critic=True)
        return learn_online(self, variant, task, kit, step="ppo", method=method)

    def _price(self, along: Sequence[Rollout]) -> float:
        if not along:
            return 0.0  # what writes first is the reference itself
        beta = priced(self.beta, [own.kl for own in along], target=self.target_kl) if self.target_kl else self.beta
        return beta * (along[0].spread or 1.0)

    def _taught(self, rows: list[Written], price: float) -> list[Written]:
        found = [estimated(earned(row, price), row.values, gamma=self.gamma, lam=self.lam) for row in rows]
        advantages = iter(whitened([value for own in found for value in own]))
        return [
            replace(
                row,
                advantages=tuple(islice(advantages, len(own))),
                returns=tuple(gain + value for gain, value in zip(own, row.values, strict=True)),
            )
            for row, own in zip(rows, found, strict=True)
        ]

    def _loss(self, model: Any, micro: Sampled, desk: Desk) -> torch.Tensor:
        assert isinstance(micro, Valued)
        logs_N, values_N = logs_and_values(model, micro, bare=desk.bare)
        return self.value_weight * missed(values_N, micro, clip=self.clip_value) - clipped(logs_N, micro, clip=self.clip)


def priced(beta: float, kls: Sequence[float], *, target: float) -> float:
    """What a nat costs after phases that were so far from the reference, `beta` at first (arXiv:1909.08593, section 2.2)."""
    for kl in kls:
        apart = (kl - target) / target
        beta *= 1 + GAIN * min(max(apart, -FARTHEST), FARTHEST)
    return beta


def earned(row: Written, price: float) -> list[float]:
    """The reward of each token: the KL that it adds at its price, and with the last one what the answer earned (arXiv:1909.08593,
    equation 2)."""
    found = [price * (other - own) for own, other in zip(row.logs, row.reference, strict=True)]
    found[-1] += row.reward
    return found


def estimated(rewards: Sequence[float], values: Sequence[float], *, gamma: float, lam: float) -> list[float]:
    """How much better than foretold it went from each token on (arXiv:1506.02438, equation 16); nothing comes after the last."""
    found: list[float] = []
    advantage = after = 0.0
    for reward, value in zip(reversed(rewards), reversed(values), strict=True):
        advantage = reward + gamma * after - value + gamma * lam * advantage
        found.append(advantage)
        after = value
    return found[::-1]


def whitened(values: Sequence[float]) -> list[float]:
    """The same with a mean of 0 and a variance of 1; all 0 where they are alike."""
    mean = statistics.fmean(values)
    spread = math.sqrt(statistics.fmean((value - mean) ** 2 for value in values) + LEAST)
    return [(value - mean) / spread for value in values]


def missed(values_N: torch.Tensor, micro: Valued, *, clip: float) -> torch.Tensor:
    """Half the square by which the critic misses what came, of each token (N,): of its value, or of its value within `clip` of
    what it was when the answer was written, whichever misses by more (arXiv:2005.12729)."""
    near_N = micro.values + (values_N - micro.values).clamp(-clip, clip)
    return torch.max((values_N - micro.returns) ** 2, (near_N - micro.returns) ** 2) / 2
