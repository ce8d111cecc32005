"""Rollouts: what a policy wrote and what it earned, as batches for the one loop.

A phase begins with answers to prompts that a seed draws: they are sampled from the policy as it is then, at temperature 1,
rewarded, and read once more by the policy and by its reference, the variant as it was before. `updates` steps then learn from them.
All of it lies in the folder, so that a run that was killed goes on with the very answers that it had. So do, where the KL is
limited, the weights that last wrote within the limit: they are what is kept of a policy that went beyond. A run that was killed may
have gone further than the one that takes it up from its last checkpoint: what is of later steps than that one's end is not its own.

Shapes: R answers, N their tokens.
"""

from __future__ import annotations

import json
import random
import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch

from tuneladder.model.lanes import in_half
from tuneladder.model.local import LocalEngine
from tuneladder.model.writing import Written as Continued
from tuneladder.store import digest, thaw, write_lines
from tuneladder.task.encode import Encoded
from tuneladder.train.batches import Micro
from tuneladder.train.critic import attach_critic, logs_and_values
from tuneladder.train.loop import save_whole, saved_step
from tuneladder.train.losses import token_logs
from tuneladder.train.preference import Desk
from tuneladder.train.rewarders import Asked, Rewarder
from tuneladder.train.supervised import DEV_TOKENS
from tuneladder.types import Decoding, Rollout, Sample, Stopped, Tick

FILE = "rollouts.jsonl"


@dataclass(frozen=True)
class Written(Encoded):
    """An answer in tokens, of the `group` of answers to one prompt, and what it earned; of each of its tokens the log-probability
    that the policy which wrote it and the reference give it, and its advantage. With a critic also the `values` that it foretold
    and the `returns` that came."""

    group: int = 0
    text: str = ""
    reward: float = 0.0
    logs: tuple[float, ...] = ()
    reference: tuple[float, ...] = ()
    advantages: tuple[float, ...] = ()
    values: tuple[float, ...] = ()
    returns: tuple[float, ...] = ()

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


@dataclass(frozen=True, kw_only=True)
class Valued(Sampled):
    """A pass of answers, and of each token (N,) what a critic foretold when it was written, and what came."""

    values: torch.Tensor
    returns: torch.Tensor

    @property
    def learned(self) -> float:
        """The tokens."""
        return float(len(self.of))


class Said(NamedTuple):
    """What a policy says of the tokens of an answer: the log-probability of each, and with a critic its value."""

    logs: tuple[float, ...]
    values: tuple[float, ...]


# a phase's answers, and what a nat of KL costs -> the same with their advantages
Teach = Callable[[list[Written], float], list[Written]]
# the phases so far -> what a nat of KL costs in the next
Price = Callable[[Sequence[Rollout]], float]


@dataclass(frozen=True)
class Limits:
    """Where a policy is stopped: nats of KL an answer (0: nowhere), and nats of entropy a token, below which nothing is left to
    try. What is kept of one that went too far is what it was before."""

    kl: float = 0.0
    entropy: float = 0.0

    def too_far(self, record: Rollout) -> bool:
        """Whether a policy that wrote so is beyond the limit on its KL."""
        return 0 < self.kl < record.kl


