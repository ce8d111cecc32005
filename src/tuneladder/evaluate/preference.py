"""How well a variant tells the better of two answers, on held-out pairs.

A reward says so by itself. A language model does by its implicit reward (arXiv:2305.18290, equation 5, without beta, which orders
nothing): how much likelier than in the untouched base it has made an answer. The base is the reference for every rung, so that
rungs of one base can be compared; to itself it prefers nothing, and has a half.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from tuneladder.errors import BadInput
from tuneladder.evaluate import correlation
from tuneladder.evaluate.find import find_metric
from tuneladder.evaluate.intervals import Array, Combine, bootstrap
from tuneladder.evaluate.measure import rate
from tuneladder.model.ask import turns_of_all
from tuneladder.task.comparing import asked, told_apart
from tuneladder.task.prefer import METRIC
from tuneladder.types import Answer, Comparison, Cost, Engine, Marked, Measurement, Prompt, Score, Turns


@runtime_checkable
class Weigher(Protocol):
    """An engine that can also say what whole answers are worth to it: a reward, or a log-probability in nats."""

    name: str

    def weigh(self, asks: Sequence[Turns], answers: Sequence[Sequence[str]]) -> list[list[float] | None]:
        """What each of the answers to each ask is worth, to a language model with its end; None where one of them does not fit."""
        ...


@dataclass(frozen=True)
class Weighed:
    """What a variant makes of the (chosen, rejected) of each pair, None where they did not fit, and how long it took."""

    pairs: tuple[tuple[float, float] | None, ...]
    seconds: float
    engine: str


def weigh_pairs(engine: Engine, prompt: Prompt, comparisons: Sequence[Comparison]) -> Weighed:
    """Ask an engine about every pair. Raises BadInput for one that weighs no answers."""
    if not isinstance(engine, Weigher):
        hint = "a decoder says how likely it finds an answer, and a model made by `reward` how good"
        raise BadInput(f"{engine.name} cannot say what an answer is worth to it", hint)
    pairs = told_apart(comparisons)
    if not pairs:
        raise BadInput("there are no pairs to measure", "give a dev and a test split that hold pairs, or more of them")
    start = time.perf_counter()
    found = engine.weigh(turns_of_all(prompt, [asked(own) for own in pairs]), [(own.chosen, own.rejected) for own in pairs])
    seconds = time.perf_counter() - start
    if all(own is None for own in found):
        raise BadInput("none of the pairs fits in the context", "choose a base with a longer context, or shorten the answers")
    return Weighed(tuple(None if own is None else (own[0], own[1]) for own in found), seconds, engine.name)


def judged(comparisons: Sequence[Comparison], weighed: Weighed, before: Weighed | None, *, seed: int) -> Measurement:
    """What was weighed as a measurement. `before` is what the untouched base makes of the same pairs, None for a reward: of this
    the length bias is told, Pearson's correlation of a reward with the characters of the answer, and how sure it is of each
    pair."""
    bases = before.pairs if before else [(0.0, 0.0)] * len(weighed.pairs)
    every = zip(told_apart(comparisons), weighed.pairs, bases, strict=True)
    found = [(pair, own, base) for pair, own, base in every if own is not None and base is not None]
    if not found:
        raise BadInput(
            "no pair fits in the context both here and before the untouched base", "show fewer shots, or shorten the prompt"
        )
    margins = np.array([(own[0] - base[0]) - (own[1] - base[1]) for _, own, base in found])
    marked = tuple(_marked(pair, float(margin), sure=before is None) for (pair, _, _), margin in zip(found, margins, strict=True))
    said, references = [row.answer.text for row in marked], [(row.reference,) for row in marked]
    quality = {METRIC: rate(find_metric(METRIC), said, references, seed=seed), "margin": _mean(margins, seed)}
    if before is None:
        sizes = [len(answer) for pair, _, _ in found for answer in (pair.chosen, pair.rejected)]
        worth = [value for _, own, _ in found for value in own]
        bias = correlation.sums_of(np.array(worth), np.array(sizes, dtype=np.float64))
        quality["length_bias"] = _score(bias, correlation.combine, seed)
    else:
        quality["chosen_log_probability"] = _mean(np.array([own[0] for _, own, _ in found]), seed)
    spent = Cost(seconds=weighed.seconds)
    one = Cost(seconds=weighed.seconds / (2 * len(found)))
    return Measurement(quality, {}, None, spent, one, weighed.engine, marked)


def _marked(pair: Comparison, margin: float, *, sure: bool) -> Marked:
    """How sure a reward is: the probability that Bradley and Terry's model gives the answer it puts first."""
    said = "chosen" if margin > 0 else "rejected" if margin < 0 else "tie"
    confidence = float(1 / (1 + np.exp(-min(abs(margin), 500.0)))) if sure else None
    shown = "\n".join(
        [*(f"{turn.role}: {turn.text}" for turn in pair.turns), f"chosen: {pair.chosen}", f"rejected: {pair.rejected}"]
    )
    return Marked(pair.id, shown, "chosen", Answer(said, confidence, f"{margin:.6f}"), None if said == "tie" else margin > 0)


def _mean(values: Array, seed: int) -> Score:
    return _score(np.column_stack([values, np.ones(len(values))]), lambda sums: np.asarray(sums[:, 0] / sums[:, 1]), seed)


def _score(statistics: Array, combine: Combine, seed: int) -> Score:
    value = float(combine(statistics.sum(0, keepdims=True))[0])
    return Score(value, *bootstrap(statistics, combine, seed=seed), len(statistics), "bootstrap")
