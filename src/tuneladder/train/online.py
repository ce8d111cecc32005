"""Learning from rewards: what every step shares whose policy learns from answers of its own.

What learns is a LoRA: the one that lies over the variant, which then learns on, or a new one. The reference is the variant as it
was before, and stands on the same weights: to read as it does, the LoRA is put back for the while.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch

from tuneladder.errors import BadInput, Refused
from tuneladder.model import memory
from tuneladder.model.ask import turns_of_all
from tuneladder.model.hardware import computed_in, device
from tuneladder.model.lanes import lanes_for
from tuneladder.model.local import LocalEngine
from tuneladder.model.shelf import Live
from tuneladder.store import resident, write_json
from tuneladder.train.batches import Micro
from tuneladder.train.critic import PACES
from tuneladder.train.loop import Course, learn, tidy
from tuneladder.train.preference import Desk, LearnsOn, learner, not_shown, plan_learner, rate_of, room_for, shape_of
from tuneladder.train.reward_model import Beside, beside
from tuneladder.train.rewarders import Asked, by_references, check_reward, model_of, prompted, refuse_reward, rewarding
from tuneladder.train.rollouts import Limits, Policy, Price, Rollouts, Sampled, Teach
from tuneladder.train.supervised import check, in_hand, lengths_of, refuse_asking
from tuneladder.types import Cost, Example, Kit, Pace, Task, Variant


class Online(LearnsOn, Protocol):
    """What one has that learns from rewards: in each of its phases, `samples` answers of at most `tokens` tokens to each of
    `prompts` prompts are written."""

    @property
    def reward(self) -> str: ...

    @property
    def prompts(self) -> int: ...

    @property
    def samples(self) -> int: ...

    @property
    def tokens(self) -> int: ...


class Phased(Online, Protocol):
    """What one has that writes anew in each of its `phases`, and in `updates` steps learns from what it wrote, within `most_kl`
    nats of KL an answer and `least_entropy` nats of entropy a token."""

    @property
    def phases(self) -> int: ...

    @property
    def updates(self) -> int: ...

    @property
    def most_kl(self) -> float: ...

    @property
    def least_entropy(self) -> float: ...


# the loss of each answer (R,), with a critic of each token (N,), of its pass and how that is read
PolicyLoss = Callable[[Any, Sampled, Desk], torch.Tensor]


@dataclass(frozen=True)
class Method:
    """How a policy learns from what it wrote. With a `critic` it learns to foretell what it will earn."""

    teach: Teach
    loss: PolicyLoss
    price: Price
    critic: bool = False


def check_online(settings: Online, step: str, *, above: Sequence[str], at_least: Sequence[str], shares: Sequence[str] = ()) -> None:
    """Raises BadInput for settings that no learning from rewards can have; a step's own are named beside."""
    if settings.r < 0:
        raise BadInput(f"{step} cannot have rank r {settings.r}", "r is 1 or more; 0 is the rank of the LoRA below, or 8")
    above = ("prompts", "samples", "tokens", *above)
    check(settings, step, above=above, at_least=("learning_rate", *at_least), shares=("warmup", *shares))
    check_reward(settings.reward)


def clipped(logs_N: torch.Tensor, micro: Sampled, *, clip: float) -> torch.Tensor:
    """What is gained at each token (N,): arXiv:1707.06347, equation 7."""
    ratio_N = torch.exp(logs_N - micro.logs)
    return torch.min(ratio_N * micro.advantages, ratio_N.clamp(1 - clip, 1 + clip) * micro.advantages)


def plan_online(
    settings: Online,
    variant: Variant,
    task: Task,
    pace: Pace,
    *,
    step: str,
    phases: int,
    updates: float,
    batch: int = 0,
    splits: Sequence[str] = ("train",),
) -> tuple[Variant, Cost]:
    """The variant that learned from rewards, foretold, and what that takes: `updates` are how often an answer is learned from,
    `batch` of them in a step, 0 for all of a phase; the prompts of `splits` are answered. Raises Refused."""
    refuse_asking(variant, step)
    if variant.prompt.decoding.schema:
        said = (
            f"{step} learns from what the policy writes by itself, and the task's answers are held to a schema as they are written"
        )
        raise Refused(said, "constrain: false measures them as they are learned")
    refuse_reward(settings.reward, task, step, splits)
    trainable = plan_learner(settings.r, variant, step)
    base = variant.base
    if 2 * settings.tokens > base.context:
        said = f"answers of {settings.tokens} tokens leave too little of the {base.context} that {base.name} reads at once"
        raise Refused(said, "lower `tokens`")
    rows = [replace(row, references=("",)) for row in prompted(task, "train")]
    mean, long, _ = lengths_of(variant, rows, base.context - settings.tokens, 0)
    length = min(base.context, long + settings.tokens)
    dtype = computed_in(device())
    written = min(settings.prompts, len(rows)) * settings.samples
    wanted = min(batch or written, written)
    shape = shape_of(variant, trainable=trainable, length=length, batch=wanted, dtype=dtype, device=device())
    judge = taught_by(settings.reward, variant, rows=written, length=length, dtype=dtype)
    most = lanes_for(device(), trainable=trainable)
    allowed = less(pace.memory, judge.held)
    lanes, at_once = in_hand(base, most, allowed=allowed, wanted=wanted, learned=settings.tokens, **shape)
    need = memory.training(base, rows=at_once, learned_rows=at_once * settings.tokens, lanes=lanes, **shape)
    # an answer is written, read by policy, reference and whatever rewards it, and learned from, forward and back
    passes = (2 + 4 + 4 * updates) * base.active + 2 * judge.active
    seconds = passes * phases * written * (mean + settings.tokens) / pace.flops
    made = replace(variant, steps=(*variant.steps, step), adapter="foretold")
    labelled = sum(len(prompted(task, split)) for split in splits) if by_references(settings.reward) else 0
    return made, Cost(seconds, judge.peak(need), 4 * trainable, labelled)


