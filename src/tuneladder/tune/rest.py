"""Reinforced self-training (arXiv:2308.08998): the policy answers prompts (grow), and learns by example those of the answers that
earned more than a threshold, which rises (improve). Answers are written once and learned from many times, and what they earned
decides only which are learned."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any, ClassVar, Literal

import torch

from tuneladder.errors import BadInput, Failed, Refused
from tuneladder.store import write_json
from tuneladder.task.comparing import encode_sides
from tuneladder.train.batches import Micro, Rows, narrower
from tuneladder.train.loop import Course, learn, tidy
from tuneladder.train.losses import next_token
from tuneladder.train.online import Bench, at_work, check_online, plan_online, taught
from tuneladder.train.preference import rate_of
from tuneladder.train.rewarders import Asked, Reward, placed_reward, prompted, reward_content, reward_keyed
from tuneladder.train.rollouts import Limits, Written, drawn, keep, kept, read_rollouts, record_of, write_rollouts
from tuneladder.types import Cost, Family, Kit, Pace, Stopped, Task, Variant

AT_ONCE = 16  # prompts whose answers are kept together while a grow goes on


@dataclass(frozen=True, kw_only=True)
class Rest:
    """`reward`: metric (the task's own, of each answer) or a metric's name, number, json, `my_module:fn`, or the folder of a
    node that `reward` made. Each of `grows` writes `samples` answers of at most `tokens` tokens to each of `prompts` prompts;
    with `data` the rows' own answers stand beside them. `improves` times those that pass the next of the `thresholds` are
    learned, in `updates` steps of `batch_size`, at `decay` times the rate of the time before; 0: all of them, without a
    threshold. `by` quantile: a threshold is the share of answers that earned less, value: what has to be exceeded. After each
    improve some `held_out` answers to dev prompts are rewarded; the best policy is kept, and `patience` improves without a
    better one end it (0: none do). So does one that goes beyond `most_kl` nats an answer (0: any), which is not kept. What
    learns is the LoRA below, or a new one of rank `r` (0: 8). `learning_rate` 0 is the step's own: 2.5e-5 at a width of
    4096, growing as the width shrinks."""

    changes: ClassVar = "adapter"
    needs: ClassVar = "rewards"
    families: ClassVar[tuple[Family, ...]] = ("decoder",)
    reads: ClassVar = ("train", "dev", "metric")
    version: ClassVar = 4
    places: ClassVar = {"reward": placed_reward}

    reward: Reward = "metric"
    grows: int = 2
    improves: int = 3
    prompts: int = 64
    samples: int = 8
    tokens: int = 64
    data: bool = True
    by: Literal["quantile", "value"] = "quantile"
    thresholds: tuple[float, ...] = (0.7, 0.8, 0.9, 0.95, 0.99)
    updates: int = 40
    batch_size: int = 16
    decay: float = 0.5
    held_out: int = 64
    patience: int = 3
    most_kl: float = 0.0
    r: int = 0
    learning_rate: float = 0.0
    warmup: float = 0.05

    def __post_init__(self) -> None:
        above = ("grows", "updates", "batch_size", "decay", "held_out")
        check_online(self, "rest", above=above, at_least=("improves", "patience", "most_kl"), shares=("decay",))
        if len(self.thresholds) < self.improves:
            said = f"rest has {len(self.thresholds)} thresholds for improves {self.improves}"
            raise BadInput(said, "give `thresholds` one for each improve, each above the one before")
        if not all(map(math.isfinite, self.thresholds)) or not all(one < other for one, other in pairwise(self.thresholds)):
            raise BadInput(f"the thresholds of rest do not rise: {list(self.thresholds)}", "each is above the one before")
        if self.by == "quantile" and not all(0 <= own < 1 for own in self.thresholds):
            said = f"rest cannot take {list(self.thresholds)} as thresholds by quantile"
            raise BadInput(said, "shares of the answers, from 0 to below 1; or `by: value`")

    @property
    def content(self) -> str:
        return reward_content(self.reward)

    @property
    def keyed(self) -> dict[str, str]:
        return reward_keyed(self.reward)

    @property
    def stages(self) -> int:
        """How often a grow's answers are learned from."""
        return max(1, self.improves)

    def plan(self, variant: Variant, task: Task, pace: Pace) -> tuple[Variant, Cost]:
        if not prompted(task, "dev"):
            said = "rest ends where its reward no longer rises on held-out prompts, and this task has none"
            raise Refused(said, "give it rows to hold out: dev")
        answers = self.grows * self.samples * max(1, min(self.prompts, len(prompted(task, "train"))))
        # of a held-out answer that is written and read twice there are 6 operations, where one that is learned has 4
        learned = self.grows * self.stages * (self.updates * self.batch_size + 1.5 * self.held_out)
        updates = learned / answers - 1  # what is grown is not read before it is learned
        made, cost = plan_online(
            self,
            variant,
            task,
            pace,
            step="rest",
            phases=self.grows,
            updates=updates,
            batch=self.batch_size,
            splits=("train", "dev"),
        )
        own = len(prompted(task, "train")) if self.data else 0  # a row's own answer is learned from, whatever rewards it
        return made, replace(cost, annotations=max(cost.annotations, own))

    def apply(self, variant: Variant, task: Task, kit: Kit) -> Variant:
        splits = ("train", "dev")
        with at_work(self, variant, task, kit, step="rest", wanted=self.batch_size, splits=splits) as bench:
            growth = Growth(self, bench, kit)
            desk, stages = bench.policy.desk, self.grows * self.stages

            def of_pass(model: Any, micro: Micro) -> torch.Tensor:
                return next_token(model, micro, bare=desk.bare)

            course = Falling(
                rate_of(self, variant, times=0.5),
                warmup=self.warmup,
                looks=stages,
                patience=self.patience or stages + 1,
                updates=self.updates,
                stages=self.stages,
                decay=self.decay,
                drops=False,
            )
            ticks = learn(
                desk.model,
                growth,
                kit,
                loss=of_pass,
                course=course,
                dev=[],
                lanes=bench.lanes,
                halt=growth.halt,
                look=growth.look,
            )
            write_json(kit.folder / "notes.json", growth.notes(ticks[-1].step))
        tidy(kit.folder, ticks)
        return taught(variant, "rest", kit)


@dataclass(frozen=True)
class Falling(Course):
    """A course for each improve, `updates` steps long; in a grow, which has `stages` of them, each is at `decay` times the rate of
    the one before (arXiv:2308.08998, section 3)."""

    updates: int = 1
    stages: int = 1
    decay: float = 1.0

    def rate(self, step: int, steps: int) -> float:
        stage, within = divmod(step, self.updates)
        return super().rate(within, self.updates) * self.decay ** (stage % self.stages)


class Growth:
    """Implements `batches.Batches`: a grow's answers are written when its first step comes, from the policy as it is then, and lie
    in the folder a part at a time; then so many steps learn what of them passes each threshold. A stage is an improve, counted over
    all grows."""

    def __init__(self, settings: Rest, bench: Bench, kit: Kit) -> None:
        self.settings, self.policy, self.folder, self.seed = settings, bench.policy, kit.folder, kit.seed
        self.asks, self.lanes, self.tokens = bench.asks["train"], bench.lanes, bench.tokens
        self.prompts = min(settings.prompts, len(self.asks))
        held = min(settings.held_out, len(bench.asks["dev"]))
        self.held, self.each = drawn(bench.asks["dev"], held, 0, kit.seed), settings.held_out // held
        self.limits, self.records = Limits(settings.most_kl), read_rollouts(kit.folder)
        self._grow: tuple[int, list[Written]] = (-1, [])
        self._stage: tuple[int, list[Written]] = (-1, [])

    def __len__(self) -> int:
        return self.settings.grows * self.settings.stages * self.settings.updates

    def __getitem__(self, step: int) -> list[Micro]:
        stage, within = divmod(step, self.settings.updates)
        if not (rows := self._learned(stage)):
            said = f"none of the {len(self._grow[1]):,} answers passes a threshold of rest: the best earned {self._most():.4g}"
            raise Failed(said, "lower `thresholds`, or teach it to earn something first: [lora, rest]")
        cut = partial(self.policy.desk.lay, pad=self.policy.desk.pad)
        batch, seed = self.settings.batch_size, self.seed + stage
        return Rows(rows, batch=batch, epochs=1, tokens=self.tokens, seed=seed, lanes=self.lanes, cut=cut)[within]

    def narrow(self) -> bool:
        before, self.tokens = self.tokens, narrower(self.tokens, [len(row.ids) for row in self._stage[1]] or [1])
        return self.tokens < before

    def halt(self, step: int) -> Stopped:
        """That the policy went too far; or a plateau, where nothing of a new grow is better than the rest of it."""
        if step % self.settings.updates:
            return ""
        if any(own.step == step and self.limits.too_far(own) for own in self.records):
            return "kl"
        if step < len(self) and self._stale(step):
            return "plateau"  # known before the next grow is written
        anew = step < len(self) and step % (self.settings.stages * self.settings.updates) == 0
        return "plateau" if anew and not self._learned(step // self.settings.updates) else ""

    def _stale(self, step: int) -> bool:
        """Whether as many improves as `patience` says were no better than the best before them."""
        along = [own for own in self.records if own.step <= step and not self.limits.too_far(own)]
        since = step - max(along, key=lambda own: own.reward).step
        return 0 < self.settings.patience * self.settings.updates <= since

    def look(self, step: int) -> float:
        """Minus what answers to the held-out prompts earn, which is recorded; a policy that went too far is never the best."""
        self.policy.desk.model.eval()
        rows = self.policy.known(self.policy.write(self.held, each=self.each, seed=[self.seed, "held out"]))
        record = record_of(step, rows, self.held)
        self.records = [*(own for own in self.records if own.step < step), record]
        write_rollouts(self.folder, self.records)
        return math.inf if self.limits.too_far(record) else -record.reward

    def notes(self, steps: int) -> list[str]:
        """What so many steps learned from, and which policy is kept."""
        said, reached = [], -(-steps // self.settings.updates)
        for first in range(0, reached, self.settings.stages):
            learned = [f"{len(self._learned(stage)):,}" for stage in range(first, min(reached, first + self.settings.stages))]
            rows = self._grow[1]
            mean = sum(row.reward for row in rows) / len(rows)
            grow = first // self.settings.stages + 1
            said.append(f"grow {grow}: {len(rows):,} answers earned {mean:.3g}; learned were {', '.join(learned)} of them")
        along = [own for own in self.records if own.step <= steps]
        write_rollouts(self.folder, along)  # without looks of a run that was killed and went further than this one
        best = max((own for own in along if not self.limits.too_far(own)), key=lambda own: own.reward)
        policy = f"the policy after {best.step} of {steps} steps" if best.step else "the policy as it was before"
        earned = f"held-out prompts earned {best.reward:.3g}, and {along[0].reward:.3g} at first"
        return [*said, f"kept is {policy}: its answers to {earned}"]

    def _learned(self, stage: int) -> list[Written]:
        """The answers that a stage learns: where none passes its threshold, those of the highest that one passes."""
        if self._stage[0] != stage:
            grow, improve = divmod(stage, self.settings.stages)
            rows = self._grown(grow)
            if self.settings.improves:
                rewards = [row.reward for row in rows]
                tried = (passing(rewards, own, by=self.settings.by) for own in self.settings.thresholds[improve::-1])
                passed = next((own for own in tried if any(own)), [False] * len(rows))
                rows = [row for row, own in zip(rows, passed, strict=True) if own]
            self._stage = (stage, rows)
        return self._stage[1]

    def _grown(self, grow: int) -> list[Written]:
        """A grow's answers: those of a part are there, or are written now."""
        if self._grow[0] != grow:
            prompts = drawn(self.asks, self.prompts, grow, self.seed)
            rows: list[Written] = []
            for first in range(0, len(prompts), AT_ONCE):
                place = self.folder / f"rollout-{grow}-{first}.pt"
                if not place.exists():
                    keep(place, self._written(prompts[first : first + AT_ONCE], grow))
                rows += kept(place)
            self._grow = (grow, rows)
        return self._grow[1]

    def _written(self, prompts: Sequence[Asked], grow: int) -> list[Written]:
        self.policy.desk.model.eval()
        rows = self.policy.write(prompts, each=self.settings.samples, seed=[self.seed, grow])
        return [*rows, *self._own(prompts)] if self.settings.data else rows

    def _own(self, prompts: Sequence[Asked]) -> list[Written]:
        """The rows' own answers to their prompts, rewarded too: those that are no longer than what the policy may write."""
        texts = [own.example.references[0] for own in prompts]
        sides = encode_sides(self.policy.engine.coder, [(own.turns, (text,)) for own, text in zip(prompts, texts, strict=True)])
        fits = [(at, own[0]) for at, own in enumerate(sides) if own and sum(own[0].learn) <= self.policy.tokens]
        if not fits:
            return []
        rewards = self.policy.rewarder([prompts[at] for at, _ in fits], [texts[at] for at, _ in fits])
        return [
            Written(row.ids, row.learn, row.cut, 1.0, at, texts[at], reward)
            for (at, row), reward in zip(fits, rewards, strict=True)
        ]

    def _most(self) -> float:
        return max(row.reward for row in self._grow[1])


def passing(rewards: Sequence[float], threshold: float, *, by: Literal["quantile", "value"]) -> list[bool]:
    """Which answers pass: F(x, y; tau) of arXiv:2308.08998, section 3. A value has to be exceeded. A quantile is reached, by all
    that earned as much as the least of those above it; but whoever earned no more than the mean passes none, for Algorithm 1 has
    every threshold above what the policy earns."""
    if by == "value":
        return [own > threshold for own in rewards]
    least = sorted(rewards)[int(threshold * len(rewards) + 1e-9)]
    mean = max(min(rewards), math.fsum(rewards) / len(rewards))
    return [own >= least and own > mean for own in rewards]
