"""A reward model: one number for an answer, learned from which of two people preferred (arXiv:2203.02155) or from their scores."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Literal

import torch

from tuneladder.errors import Refused
from tuneladder.model.attach import attach_lora, body_targets, draw_head, expert_targets, head_modules, saved_by_peft
from tuneladder.model.attention import pad_attention
from tuneladder.model.memory import lora_parameters
from tuneladder.model.rewarding import HEAD, encode_answers
from tuneladder.model.shelf import Live
from tuneladder.store import resident
from tuneladder.task.comparing import asked, halved, one_by_one, told_apart, unit_of
from tuneladder.train.batches import Cut, Micro, Rows, bundle
from tuneladder.train.loop import Course, learn, tidy
from tuneladder.train.low_rank import ALPHA
from tuneladder.train.preference import (
    annotated,
    check_comparing,
    cost_of_answers,
    cost_of_pairs,
    not_shown,
    refuse_none,
    refuse_untold,
    room_for,
)
from tuneladder.train.reward import Ratings, by_pairs, by_scores, of_ratings, pairwise, ratings, regression, widest
from tuneladder.train.reward_model import write_learned
from tuneladder.train.supervised import DEV_TOKENS, check, refuse_over
from tuneladder.types import Comparison, Cost, Family, Head, Kit, Pace, Task, Variant


@dataclass(frozen=True, kw_only=True)
class Reward:
    """`loss` is pairwise, of which answer was preferred, by its share of the largest margin; or scores, of the numbers that people
    gave each answer: the reward is then how many standard deviations above the mean of the task's scores an answer has. `half`
    learns from one half of the prompts, a or b, so that what the other half teaches can be judged by who never saw it. What learns
    is a LoRA of rank `r` and the head, on the base below the adapter of a step that made the pairs. `learning_rate` 0 is the step's
    own: 1e-4 at a width of 4096, growing as the width shrinks. `batch_size` counts pairs, of scores answers; `max_length` 0 is the
    context."""

    changes: ClassVar = "adapter"
    needs: ClassVar = "comparisons"
    families: ClassVar[tuple[Family, ...]] = ("decoder", "encoder")
    reads: ClassVar = ("train", "dev")
    version: ClassVar = 8

    loss: Literal["pairwise", "scores"] = "pairwise"
    half: Literal["", "a", "b"] = ""
    r: int = 8
    learning_rate: float = 0.0
    epochs: float = 2.0
    batch_size: int = 16
    max_length: int = 0
    warmup: float = 0.06

    def __post_init__(self) -> None:
        above = ("r", "epochs", "batch_size")
        check(self, "reward", above=above, at_least=("max_length", "learning_rate"), shares=("warmup",))

    def plan(self, variant: Variant, task: Task, pace: Pace) -> tuple[Variant, Cost]:
        if variant.made and task.kind != "prefer":
            raise Refused("reward answers with numbers, and this task's answers are texts", "kind: prefer, of rows with pairs")
        variant = _below(variant)
        check_comparing(variant, task, self.max_length, step="reward")
        refuse_over(variant, "reward")
        if variant.head or variant.base.settings.get("classes", 1) != 1:
            raise Refused(f"reward puts a head on {variant.base.name}, which has one already", "take the base that it was made of")
        taught = halved(task, self.half)
        trainable = lora_parameters(variant.base, r=self.r) + variant.base.width
        if self.loss == "scores":
            rows = _scored(taught)
            wanted = min(self.batch_size, len(rows))
            asks = [asked(row) for row in rows]
            cost = cost_of_answers(
                self, variant, asks, pace, trainable=trainable, passes=4 * self.epochs, wanted=wanted, learned=False
            )
        else:
            refuse_untold(taught, "reward")
            cost = cost_of_pairs(self, variant, told_apart(taught.comparisons.train), pace, trainable=trainable, learned=False)
        made = replace(variant, steps=(*variant.steps, "reward"), adapter="foretold", head=Head("reward", (HEAD,)))
        return made, replace(cost, annotations=annotated(variant, taught))

    def apply(self, variant: Variant, task: Task, kit: Kit) -> Variant:
        variant = _below(variant)
        wanted = replace(variant, head=Head("reward", (HEAD,)))
        with kit.shelf.live(wanted) as live:
            coder = live.coder if variant.base.family == "decoder" else live.texts
            limit = min(self.max_length or live.context, live.context)
            every = task.comparisons.train
            way: Any = (
                partial(by_pairs, widest=widest(every)) if self.loss == "pairwise" else partial(by_scores, unit=unit_of(every))
            )
            encode = partial(way, partial(encode_answers, coder, limit=limit), variant)
            taught = halved(task, self.half).comparisons
            write_learned(kit.folder, taught)
            rows, tally = encode(not_shown(variant, taught.train))
            refuse_none(rows, task, limit)
            (kit.folder / "rows.json").write_text(json.dumps(tally | {"learned": 0}))
            dev = encode(taught.dev)[0]
            longest = max(len(side.ids) for row in (*rows, *dev) for side in row.sides)
            pad_attention(live.model, longest, kit.device, family=variant.base.family)
            draw_head(live.model, live.fresh, seed=kit.seed)
            made = saved_by_peft(self._laid_over(live, kit.seed))
            if self.loss == "pairwise":
                _hold_level(made.model)
            lanes, tokens = room_for(
                made.model, variant, kit, longest=longest, learned=0, wanted=len(rows[0].sides) * self.batch_size
            )
            cut: Cut = partial(bundle, pad=partial(ratings, coder=coder))
            sizes: dict[str, Any] = {"batch": self.batch_size, "epochs": self.epochs, "tokens": tokens}
            batches = Rows(rows, seed=kit.seed, lanes=lanes, cut=cut, **sizes)
            looks = cut(dev, tokens=min(tokens, DEV_TOKENS), lanes=lanes) if dev else []
            course = Course(self.learning_rate or 1e-4 * 4096 / variant.base.width, warmup=self.warmup)
            ticks = learn(made.model, batches, kit, loss=self._of_pass(), course=course, dev=looks, lanes=lanes)
            made.save(kit.folder, variant.weights or variant.base.location)
            tidy(kit.folder, ticks)
        return replace(wanted, steps=(*variant.steps, "reward"), adapter=str(kit.folder), bytes=resident(kit.folder))

    def _laid_over(self, live: Live, seed: int) -> Any:
        model = live.model
        targets, experts = body_targets(model, "auto"), expert_targets(model, "auto")
        head = head_modules(model, live.fresh)
        return attach_lora(model, r=self.r, alpha=ALPHA, dropout=0.0, targets=targets, experts=experts, seed=seed, head=head)

    def _of_pass(self) -> Callable[[Any, Micro], torch.Tensor]:
        loss = pairwise if self.loss == "pairwise" else regression

        def of_pass(model: Any, micro: Micro) -> torch.Tensor:
            assert isinstance(micro, Ratings)
            return (loss(of_ratings(model, micro), micro) * micro.counts).sum()

        return of_pass


def _below(variant: Variant) -> Variant:
    """What the head is put on. The pairs that `constitution` made are learned by a model of their own (arXiv:2212.08073, section
    4): the adapter that it left is the policy's."""
    return replace(variant, adapter=None) if variant.made and variant.steps[-1:] == ("constitution",) else variant


def _hold_level(model: Any) -> None:
    """Let the head's bias not learn. Adding to every answer alike changes no pair: its gradient is rounding alone, which Adam would
    make whole steps of, so that where the ratings lie would be another thing on each machine."""
    for name, weight in model.named_parameters():
        if weight.numel() == 1 and name.endswith("bias"):
            weight.requires_grad_(False)


def _scored(task: Task) -> list[Comparison]:
    """The answers of the task one by one. Raises Refused where one has no score, or all have the same."""
    rows = one_by_one(task.comparisons.train)
    if bare := next((own for own in rows if not own.scores), None):
        said = f"reward is to learn scores, and the answer of row {bare.id} has none"
        raise Refused(said, "a column `score`, or of pairs `score_chosen` and `score_rejected`; or loss: pairwise")
    if len({own.scores[0] for own in rows if own.scores}) < 2:
        raise Refused("every answer has the same score, and reward learns how they differ", "scores that differ")
    return rows
