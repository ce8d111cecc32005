"""Rollouts: what a policy wrote and what it earned, as batches for the one loop.

A phase begins with answers to prompts that a seed draws: they are sampled from the policy as it is then, at temperature 1,
rewarded, and read once more by the policy and by its reference, the variant as it was before. `updates` steps then learn from them.
All of it lies in the folder, so that a run that was killed goes on with the very answers that it had.

Shapes: R answers, N their tokens.
"""

from __future__ import annotations

import json
import os
import random
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from tuneladder.model.local import LocalEngine
from tuneladder.store import digest, thaw
from tuneladder.task.encode import Encoded
from tuneladder.train.batches import Micro
from tuneladder.train.losses import token_logs
from tuneladder.train.preference import Desk
from tuneladder.train.rewarders import Asked, Rewarder
from tuneladder.train.supervised import DEV_TOKENS
from tuneladder.types import Decoding, Rollout, Sample, Stopped

FILE = "rollouts.jsonl"


@dataclass(frozen=True)
class Written(Encoded):
    """An answer in tokens, of the `group` of answers to one prompt, and what it earned; of each of its tokens the log-probability
    that the policy which wrote it and the reference give it, and its advantage."""

    group: int = 0
    text: str = ""
    reward: float = 0.0
    logs: tuple[float, ...] = ()
    reference: tuple[float, ...] = ()
    advantages: tuple[float, ...] = ()

    @property
    def kl(self) -> float:
        """How much likelier the policy finds it than the reference does, nats: over its own answers the mean is the KL."""
        return sum(self.logs) - sum(self.reference)


@dataclass(frozen=True, kw_only=True)
class Sampled(Micro):
    """A pass of answers: `of` (N,) is whose token each is, `sizes` (R,) how many an answer has; the others (N,) are those of
    Written."""

    of: torch.Tensor
    sizes: torch.Tensor
    logs: torch.Tensor
    reference: torch.Tensor
    advantages: torch.Tensor

    @property
    def learned(self) -> float:
        """The answers."""
        return float(len(self.sizes))


Teach = Callable[[list[Written]], list[Written]]  # a phase's answers -> the same with their advantages


@dataclass(frozen=True)
class Limits:
    """Where a policy is stopped: nats of KL an answer (0: nowhere), and nats of entropy a token, below which nothing is left to
    try."""

    kl: float = 0.0
    entropy: float = 0.0


class Policy:
    """What learns, as it writes and as it is read; `start` are the weights that learn as they were before, which are the
    reference's."""

    def __init__(
        self, desk: Desk, engine: LocalEngine, rewarder: Rewarder, *, tokens: int, device: str, half: torch.dtype | None
    ) -> None:
        self.desk, self.engine, self.rewarder = desk, engine, rewarder
        self.tokens, self.device, self.half = tokens, device, half
        self.weights = [weight for name, weight in desk.model.named_parameters() if weight.requires_grad and "lora_" in name]
        self.start = [weight.detach().clone() for weight in self.weights]

    def write(self, prompts: Sequence[Asked], *, each: int, seed: Any) -> list[Written]:
        """`each` answers to each prompt, rewarded."""
        draw = int(digest(seed), 16) % (1 << 31)
        decoding = Decoding(max_new_tokens=self.tokens, temperature=1.0, samples=each, seed=draw)
        groups = self.engine.write_out([own.turns for own in prompts], decoding)
        rows = [(at, own) for at, group in enumerate(groups) for own in group]
        rewards = self.rewarder([prompts[at] for at, _ in rows], [own.text for _, own in rows])
        return [
            Written([*own.prompt, *own.ids], [False] * len(own.prompt) + [True] * len(own.ids), 0, 1.0, at, own.text, reward)
            for (at, own), reward in zip(rows, rewards, strict=True)
        ]

    def known(self, rows: Sequence[Written]) -> list[Written]:
        """The answers with what policy and reference say of their tokens."""
        logs = self.read(rows)
        with self.as_before():
            reference = self.read(rows)
        return [replace(row, logs=own, reference=other) for row, own, other in zip(rows, logs, reference, strict=True)]

    def read(self, rows: Sequence[Written]) -> list[tuple[float, ...]]:
        """Of each token of each answer its log-probability."""
        laid: list[list[int]] = []
        number = {id(row): at for at, row in enumerate(rows)}

        def noting(own: Sequence[Written]) -> Micro:
            laid.append([number[id(row)] for row in own])
            return self.desk.pad(own)

        found: list[tuple[float, ...]] = [()] * len(rows)
        for micro, own in zip(self.desk.lay(rows, tokens=DEV_TOKENS, lanes=1, pad=noting), laid, strict=True):
            there = micro.to(self.desk.core.device)
            with torch.no_grad(), torch.autocast(self.device, self.half or torch.bfloat16, enabled=self.half is not None):
                made = token_logs(self.desk.model, there, bare=self.desk.bare)
            values = iter(made.tolist())
            for at in own:
                found[at] = tuple(next(values) for _ in range(sum(rows[at].learn[1:])))
        return found

    @contextmanager
    def as_before(self) -> Iterator[None]:
        """While open, the model is the reference."""
        now = [weight.detach().clone() for weight in self.weights]
        self._put(self.start)
        try:
            yield
        finally:
            self._put(now)

    @torch.no_grad()
    def _put(self, values: Sequence[torch.Tensor]) -> None:
        for weight, value in zip(self.weights, values, strict=True):
            weight.copy_(value)


