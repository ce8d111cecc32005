"""Learning from comparisons: what every step that learns which answer people preferred shares.

What learns is a LoRA: the one that lies over the variant, which then learns on, or a new one. The reference is the variant as it
was before, whatever lies over its weights; what it says of the answers is asked once, kept in the store, and shared by every rung
that asks the same, so that no second model is ever in memory.

Shapes: P pairs, R rows (2 P: chosen, rejected, chosen, ...), N learned tokens.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch

from tuneladder.errors import BadInput, Refused
from tuneladder.model import memory
from tuneladder.model.adapters import kind_in
from tuneladder.model.ask import turns_of_all
from tuneladder.model.attach import Attached, attach_lora, expert_targets, learning, linear_targets, saved_by_peft
from tuneladder.model.attention import attention_for, packs, pad_attention
from tuneladder.model.batching import TILE
from tuneladder.model.hardware import computed_in, device
from tuneladder.model.lanes import in_half, lanes_for
from tuneladder.model.rows import bare_head
from tuneladder.model.shelf import Live
from tuneladder.model.trunk import fuse
from tuneladder.store import digest, resident, write_json
from tuneladder.task.comparing import asked, encode_sides, told_apart, wanted_or_not
from tuneladder.task.encode import Encoded, Tally
from tuneladder.train.batches import Cut, Micro, Pad, Rows, bundle, packed, pad, side_by_side
from tuneladder.train.loop import Course, learn, tidy
from tuneladder.train.losses import token_logs
from tuneladder.train.low_rank import ALPHA
from tuneladder.train.supervised import (
    DEV_TOKENS,
    UNMERGED,
    Lessons,
    check,
    fuses,
    held_in,
    in_hand,
    lengths_of,
    refuse_asking,
)
from tuneladder.types import Comparison, Cost, Example, Kit, Pace, Task, Turns, Variant

# what lays a LoRA over the weights, or learns on in one
LOW_RANK = ("lora", "qlora", "dpo", "kto", "grpo", "ppo", "rest", "constitution")
RANK = 8
SHARED = "shared.json"  # in a node: the seconds of what it found asked already


class LearnsOn(Protocol):
    """What a step that learns a policy has among its settings: `r` 0 is the rank of the LoRA below, or 8."""

    @property
    def r(self) -> int: ...

    @property
    def learning_rate(self) -> float: ...

    @property
    def warmup(self) -> float: ...


def rate_of(settings: LearnsOn, variant: Variant, *, times: float = 1.0) -> float:
    """The learning rate that is set, or so many times a policy's own: 5e-5 at a width of 4096, growing as the width shrinks."""
    return settings.learning_rate or times * 5e-5 * 4096 / variant.base.width


class Preferring(LearnsOn, Lessons, Protocol):
    """What one has that learns from comparisons; `batch_size` counts pairs."""

    @property
    def beta(self) -> float: ...


class Told(Protocol):
    """Answers to one prompt in tokens, how much what was said of them counts, and the log-probabilities that the reference gives
    them."""

    @property
    def ids(self) -> list[int]: ...

    @property
    def sides(self) -> Sequence[Encoded]: ...

    @property
    def weight(self) -> float: ...

    @property
    def reference(self) -> Sequence[float]: ...


@dataclass(frozen=True)
class Pair:
    """Two answers to one prompt in tokens, and how much the pair counts."""

    chosen: Encoded
    rejected: Encoded
    weight: float

    @property
    def ids(self) -> list[int]:
        return [*self.chosen.ids, *self.rejected.ids]

    @property
    def sides(self) -> tuple[Encoded, Encoded]:
        return self.chosen, self.rejected

    @property
    def longest(self) -> int:
        """Tokens of the longest that is read for it."""
        return max(len(side.ids) for side in self.sides)


@dataclass(frozen=True)
class Referred(Pair):
    """A pair with the log-probabilities that the reference gives chosen and rejected."""

    reference: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Compared(Micro):
    """A pass whose rows are pairs, each of which counts (P,) so much."""

    counts: torch.Tensor

    @property
    def learned(self) -> float:
        """The pairs, each with its weight."""
        return float(self.counts.sum(dtype=torch.float64))