@dataclass(frozen=True)
class Bench:
    """What learns from rewards, lent: the policy, the prompts of each split that it answers, and in how many lanes passes of how
    many tokens learn."""

    policy: Policy
    asks: Mapping[str, Sequence[Asked]]
    lanes: int
    tokens: int


@contextlib.contextmanager
def at_work(
    settings: Online, variant: Variant, task: Task, kit: Kit, *, step: str, wanted: int, splits: Sequence[str] = ("train",)
) -> Iterator[Bench]:
    """While open, a LoRA over the variant can learn from what its answers earn, `wanted` of them in a step; what it learned is
    saved in the end."""
    with kit.shelf.live(variant) as live:
        made = learner(settings.r, live, variant, kit)
        asks = {split: asked_of(live, variant, not_shown(variant, prompted(task, split))) for split in splits}
        longest = min(live.context, max(_length(live, own) for some in asks.values() for own in some) + settings.tokens)
        # a packed model cannot be tried on rows without a grid: what depends on a trial comes first
        dtype = str(kit.shelf.dtype).removeprefix("torch.")
        judge = taught_by(settings.reward, variant, rows=settings.prompts * settings.samples, length=longest, dtype=dtype)
        roomy = replace(kit, memory=less(kit.memory, judge.held))
        lanes, tokens = room_for(made.model, variant, roomy, longest=longest, learned=settings.tokens, wanted=wanted)
        engine = LocalEngine(made.model, live.coder, name=step)
        # text is written by the packed model where that can hold what it reads, which is tried before
        desk = Desk.of(made.model, longest, kit, context=live.context, padded=not engine.side_by_side)
        with rewarding(settings.reward, task, variant.prompt, kit.shelf, made.model) as rewarder:
            half = kit.shelf.autocast
            stop = variant.prompt.decoding.stop
            policy = Policy(desk, engine, rewarder, tokens=settings.tokens, stop=stop, device=kit.device, half=half)
            yield Bench(policy, asks, lanes, tokens)
        made.save(kit.folder, variant.weights or variant.base.location)


def learn_online(settings: Phased, variant: Variant, task: Task, kit: Kit, *, step: str, method: Method) -> Variant:
    """The variant with a LoRA that learned from what its answers earned."""
    wanted = settings.prompts * settings.samples
    with at_work(settings, variant, task, kit, step=step, wanted=wanted) as bench:
        policy = bench.policy
        if method.critic:
            policy.foretell()
        rollouts = Rollouts(
            policy,
            bench.asks["train"],
            kit.folder,
            phases=settings.phases,
            updates=settings.updates,
            prompts=settings.prompts,
            group=settings.samples,
            seed=kit.seed,
            tokens=bench.tokens,
            lanes=bench.lanes,
            teach=method.teach,
            price=method.price,
            limits=Limits(settings.most_kl, settings.least_entropy),
        )

        def of_pass(model: Any, micro: Micro) -> torch.Tensor:
            assert isinstance(micro, Sampled)
            return method.loss(model, micro, policy.desk).sum()

        # each update moves the policy as far: those of a phase share what one would have
        rate = rate_of(settings, variant, times=1 / settings.updates)
        course = Course(rate, warmup=settings.warmup, times=PACES if method.critic else None, drops=False)
        model = policy.desk.model
        ticks = learn(model, rollouts, kit, loss=of_pass, course=course, dev=[], lanes=bench.lanes, halt=rollouts.halt)
        said = rollouts.settle(ticks[-1])
        if settings.most_kl:
            write_json(kit.folder / "notes.json", [said] if said else [])
    tidy(kit.folder, ticks)
    return taught(variant, step, kit)


def taught(variant: Variant, step: str, kit: Kit) -> Variant:
    """The variant with the LoRA that lies in the step's folder."""
    return replace(variant, steps=(*variant.steps, step), adapter=str(kit.folder), bytes=resident(kit.folder))


def taught_by(reward: str, policy: Variant, *, rows: int, length: int, dtype: str) -> Beside:
    """What a reward takes of memory beside the policy: nothing, where it is no model."""
    judge = model_of(reward)
    return beside(judge, policy, rows=rows, length=length, dtype=dtype) if judge else Beside()


def less(allowed: int | None, held: int) -> int | None:
    """What is left of the bytes that are allowed, None where any are."""
    return max(1, allowed - held) if allowed else None


def asked_of(live: Live, variant: Variant, rows: Sequence[Example]) -> list[Asked]:
    """The prompts of rows, as they are asked."""
    asks = turns_of_all(variant.prompt, rows)
    return [Asked(row, turns, live.coder.render(turns)) for row, turns in zip(rows, asks, strict=True)]


def _length(live: Live, own: Asked) -> int:
    return len(live.coder.encode_many([(own.turns, None)])[0].ids)
