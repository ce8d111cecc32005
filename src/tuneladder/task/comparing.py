"""Comparisons in tokens: the answers that are compared, each after the same prompt."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tuneladder.task.encode import Coder, Encoded, Pair, TooLong
from tuneladder.types import Comparison, Example, Turns

Side = tuple[Example, str]  # what is asked, and one answer to it


def told_apart(comparisons: Iterable[Comparison]) -> list[Comparison]:
    """Those that say which of two answers is better: they differ."""
    return [own for own in comparisons if own.chosen != own.rejected]


def asked(comparison: Comparison) -> Example:
    """What a comparison's answers are answers to, as an example whose reference is the better of them."""
    return Example(comparison.id, comparison.turns, (comparison.chosen,), source=comparison.source)


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