@dataclass(frozen=True, kw_only=True)
class Referrals(Compared):
    """A pass of a language model: `of` (N,) is whose row each learned token is, `sizes` (R,) are the learned tokens of the rows,
    `reference` (R,) the log-probabilities that the reference gives them."""

    of: torch.Tensor
    sizes: torch.Tensor
    reference: torch.Tensor


# log-probabilities (P, 2) that the policy and the reference give chosen and rejected, and the pass -> the loss of each pair (P,)
PairLoss = Callable[[torch.Tensor, torch.Tensor, Referrals], torch.Tensor]


def check_rank(r: int, step: str) -> None:
    """Raises BadInput for a rank that no LoRA has."""
    if r < 0:
        raise BadInput(f"{step} cannot have rank {r}", f"r is 1 or more; 0 is the rank of the LoRA below, or {RANK}")


def check_preferring(settings: Preferring, step: str) -> None:
    """Raises BadInput for settings that no learning from comparisons can have."""
    check_rank(settings.r, step)
    above = ("beta", "epochs", "batch_size")
    check(settings, step, above=above, at_least=("max_length", "learning_rate"), shares=("warmup",))


def plan_preferring(settings: Preferring, variant: Variant, task: Task, pace: Pace, *, step: str) -> tuple[Variant, Cost]:
    """The variant that learned from the task's pairs, foretold, and what that takes. Raises Refused."""
    check_comparing(variant, task, settings.max_length, step=step)
    refuse_untold(task, step)
    trainable = plan_learner(settings.r, variant, step)
    cost = cost_of_pairs(settings, variant, told_apart(task.comparisons.train), pace, trainable=trainable)
    return foretold(variant, task, cost, step)


def plan_learner(r: int, variant: Variant, step: str) -> int:
    """How many weights learn. Raises Refused where none can."""
    refuse_adapters(r, variant, step)
    return memory.lora_parameters(variant.base, r=r or RANK)


def foretold(variant: Variant, task: Task, cost: Cost, step: str) -> tuple[Variant, Cost]:
    """The variant with a LoRA that learned, and the cost with what people judged for it."""
    made = replace(variant, steps=(*variant.steps, step), adapter="foretold")
    return made, replace(cost, annotations=annotated(variant, task))


def annotated(variant: Variant, task: Task) -> int:
    """How many comparisons people judged for what learns from the task's: none of those that a step below made."""
    return 0 if variant.made else len(task.comparisons.train) + len(task.comparisons.dev)


def check_comparing(variant: Variant, task: Task, max_length: int, *, step: str) -> None:
    """Raises Refused for a task that compares nothing, a prompt that asks for more than an answer, and a length that no position
    is there for."""
    refuse_asking(variant, step)
    if not task.comparisons.train:
        raise Refused(f"{step} learns from comparisons, and this task has none", "kind: prefer, of rows with chosen and rejected")
    base = variant.base
    if max_length > base.context:
        said = f"max_length {max_length} is more than the {base.context} tokens that {base.name} reads at once"
        raise Refused(said, "leave it out: longer pairs are cut or dropped, and the report says how many")


def refuse_untold(task: Task, step: str) -> None:
    """Raises Refused where no row tells two answers apart."""
    if told_apart(task.comparisons.train):
        return
    if wanted_or_not(task.comparisons.train):
        said = f"{step} learns which of two answers is better, and this task's answers were judged one by one"
        raise Refused(said, "kto learns from wanted and unwanted answers, reward with loss: scores from scores; or give pairs")
    raise Refused(f"every pair of the task is a tie, and {step} learns what is better", "leave out pairs of equal answers")


