"""Comparisons as they are learned and measured: two answers to a prompt, or each by itself, and their tokens after the same
prompt."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise
from statistics import fmean, pstdev

from tuneladder.errors import Refused
from tuneladder.store import digest
from tuneladder.task.encode import Coder, Encoded, Pair, TooLong
from tuneladder.types import Comparison, Example, Task, Turns

Side = tuple[Example, str]  # what is asked, and one answer to it


@dataclass(frozen=True)
class Unit:
    """What scores are counted in: how far above their `mean`, in standard deviations."""

    mean: float = 0.0
    deviation: float = 1.0

    def normal(self, score: float) -> float:
        return (score - self.mean) / self.deviation


RAW = Unit()  # scores as people gave them


def unit_of(comparisons: Iterable[Comparison]) -> Unit:
    """That of the scores in a split, of which a reward learns and in which it is measured; raw where there are none."""
    scores = [score for own in comparisons if own.scores for score in own.scores[: 2 if own.rejected else 1]]
    spread = pstdev(scores) if scores else 0.0
    return Unit(fmean(scores), spread) if spread else RAW


def told_apart(comparisons: Iterable[Comparison]) -> list[Comparison]:
    """Those that say which of two answers is better: they differ, and people did not give both the same score."""
    return [own for own in comparisons if own.chosen and own.rejected and not tied(own)]


def tied(comparison: Comparison) -> bool:
    """Whether it says of neither of two answers that it is the better."""
    two = bool(comparison.chosen and comparison.rejected)
    alike = comparison.scores is not None and comparison.scores[0] == comparison.scores[1]
    return two and (comparison.chosen == comparison.rejected or alike)


def one_by_one(comparisons: Iterable[Comparison]) -> list[Comparison]:
    """Every answer by itself, wanted or not: a pair is two of them. A pair of equal answers says of one that it is both, and is
    left out."""
    found = []
    for own in comparisons:
        if own.chosen and own.chosen != own.rejected:
            found.append(replace(own, rejected="", margin=0.0))
        if own.rejected and own.chosen != own.rejected:
            found.append(replace(own, chosen="", margin=0.0, scores=own.scores and (own.scores[1], 0.0)))
    return found


def wanted_or_not(comparisons: Iterable[Comparison]) -> list[Comparison]:
    """As `one_by_one`, without pairs that say of neither answer that it is the better."""
    return one_by_one(own for own in comparisons if not tied(own))


def halved(task: Task, half: str) -> Task:
    """The task with those comparisons to learn from, and to choose by while learning, that are of one half of the prompts, a or b:
    all where it is "". A digest parts them, which knows no order."""
    if not half:
        return task
    split = task.comparisons
    train, dev = (tuple(each for each in part if _half(each) == half) for part in (split.train, split.dev))
    if split.train and not train:
        raise Refused(f"half {half} of the prompts holds no pair", "leave `half` out, or give more pairs")
    return replace(task, comparisons=replace(split, train=train, dev=dev))


def _half(comparison: Comparison) -> str:
    return "b" if int(digest(comparison.source or comparison.id), 16) % 2 else "a"


def contests(comparisons: Sequence[Comparison]) -> list[tuple[Comparison, Comparison]]:
    """What has the better answer, and what the worse: pairs, each in both places. Where answers were judged by themselves, the
    wanted ones with those that were not, in order, the fewer of them going round; and where they were scored, those of one prompt
    whose scores differ, or where no prompt has two such, neighbours."""
    if pairs := told_apart(comparisons):
        return [(own, own) for own in pairs]
    if scored := [own for own in comparisons if own.scores and not own.rejected]:
        by_prompt: dict[str, list[Comparison]] = {}
        for own in scored:
            by_prompt.setdefault(own.source or own.id, []).append(own)
        within = [pair for rows in by_prompt.values() for pair in combinations(rows, 2)]
        return _unequal(within) or _unequal(pairwise(scored))
    alone = wanted_or_not(comparisons)
    wanted, others = ([own for own in alone if bool(own.chosen) == good] for good in (True, False))
    if not (wanted and others):
        return []
    return [(wanted[at % len(wanted)], others[at % len(others)]) for at in range(max(len(wanted), len(others)))]


def _unequal(pairs: Iterable[tuple[Comparison, Comparison]]) -> list[tuple[Comparison, Comparison]]:
    """Scored answers two by two, the higher first; without those whose scores are the same."""
    both = [(one, other, one.scores[0] - other.scores[0]) for one, other in pairs if one.scores and other.scores]
    return [(one, other) if gap > 0 else (other, one) for one, other, gap in both if gap]


def asked(comparison: Comparison) -> Example:
    """What a comparison's answers are answers to, as an example whose reference is the better of them."""
    return Example(comparison.id, comparison.turns, (comparison.chosen or comparison.rejected,), source=comparison.source)


def encode_sides(
    coder: Coder, groups: Sequence[tuple[Turns, Sequence[str]]], *, limit: int | None = None, close: bool = True
) -> list[list[Encoded] | None]:
    """Each group's answers in tokens, their ends included if `close`; None for a group of which one does not fit.

    Where one of them leaves too little room for the prompt, it is cut alike for all: else they would answer unlike prompts.
    """
    pairs: list[Pair] = [(turns, answer) for turns, answers in groups for answer in answers]
    laid = iter(coder.lay(pairs, every=False, close=close))
    room = coder.context if limit is None else min(limit, coder.context)
    found: list[list[Encoded] | None] = []
    for turns, answers in groups:
        own = [next(laid) for _ in answers]
        sizes = [sum(row.learn) for row in own]
        limits = [room - (max(sizes) - size) for size in sizes] if any(len(row.ids) > room for row in own) else [room] * len(own)
        try:
            cut = [
                coder.cut(row, (turns, answer), every=False, close=close, limit=most)
                for row, answer, most in zip(own, answers, limits, strict=True)
            ]
        except TooLong:
            found.append(None)
            continue
        found.append(cut if all(any(row.learn[1:]) for row in cut) else None)
    return found
