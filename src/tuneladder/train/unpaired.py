"""Learning a policy from answers that were judged one by one, wanted or not.

What an answer gained is measured against how far the policy has gone from its reference altogether. That is asked in every step
before anything is learned in it, of answers to other prompts than their own (arXiv:2402.01306, section 4.1): the whole batch's at
once, so that it is the same however the batch is cut into passes.

Shapes: R rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from tuneladder.errors import Refused
from tuneladder.model.ask import turns_of_all
from tuneladder.task.comparing import asked, tied, wanted_or_not
from tuneladder.task.encode import Encoded
from tuneladder.train.batches import Micro
from tuneladder.train.preference import (
    Desk,
    Preferring,
    Referrals,
    Sides,
    check_comparing,
    cost_of_answers,
    counted,
    encode_each,
    foretold,
    plan_learner,
    referred,
)
from tuneladder.types import Comparison, Cost, Kit, Pace, Task, Turns, Variant


@dataclass(frozen=True)
class Single:
    """An answer in tokens, with the log-probability that the reference gives it."""

    answer: Encoded
    weight: float = 1.0
    reference: tuple[float, ...] = (0.0,)

    @property
    def ids(self) -> list[int]:
        return self.answer.ids

    @property
    def sides(self) -> tuple[Encoded, ...]:
        return (self.answer,)


@dataclass(frozen=True, kw_only=True)
class Alone(Single):
    """One that was judged: `stranger` is an answer to another prompt after this one's, None where it does not fit."""

    wanted: bool
    stranger: Single | None = None

    @property
    def longest(self) -> int:
        """Tokens of the longest that is read for it."""
        return max(len(self.ids), len(self.stranger.ids) if self.stranger else 0)


@dataclass(frozen=True, kw_only=True)
class Wanted(Referrals):
    """A pass of answers that were judged one by one: which of them were `wanted` (R,), and how many nats the policy has gone from
    its reference, the `baseline` (1,)."""

    wanted: torch.Tensor
    baseline: torch.Tensor


# log-probabilities (R,) that the policy and the reference give the answers, and the pass -> the loss of each (R,)
AnswerLoss = Callable[[torch.Tensor, torch.Tensor, Wanted], torch.Tensor]


def plan_unpaired(settings: Preferring, variant: Variant, task: Task, pace: Pace, *, step: str) -> tuple[Variant, Cost]:
    """The variant that learned from the task's answers, foretold, and what that takes. Raises Refused."""
    check_comparing(variant, task, settings.max_length, step=step)
    rows = wanted_or_not(task.comparisons.train)
    if not rows:
        raise Refused(f"every pair of the task is a tie, and {step} learns what is better", "leave out pairs of equal answers")
    for good, said in ((True, "unwanted"), (False, "wanted")):
        if all(bool(row.chosen) == good for row in rows):
            raise Refused(f"no answer of the task is {said}, and {step} learns from both sorts", "give answers of both labels")
    if len({row.turns for row in rows}) < 2:
        said = "every answer is to one prompt, and how far the policy has gone is asked of answers to others"
        raise Refused(f"{step} needs two prompts: {said}", "add answers to other prompts")
    trainable = plan_learner(settings.r, variant, step)
    # forward and back in every epoch, forward for the baseline in each, and for the reference of both
    passes = 6 * settings.epochs + 4
    wanted = min(settings.batch_size, len(rows))
    cost = cost_of_answers(settings, variant, [asked(row) for row in rows], pace, trainable=trainable, passes=passes, wanted=wanted)
    return foretold(variant, task, cost, step)


@dataclass(frozen=True)
class OneByOne:
    """What is learned of answers that were judged one by one, by the loss of each."""

    loss: AnswerLoss

    def encode(self, sides: Sides, variant: Variant, comparisons: Sequence[Comparison]) -> tuple[list[Any], dict[str, int]]:
        rows = wanted_or_not(comparisons)
        asks = turns_of_all(variant.prompt, [asked(row) for row in rows])
        own = encode_each(sides, variant, rows)
        others = strangers(asks, [row.chosen or row.rejected for row in rows])
        strange = sides([(turns, (text,)) for turns, text in zip(asks, others, strict=True)])
        kept = [
            Alone(answer[0], row.weight, wanted=bool(row.chosen), stranger=Single(other[0]) if other else None)
            for row, answer, other in zip(rows, own, strange, strict=True)
            if answer
        ]
        ties = sum(map(tied, comparisons))
        return kept, counted([row.sides for row in kept], dropped=len(rows) - len(kept) + ties)

    def known(self, rows: Sequence[Any], desk: Desk, variant: Variant, kit: Kit) -> list[Any]:
        others = [row.stranger for row in rows if row.stranger]
        said = referred([*rows, *others], desk, variant, kit)
        strange = iter(said[len(rows) :])

        def with_reference(row: Alone, own: list[float]) -> Alone:
            stranger = row.stranger and replace(row.stranger, reference=tuple(next(strange)))
            return replace(row, reference=tuple(own), stranger=stranger)

        return [with_reference(row, own) for row, own in zip(rows, said[: len(rows)], strict=True)]

    def lay(self, rows: Sequence[Any], *, desk: Desk, kit: Kit, tokens: int, lanes: int = 1) -> list[Micro]:
        baseline = torch.tensor([gone([row.stranger for row in rows if row.stranger], desk, kit)])

        def wanted(own: Sequence[Alone]) -> Wanted:
            return Wanted(**vars(desk.told(own)), wanted=torch.tensor([row.wanted for row in own]), baseline=baseline)

        return desk.lay(rows, tokens=tokens, lanes=lanes, pad=wanted)

    def looks(self, rows: Sequence[Any], *, desk: Desk, kit: Kit, tokens: int, lanes: int = 1) -> Sequence[Micro]:
        return Anew(rows, partial(self.lay, desk=desk, kit=kit, tokens=tokens, lanes=lanes))

    def of_pass(self, desk: Desk, model: Any, micro: Micro) -> torch.Tensor:
        assert isinstance(micro, Wanted)
        return (self.loss(desk.logs(model, micro), micro.reference, micro) * micro.counts).sum()


class Anew(Sequence[Micro]):
    """Rows that are laid whenever they are gone through, by the policy as it then is."""

    def __init__(self, rows: Sequence[Any], lay: Callable[[Sequence[Any]], list[Micro]]) -> None:
        self.rows, self.lay = rows, lay

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, at: Any) -> Any:
        return self.lay(self.rows)[at]

    def __iter__(self) -> Iterator[Micro]:
        return iter(self.lay(self.rows))


def gone(strangers: Sequence[Single], desk: Desk, kit: Kit) -> float:
    """How many nats the policy has gone from its reference: the mean log-ratio of answers to other prompts, never below 0
    (arXiv:2402.01306, section 4.1)."""
    if not strangers:
        return 0.0
    said = desk.say(strangers, kit)
    ratios = [own[0] - row.reference[0] for own, row in zip(said, strangers, strict=True)]
    return max(0.0, sum(ratios) / len(ratios))


def strangers(asks: Sequence[Turns], answers: Sequence[str]) -> list[str]:
    """For each ask an answer to another: the next one's whose turns are not its own."""
    count = len(asks)
    found = [0] * count
    # from behind, so that a run of equal asks is gone through once
    after = next((at for at in range(count) if asks[at] != asks[0]), 0)
    for at in range(count - 1, -1, -1):
        following = (at + 1) % count
        if asks[following] != asks[at]:
            after = following
        found[at] = after
    return [answers[at] for at in found]