def cost_of_pairs(
    lessons: Lessons, variant: Variant, pairs: Sequence[Comparison], pace: Pace, *, trainable: int, learned: bool = True
) -> Cost:
    """Seconds and bytes that an adapter takes to learn from these pairs; where tokens are `learned`, a reference is asked about
    them first."""
    # forward and back in every epoch, and forward once for the reference
    passes = 4 * lessons.epochs + 2 * learned
    rows = [side for pair in pairs for side in _sides(pair)]
    wanted = 2 * min(lessons.batch_size, len(pairs))
    return cost_of_answers(lessons, variant, rows, pace, trainable=trainable, passes=passes, wanted=wanted, learned=learned)


def cost_of_answers(
    lessons: Lessons,
    variant: Variant,
    rows: Sequence[Example],
    pace: Pace,
    *,
    trainable: int,
    passes: float,
    wanted: int,
    learned: bool = True,
) -> Cost:
    """Of answers, which go forward or back so many times 2, of which a step takes `wanted`."""
    base = variant.base
    # an encoder reads the answers too
    whole = replace(variant, base=replace(base, family="decoder"))
    mean, length, answer = lengths_of(whole, rows, lessons.max_length or base.context, 0)
    shape = shape_of(variant, trainable=trainable, length=length, batch=wanted, dtype=computed_in(device()), device=device())
    read = answer if learned else 0
    most = lanes_for(device(), trainable=trainable)
    lanes, at_once = in_hand(base, most, allowed=pace.memory or None, wanted=wanted, learned=read, **shape)
    need = memory.training(base, rows=at_once, learned_rows=at_once * read, lanes=lanes, **shape)
    # passes there and back are worth 4
    seconds = pace.seconds(passes * len(rows) * mean * base.active, passes / 4 * len(rows) / at_once)
    return Cost(seconds, need.peak, 4 * trainable)


def shape_of(variant: Variant, *, trainable: int, length: int, batch: int, dtype: str, device: str) -> dict[str, Any]:
    """What the estimator of memory asks of an adapter over the variant that learns from whole rows of at most `length` tokens."""
    family = variant.base.family
    return {
        "trainable": trainable,
        "length": max(TILE, length),
        "answer": 0,
        "batch": batch,
        "dtype": dtype,
        "method": "adapter",
        "attention": attention_for(length, device, family=family),
        "device": device,
        "held": held_in(variant, dtype),
        "fused": family == "decoder" and fuses(variant, length),
    }