class Rollouts:
    """Implements `batches.Batches`: each phase of `updates` steps learns from `group` answers to each of `prompts` prompts, all of
    them in each step. `tokens` are those of a pass in a lane."""

    def __init__(
        self,
        policy: Policy,
        asks: Sequence[Asked],
        folder: Path,
        *,
        phases: int,
        updates: int,
        prompts: int,
        group: int,
        seed: int,
        tokens: int,
        lanes: int,
        teach: Teach,
        limits: Limits,
    ) -> None:
        self.policy, self.asks, self.folder = policy, asks, folder
        self.phases, self.updates, self.prompts, self.group = phases, updates, min(prompts, len(asks)), group
        self.seed, self.tokens, self.lanes, self.limits = seed, tokens, lanes, limits
        self.teach = teach
        self.records = read_rollouts(folder)
        self._now: tuple[int, list[Written]] = (-1, [])

    def __len__(self) -> int:
        return self.phases * self.updates

    def __getitem__(self, step: int) -> list[Micro]:
        # the policy that learns is the one that wrote: nothing is dropped out
        self.policy.desk.model.eval()
        rows = self._phase(step // self.updates)
        return self.policy.desk.lay(rows, tokens=self.tokens, lanes=self.lanes, pad=self._pass)

    def narrow(self) -> bool:
        shortest = min((len(row.ids) for row in self._now[1]), default=1)
        if self.tokens <= max(1, shortest):
            return False
        self.tokens //= 2
        return True

    def halt(self, step: int) -> Stopped:
        """Why the policy is to stop after so many steps, by what it wrote last."""
        record = self.records[(step - 1) // self.updates]
        if self.limits.kl and record.kl > self.limits.kl:
            return "kl"
        return "entropy" if record.entropy < self.limits.entropy else ""

    def _phase(self, phase: int) -> list[Written]:
        if self._now[0] != phase:
            place = self.folder / f"rollout-{phase}.pt"
            if not (place.exists() and len(self.records) > phase):
                self._make(phase, place)
            self._now = (phase, kept(place))
        return self._now[1]

    def _make(self, phase: int, place: Path) -> None:
        prompts = drawn(self.asks, self.prompts, phase, self.seed)
        rows = self.policy.known(self.policy.write(prompts, each=self.group, seed=[self.seed, phase]))
        rows = self.teach(rows)
        keep(place, rows)
        self.records = [*self.records[:phase], record_of(phase * self.updates, rows, prompts)]
        write_rollouts(self.folder, self.records)

    def _pass(self, rows: Sequence[Written]) -> Sampled:
        sizes = torch.tensor([sum(row.learn[1:]) for row in rows])

        def flat(name: str) -> torch.Tensor:
            return torch.tensor([value for row in rows for value in getattr(row, name)])

        names = ("logs", "reference", "advantages")
        told: dict[str, Any] = {name: flat(name) for name in names}
        return Sampled(**vars(self.policy.desk.pad(rows)), of=torch.arange(len(rows)).repeat_interleave(sizes), sizes=sizes, **told)


def drawn(asks: Sequence[Asked], count: int, phase: int, seed: int) -> list[Asked]:
    """The `count` prompts of a phase: all are drawn, in an order of the seed's, before any comes again."""
    found = []
    for at in range(phase * count, (phase + 1) * count):
        turn, place = divmod(at, len(asks))
        found.append(asks[random.Random(f"{seed} {turn}").sample(range(len(asks)), len(asks))[place]])
    return found


def record_of(step: int, rows: Sequence[Written], prompts: Sequence[Asked]) -> Rollout:
    """What is told of the answers that a policy wrote to the prompts after so many steps."""
    rewards = [row.reward for row in rows]
    best = max(rows, key=lambda row: row.reward)
    tokens = sum(len(row.logs) for row in rows)
    return Rollout(
        step=step,
        reward=statistics.fmean(rewards),
        spread=statistics.pstdev(rewards),
        kl=statistics.fmean(row.kl for row in rows),
        entropy=-sum(sum(row.logs) for row in rows) / max(1, tokens),
        length=tokens / len(rows),
        samples=tuple(Sample(prompts[row.group].turns[-1].text, row.text, row.reward) for row in (rows[0], best)),
    )


def keep(place: Path, rows: Sequence[Written]) -> None:
    """Answers into a file, which is there whole or not at all."""
    temporary = place.with_suffix(".tmp")
    torch.save([asdict(row) for row in rows], temporary)
    os.replace(temporary, place)


def kept(place: Path) -> list[Written]:
    """The answers that a file holds."""
    return [Written(**own) for own in torch.load(place, weights_only=True)]


def write_rollouts(folder: Path, records: Sequence[Rollout]) -> None:
    """In place of those that are there."""
    temporary = (folder / FILE).with_suffix(".tmp")
    temporary.write_text("".join(json.dumps(asdict(own), ensure_ascii=False) + "\n" for own in records), "utf-8")
    os.replace(temporary, folder / FILE)


def read_rollouts(folder: Path) -> list[Rollout]:
    """What a step's policy went through, [] where it was none."""
    path = folder / FILE
    # an answer may hold line ends of other sorts
    return [thaw(Rollout, json.loads(line)) for line in path.read_text("utf-8").split("\n") if line] if path.exists() else []