class Policy:
    """What learns, as it writes and as it is read; `start` are the weights that learn as they were before, which are the
    reference's."""

    def __init__(
        self,
        desk: Desk,
        engine: LocalEngine,
        rewarder: Rewarder,
        *,
        tokens: int,
        stop: tuple[str, ...],
        device: str,
        half: torch.dtype | None,
    ) -> None:
        self.desk, self.engine, self.rewarder = desk, engine, rewarder
        self.tokens, self.stop, self.device, self.half = tokens, stop, device, half
        self.weights = [weight for name, weight in desk.model.named_parameters() if weight.requires_grad and "lora_" in name]
        self.start = [weight.detach().clone() for weight in self.weights]
        self.critic = False

    def foretell(self) -> None:
        """From now on foretell, and learn to, what an answer will earn."""
        attach_critic(self.desk.model)
        self.critic = True

    def write(self, prompts: Sequence[Asked], *, each: int, seed: Any) -> list[Written]:
        """`each` answers to each prompt, rewarded. They end where those that are measured do. What is asked again is answered
        anew."""
        found: dict[int, Sequence[Continued]] = {}
        for again in sorted({own.again for own in prompts}):
            # a prompt and a seed draw one answer
            draw = int(digest([seed, again] if again else seed), 16) % (1 << 31)
            decoding = Decoding(max_new_tokens=self.tokens, temperature=1.0, stop=self.stop, samples=each, seed=draw)
            places = [at for at, own in enumerate(prompts) if own.again == again]
            found |= zip(places, self.engine.write_out([prompts[at].turns for at in places], decoding), strict=True)
        rows = [(at, own) for at in range(len(prompts)) for own in found[at]]
        rewards = self.rewarder([prompts[at] for at, _ in rows], [own.text for _, own in rows])
        return [
            Written([*own.prompt, *own.ids], [False] * len(own.prompt) + [True] * len(own.ids), 0, 1.0, at, own.text, reward)
            for (at, own), reward in zip(rows, rewards, strict=True)
        ]

    def known(self, rows: Sequence[Written]) -> list[Written]:
        """The answers with what policy and reference say of their tokens."""
        said = self.read(rows)
        with self.as_before():
            reference = self.read(rows)
        return [
            replace(row, logs=own.logs, values=own.values, reference=other.logs)
            for row, own, other in zip(rows, said, reference, strict=True)
        ]

    def read(self, rows: Sequence[Written]) -> list[Said]:
        """What the policy, as it is now, says of the tokens of each answer."""
        laid: list[list[int]] = []
        number = {id(row): at for at, row in enumerate(rows)}

        def noting(own: Sequence[Written]) -> Micro:
            laid.append([number[id(row)] for row in own])
            return self.desk.pad(own)

        found = [Said((), ())] * len(rows)
        for micro, own in zip(self.desk.lay(rows, tokens=DEV_TOKENS, lanes=1, pad=noting), laid, strict=True):
            logs, values = map(iter, self._say(micro.to(self.desk.core.device)))
            for at in own:
                count = sum(rows[at].learn[1:])
                found[at] = Said(tuple(islice(logs, count)), tuple(islice(values, count)))
        return found

    def _say(self, micro: Micro) -> tuple[list[float], list[float]]:
        model, bare = self.desk.model, self.desk.bare
        with torch.no_grad(), in_half(self.device, self.half):
            if not self.critic:
                return token_logs(model, micro, bare=bare).tolist(), []
            logs_N, values_N = logs_and_values(model, micro, bare=bare)
        return logs_N.tolist(), values_N.tolist()

    @contextmanager
    def as_before(self) -> Iterator[None]:
        """While open, the model is the reference."""
        now = [weight.detach().clone() for weight in self.weights]
        self._put(self.start)
        try:
            yield
        finally:
            self._put(now)

    def keep(self, file: Path) -> None:
        """Write what learns, as it is now."""
        save_whole(file, [weight.detach() for weight in self.weights])

    def put_back(self, file: Path) -> None:
        """Learn as what was kept."""
        self._put(torch.load(file, map_location="cpu", weights_only=True))

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
        price: Price,
        limits: Limits,
    ) -> None:
        self.policy, self.asks, self.folder = policy, asks, folder
        self.phases, self.updates, self.prompts, self.group = phases, updates, min(prompts, len(asks)), group
        self.seed, self.tokens, self.lanes, self.limits = seed, tokens, lanes, limits
        self.teach, self.price = teach, price
        self.records = read_rollouts(folder)
        self.within = Within(folder, policy)
        if limits.kl and not self.within.steps():
            self.within.keep(0)
        self._now: tuple[int, list[Written]] = (-1, [])

    def __len__(self) -> int:
        return self.phases * self.updates

    def __getitem__(self, step: int) -> list[Micro]:
        rows = self._phase(step // self.updates)
        return self.policy.desk.lay(rows, tokens=self.tokens, lanes=self.lanes, pad=self._pass)

    def narrow(self) -> bool:
        shortest = min((len(row.ids) for row in self._now[1]), default=1)
        if self.tokens <= max(1, shortest):
            return False
        self.tokens //= 2
        return True

    def halt(self, step: int) -> Stopped:
        """Why the policy is to stop after so many steps, by what it writes then: at the end of a phase the next is written before
        anything is learned from it, and after the last one where the KL is limited."""
        if not self._looks(step):
            return ""
        self._phase(step // self.updates)
        record = self.records[step // self.updates]
        if self.limits.too_far(record):
            return "kl"
        if self.limits.kl:
            self.within.keep(step)
        return "entropy" if step < len(self) and record.entropy < self.limits.entropy else ""

    def _looks(self, step: int) -> bool:
        """Whether it is asked after so many steps how far the policy has gone."""
        return not step % self.updates and bool(self.limits.kl or (self.limits.entropy and step < len(self)))

    def settle(self, last: Tick) -> str:
        """Once all is learned: what an earlier try, which was killed, wrote after this end is dropped; and back to the policy as it
        last wrote within the limit on its KL, where what it learned since took it beyond, or was cut before it wrote again. What is
        to be said of that, "" where it stays."""
        nan = last.stopped == "nan"
        step = last.step - nan  # that of a nan was not taken, though its phase was written
        wrote = step if nan or self._looks(step) else step - 1
        self.records = [own for own in self.records if own.step <= wrote]
        write_rollouts(self.folder, self.records)
        phase, since = divmod(step, self.updates)
        if not self.limits.kl or (not since and not self.limits.too_far(self.records[phase])):
            return ""
        kept = self.within.put_back(step)
        record = self.records[kept // self.updates]
        why = "was not measured" if since else f"was {self.records[phase].kl:.3g} nats an answer, above most_kl {self.limits.kl:g}"
        return f"the KL after step {step} {why}: the weights of step {kept} are kept, at {record.kl:.3g}"

    def _phase(self, phase: int) -> list[Written]:
        if self._now[0] != phase:
            place = self.folder / f"rollout-{phase}.pt"
            if not (place.exists() and len(self.records) > phase):
                self._make(phase, place)
            self._now = (phase, kept(place))
        return self._now[1]

    def _make(self, phase: int, place: Path) -> None:
        self.policy.desk.model.eval()
        prompts = drawn(self.asks, self.prompts, phase, self.seed)
        rows = self.policy.known(self.policy.write(prompts, each=self.group, seed=[self.seed, phase]))
        price = self.price(self.records[:phase])
        rows = self.teach(rows, price)
        keep(place, rows)
        record = replace(record_of(phase * self.updates, rows, prompts), price=price)
        self.records = [*self.records[:phase], record]
        write_rollouts(self.folder, self.records)

    def _pass(self, rows: Sequence[Written]) -> Sampled:
        sizes = torch.tensor([sum(row.learn[1:]) for row in rows])

        def flat(name: str) -> torch.Tensor:
            return torch.tensor([value for row in rows for value in getattr(row, name)])

        names = ["logs", "reference", "advantages", *(["values", "returns"] if self.policy.critic else [])]
        told: dict[str, Any] = {name: flat(name) for name in names}
        made = Valued if self.policy.critic else Sampled
        return made(**vars(self.policy.desk.pad(rows)), of=torch.arange(len(rows)).repeat_interleave(sizes), sizes=sizes, **told)


class Within:
    """What learns as it was whenever it wrote within the limit on its KL, by the steps it had learned: in the folder, from the last
    time before the checkpoint on."""

    def __init__(self, folder: Path, policy: Policy) -> None:
        self.folder, self.policy = folder, policy

    def steps(self) -> list[int]:
        return sorted(int(path.stem.partition("-")[2]) for path in self.folder.glob("within-*.pt"))

    def keep(self, step: int) -> None:
        self.policy.keep(self._file(step))
        steps, saved = self.steps(), saved_step(self.folder)
        for own, after in pairwise(steps):
            if after <= saved:
                self._file(own).unlink()

    def put_back(self, step: int) -> int:
        """Learn as the last of them from before a step; after how many steps that was."""
        kept = max(own for own in self.steps() if own < step)
        self.policy.put_back(self._file(kept))
        return kept

    def _file(self, step: int) -> Path:
        return self.folder / f"within-{step}.pt"


def drawn(asks: Sequence[Asked], count: int, phase: int, seed: int) -> list[Asked]:
    """The `count` prompts of a phase: all are drawn, in an order of the seed's, before any comes again. What a phase has twice, as
    it does where it begins with the last of them, says so."""
    first, end = phase * count, (phase + 1) * count
    turns = range(first // len(asks), -(-end // len(asks)))
    order = [own for turn in turns for own in random.Random(f"{seed} {turn}").sample(asks, len(asks))]
    asked: Counter[str] = Counter()
    found = []
    for own in order[first - turns.start * len(asks) :][:count]:
        found.append(replace(own, again=asked[own.text]))
        asked[own.text] += 1
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
    save_whole(place, [asdict(row) for row in rows])


def kept(place: Path) -> list[Written]:
    """The answers that a file holds."""
    return [Written(**own) for own in torch.load(place, weights_only=True)]


def write_rollouts(folder: Path, records: Sequence[Rollout]) -> None:
    """In place of those that are there."""
    write_lines(folder / FILE, map(asdict, records))


def read_rollouts(folder: Path) -> list[Rollout]:
    """What a step's policy went through, [] where it was none."""
    path = folder / FILE
    # an answer may hold line ends of other sorts
    return [thaw(Rollout, json.loads(line)) for line in path.read_text("utf-8").split("\n") if line] if path.exists() else []