def room_for(model: Any, variant: Variant, kit: Kit, *, longest: int, learned: int, wanted: int) -> tuple[int, int]:
    """How many lanes work at once on rows of pairs, and how many tokens each may have in hand, of `wanted` rows."""
    from transformers import PreTrainedModel

    core = next(module for module in model.modules() if isinstance(module, PreTrainedModel))
    trainable = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    dtype = "float32" if model.dtype == torch.float32 and kit.shelf.autocast is None else "bfloat16"
    lanes, most = in_hand(
        variant.base,
        lanes_for(kit.device, trainable=trainable, model=core),
        allowed=kit.memory,
        wanted=wanted,
        learned=learned,
        **shape_of(variant, trainable=trainable, length=longest, batch=wanted, dtype=dtype, device=kit.device),
    )
    return lanes, max(2 * longest, most * longest // lanes)


class Way(Protocol):
    """How a policy is taught: what of comparisons it reads, and what of its passes it makes better."""

    def encode(self, sides: Sides, variant: Variant, comparisons: Sequence[Comparison]) -> tuple[list[Any], dict[str, int]]:
        """Rows in tokens, those that fit, and the count of what was kept, cut and dropped."""
        ...

    def known(self, rows: Sequence[Any], desk: Desk, variant: Variant, kit: Kit) -> list[Any]:
        """The rows with what the reference says of them."""
        ...

    def lay(self, rows: Sequence[Any], *, desk: Desk, kit: Kit, tokens: int, lanes: int = 1) -> list[Micro]:
        """A step's rows as passes."""
        ...

    def looks(self, rows: Sequence[Any], *, desk: Desk, kit: Kit, tokens: int, lanes: int = 1) -> Sequence[Micro]:
        """Held-out rows as passes, which each look takes anew."""
        ...

    def of_pass(self, desk: Desk, model: Any, micro: Micro) -> torch.Tensor:
        """The loss, summed over the rows of the pass."""
        ...


@dataclass(frozen=True)
class ByPairs:
    """What is learned of pairs, by the loss of each."""

    loss: PairLoss

    def encode(self, sides: Sides, variant: Variant, comparisons: Sequence[Comparison]) -> tuple[list[Any], dict[str, int]]:
        found, tally = encode_pairs(sides, variant, comparisons)
        return [pair for _, pair in found], tally

    def known(self, rows: Sequence[Any], desk: Desk, variant: Variant, kit: Kit) -> list[Any]:
        blank = [Referred(pair.chosen, pair.rejected, pair.weight, (0.0, 0.0)) for pair in rows]
        logs = referred(blank, desk, variant, kit)
        return [replace(pair, reference=(own[0], own[1])) for pair, own in zip(blank, logs, strict=True)]

    def lay(self, rows: Sequence[Any], *, desk: Desk, kit: Kit, tokens: int, lanes: int = 1) -> list[Micro]:
        return desk.lay(rows, tokens=tokens, lanes=lanes, pad=desk.told)

    looks = lay

    def of_pass(self, desk: Desk, model: Any, micro: Micro) -> torch.Tensor:
        assert isinstance(micro, Referrals)
        logs_P2 = desk.logs(model, micro).view(-1, 2)
        return (self.loss(logs_P2, micro.reference.view(-1, 2), micro) * micro.counts).sum()


def learn_preferring(settings: Preferring, variant: Variant, task: Task, kit: Kit, *, step: str, way: Way) -> Variant:
    """The variant with a LoRA that learned from the task's comparisons; the best dev loss is kept."""
    with kit.shelf.live(variant) as live:
        made = learner(settings.r, live, variant, kit)
        limit = min(settings.max_length or live.context, live.context)
        encode = partial(way.encode, partial(encode_sides, live.coder, limit=limit), variant)
        taught, tally = encode(not_shown(variant, task.comparisons.train))
        refuse_none(taught, task, limit)
        (kit.folder / "rows.json").write_text(json.dumps(tally))
        held_out = encode(task.comparisons.dev)[0]
        every = (*taught, *held_out)
        longest, learned = max(row.longest for row in every), max(sum(side.learn) for row in every for side in row.sides)
        # a packed model cannot be tried on rows without a grid: what depends on a trial comes first
        wanted = len(taught[0].sides) * settings.batch_size
        lanes, tokens = room_for(made.model, variant, kit, longest=longest, learned=learned, wanted=wanted)
        desk = Desk.of(made.model, longest, kit, context=live.context)
        known = way.known(every, desk, variant, kit)
        rows, dev = known[: len(taught)], known[len(taught) :]
        cut: Cut = partial(way.lay, desk=desk, kit=kit)
        batches = Rows(rows, batch=settings.batch_size, epochs=settings.epochs, tokens=tokens, seed=kit.seed, lanes=lanes, cut=cut)
        looks = way.looks(dev, desk=desk, kit=kit, tokens=min(tokens, DEV_TOKENS), lanes=lanes) if dev else []
        course = Course(rate_of(settings, variant), warmup=settings.warmup, drops=False)
        ticks = learn(made.model, batches, kit, loss=partial(way.of_pass, desk), course=course, dev=looks, lanes=lanes)
        made.save(kit.folder, variant.weights or variant.base.location)
        tidy(kit.folder, ticks)
    return replace(variant, steps=(*variant.steps, step), adapter=str(kit.folder), bytes=resident(kit.folder))


@dataclass(frozen=True)
class Desk:
    """How rows are laid before a decoder whose LoRA learns: packed where the model takes them so, else padded."""

    model: Any
    core: Any
    side: bool
    bare: bool
    context: int

    @classmethod
    def of(cls, model: Any, longest: int, kit: Kit, *, context: int, padded: bool = False) -> Desk:
        """For rows of at most `longest` tokens; the model is set to the fastest way through them, or through `padded` ones: a
        packed model is called no other way."""
        from transformers import PreTrainedModel

        core = next(module for module in model.modules() if isinstance(module, PreTrainedModel))
        pad_attention(core, longest, kit.device, family="decoder")
        bare = bare_head(core)
        side = not padded and packs(core, longest, kit.device)
        if side:
            fuse(core)
        return cls(model, core, side, bare, context)

    @property
    def pad(self) -> Pad:
        return packed if self.side else partial(pad, most=self.context)

    @property
    def lay(self) -> Callable[..., list[Micro]]:
        return side_by_side if self.side else bundle

    def told(self, rows: Sequence[Told]) -> Referrals:
        """The rows as a pass."""
        sides = [side for row in rows for side in row.sides]
        sizes = torch.tensor([sum(side.learn[1:]) for side in sides])
        return Referrals(
            **vars(self.pad(sides)),
            of=torch.arange(len(sides)).repeat_interleave(sizes),
            sizes=sizes,
            reference=torch.tensor([value for row in rows for value in row.reference]),
            counts=torch.tensor([row.weight for row in rows]),
        )

    def logs(self, model: Any, micro: Referrals) -> torch.Tensor:
        """Natural log-probability (R,) of the learned tokens of each row."""
        logs_N = token_logs(model, micro, bare=self.bare)
        return logs_N.new_zeros(len(micro.sizes)).index_add(0, micro.of, logs_N)

    def say(self, rows: Sequence[Told], kit: Kit) -> list[list[float]]:
        """Natural log-probability of each answer of each row, by the model as it is now; what learns learns nothing from it."""
        laid: list[Sequence[int]] = []
        places: dict[int, list[int]] = {}  # over the end of an epoch a batch may have a row twice
        for at, row in enumerate(rows):
            places.setdefault(id(row), []).append(at)

        def noting(own: Sequence[Told]) -> Referrals:
            laid.append([places[id(row)].pop() for row in own])
            return self.told(own)

        said: list[list[float]] = [[] for _ in rows]
        training = self.model.training
        self.model.eval()
        for micro, own in zip(self.lay(rows, tokens=DEV_TOKENS, lanes=1, pad=noting), laid, strict=True):
            there = micro.to(self.core.device)
            assert isinstance(there, Referrals)
            with torch.no_grad(), in_half(kit.device, kit.shelf.autocast):
                values = iter(self.logs(self.model, there).tolist())
            for at in own:
                said[at] = [next(values) for _ in rows[at].sides]
        self.model.train(training)
        return said


Shown = TypeVar("Shown", Comparison, Example)  # what a prompt may show with its answer
Sides = Callable[[Sequence[tuple[Turns, Sequence[str]]]], list[list[Encoded] | None]]  # answers to prompts in tokens


def encode_pairs(
    sides: Sides, variant: Variant, comparisons: Sequence[Comparison]
) -> tuple[list[tuple[Comparison, Pair]], dict[str, int]]:
    """The pairs that fit, in order, and the count of what was kept, cut and dropped; those whose answers are the same tell
    nothing."""
    pairs = told_apart(comparisons)
    found = encode_each(sides, variant, pairs)
    kept = [(pair, Pair(own[0], own[1], pair.weight)) for pair, own in zip(pairs, found, strict=True) if own]
    return kept, counted([own for own in found if own], dropped=len(comparisons) - len(kept))


def encode_each(sides: Sides, variant: Variant, comparisons: Sequence[Comparison]) -> list[list[Encoded] | None]:
    """The answers of each, one or two, after its prompt; None where one does not fit."""
    asks = turns_of_all(variant.prompt, [asked(own) for own in comparisons])
    texts = [tuple(filter(None, (own.chosen, own.rejected))) for own in comparisons]
    return sides(list(zip(asks, texts, strict=True)))


def counted(kept: Sequence[Sequence[Encoded]], *, dropped: int) -> dict[str, int]:
    """What was kept, cut and dropped, with the tokens of it."""
    rows = [side for sides in kept for side in sides]
    learned = sum(sum(row.learn) for row in rows)
    cut = sum(any(side.cut for side in sides) for sides in kept)
    return asdict(Tally(len(kept), cut, dropped, learned, sum(len(row.ids) for row in rows) - learned))


def refuse_none(found: Sequence[Any], task: Task, limit: int) -> None:
    """Raises BadInput where nothing is left to learn."""
    if not found:
        hint = "raise `max_length`, choose a base with a longer context, or shorten the answers"
        raise BadInput(f"nothing is learnable: no pair of {len(task.comparisons.train):,} fits in {limit} tokens", hint)


def not_shown(variant: Variant, rows: Sequence[Shown]) -> list[Shown]:
    """Those that the prompt does not show with their answer."""
    shots = variant.prompt.shots.chosen if variant.prompt.shots else ()
    shown = {example.source for example in shots}
    return [own for own in rows if own.source not in shown or not own.source]


def referred(rows: Sequence[Told], desk: Desk, variant: Variant, kit: Kit) -> list[list[float]]:
    """What the variant, as it is before anything is learned, says of the answers of each row: asked once for all rungs that ask
    the same."""
    places = [Path(place).name for place in (variant.weights, variant.adapter) if place]
    read = [[side.ids, side.learn] for row in rows for side in row.sides]
    key = digest(variant.base.content, places, variant.format, read, str(kit.shelf.autocast), kit.device)
    asked_now = False

    def make(part: Path) -> dict[str, float]:
        nonlocal asked_now
        asked_now, started = True, time.monotonic()
        write_json(part / "reference.json", desk.say(rows, kit))
        return {"seconds": time.monotonic() - started}

    folder = kit.store.once(f"reference-{key}", make)
    # one that was kept before this was written down has no seconds
    before = json.loads((folder / "done.json").read_text("utf-8")).get("seconds", 0.0)
    write_json(kit.folder / SHARED, {"seconds": 0.0 if asked_now else before})
    return json.loads((folder / "reference.json").read_text("utf-8"))  # type: ignore[no-any-return]


def seconds_shared(folder: Path) -> float:
    """What a step would have taken longer, had nothing that it asked been there already: as long as it took who asked first."""
    path = folder / SHARED
    return float(json.loads(path.read_text("utf-8"))["seconds"]) if path.exists() else 0.0


def learner(r: int, live: Live, variant: Variant, kit: Kit) -> Attached:
    """What learns: the LoRA that lies over the variant, or a new one of rank `r`, 0 for the usual."""
    if not variant.adapter:
        rank = r or RANK
        targets, experts = linear_targets(live.model, "auto"), expert_targets(live.model, "auto")
        tuned = attach_lora(live.model, r=rank, alpha=ALPHA, dropout=0.0, targets=targets, experts=experts, seed=kit.seed)
        return saved_by_peft(tuned)
    if (kind := kind_in(variant.adapter)) != "LORA":
        raise Refused(f"what lies over the weights is {kind}, and no LoRA that could learn on", "put it on the base itself")
    for name, weight in live.model.named_parameters():
        weight.requires_grad_("lora_" in name)
    return saved_by_peft(learning(live.model))


def refuse_adapters(r: int, variant: Variant, step: str) -> None:
    """Raises Refused for an adapter below that cannot learn on, and for a rank that is not the one below's to change."""
    if not variant.adapter:
        return
    last = next((own for own in reversed(variant.steps) if own in (*LOW_RANK, *UNMERGED, "ia3")), "")
    if last and last not in LOW_RANK:
        raise Refused(f"{step} learns on in a LoRA, and {last} is none", "put lora before it, or nothing")
    if r:
        raise Refused(f"{step} learns on in the LoRA below, which has its own rank, and r is {r}", "leave `r` out")


def _sides(pair: Comparison) -> tuple[Example, Example]:
    """A pair as two examples, for whoever reckons with lengths."""
    row = asked(pair)
    return row, replace(row, references=(pair.rejected,))
