"""How well a variant tells the better of two answers, on held-out pairs.

A reward says so by itself. A language model does by its implicit reward (arXiv:2305.18290, equation 5, without beta, which orders
nothing): how much likelier than in the untouched base it has made an answer. The base is the reference for every rung, so that
rungs of one base can be compared; to itself it prefers nothing, and has a half.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from tuneladder.errors import BadInput
from tuneladder.evaluate import correlation
from tuneladder.evaluate.find import find_metric
from tuneladder.evaluate.intervals import Array, Combine, bootstrap, by_group, wilson
from tuneladder.evaluate.measure import rate
from tuneladder.model.ask import turns_of_all
from tuneladder.task.comparing import RAW, Unit, asked, contests
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
    """What a variant makes of the better and the worse answer of each contest (`comparing.contests`), None where they did not fit,
    and how long it took."""

    pairs: tuple[tuple[float, float] | None, ...]
    seconds: float
    engine: str


def weigh_pairs(engine: Engine, prompt: Prompt, comparisons: Sequence[Comparison]) -> Weighed:
    """Ask an engine about every pair. Raises BadInput for one that weighs no answers."""
    if not isinstance(engine, Weigher):
        hint = "a decoder says how likely it finds an answer, and a model made by `reward` how good"
        raise BadInput(f"{engine.name} cannot say what an answer is worth to it", hint)
    pairs = contests(comparisons)
    if not pairs:
        raise BadInput("there are no pairs to measure", "give a dev and a test split that hold pairs, or more of them")
    start = time.perf_counter()
    if pairs[0][0] is pairs[0][1]:
        asks = turns_of_all(prompt, [asked(own) for own, _ in pairs])
        found = engine.weigh(asks, [(own.chosen, own.rejected) for own, _ in pairs])
    else:
        # answers to unlike prompts, each of which may stand in several contests
        alone = {own.id: own for pair in pairs for own in pair}
        asks = turns_of_all(prompt, [asked(own) for own in alone.values()])
        each = engine.weigh(asks, [(own.chosen or own.rejected,) for own in alone.values()])
        worth = dict(zip(alone, each, strict=True))
        found = [_both(worth[better.id], worth[worse.id]) for better, worse in pairs]
    seconds = time.perf_counter() - start
    if all(own is None for own in found):
        raise BadInput("none of the pairs fits in the context", "choose a base with a longer context, or shorten the answers")
    return Weighed(tuple(None if own is None else (own[0], own[1]) for own in found), seconds, engine.name)


def judged(
    comparisons: Sequence[Comparison],
    weighed: Weighed,
    before: Weighed | None,
    *,
    seed: int,
    unit: Unit = RAW,
    split: str = "test",
) -> Measurement:
    """What was weighed of a split as a measurement. `before` is what the untouched base makes of the same pairs, None for a reward:
    of this the length bias is told, Pearson's correlation of a reward with the characters of the answer, how sure it is of each
    pair, and where people scored the answers, how it keeps to that, in the `unit` of the scores that it could learn from."""
    bases = before.pairs if before else [(0.0, 0.0)] * len(weighed.pairs)
    every = zip(contests(comparisons), weighed.pairs, bases, strict=True)
    found = [(pair, own, base) for pair, own, base in every if own is not None and base is not None]
    if not found:
        raise BadInput(
            "no pair fits in the context both here and before the untouched base", "show fewer shots, or shorten the prompt"
        )
    margins = np.array([(own[0] - base[0]) - (own[1] - base[1]) for _, own, base in found])
    prompts = _prompts([pair for pair, _, _ in found])
    marked = tuple(
        _marked(pair, float(margin), prompt, sure=before is None)
        for (pair, _, _), margin, prompt in zip(found, margins, prompts, strict=True)
    )
    quality = {METRIC: _right(marked, prompts, seed), "margin": _mean(margins, prompts, seed)}
    if before is None:
        sizes = [len(answer) for (better, worse), _, _ in found for answer in _answers(better, worse)]
        worth = [value for _, own, _ in found for value in own]
        bias = correlation.sums_of(np.array(worth), np.array(sizes, dtype=np.float64))
        quality["length_bias"] = _score(bias, correlation.combine, np.repeat(prompts, 2).tolist(), seed)
        quality |= _of_scores([(pair, own) for pair, own, _ in found], unit, seed)
    else:
        quality["chosen_log_probability"] = _mean(np.array([own[0] for _, own, _ in found]), prompts, seed)
    spent = Cost(seconds=weighed.seconds)
    one = Cost(seconds=weighed.seconds / (2 * len(found)))
    left = len(weighed.pairs) - len(found)
    notes = (f"{left:,} pairs of {split} were longer than the context, and were left out",) if left else ()
    return Measurement(quality, {}, None, spent, one, weighed.engine, marked, notes=notes)


def _both(one: list[float] | None, other: list[float] | None) -> list[float] | None:
    return [*one, *other] if one and other else None


def _prompts(pairs: Sequence[tuple[Comparison, Comparison]]) -> list[str]:
    """The prompt that each contest is drawn with, for contests that share answers are won and lost together. Of two unlike ones it
    is that which stands in more contests."""
    both = [(_prompt(better), _prompt(worse)) for better, worse in pairs]
    stands = Counter(name for own in both for name in set(own))
    return [max(own, key=stands.__getitem__) for own in both]


def _prompt(comparison: Comparison) -> str:
    return comparison.source or comparison.id


def _right(marked: Sequence[Marked], prompts: Sequence[str], seed: int) -> Score:
    """The share of contests that are told apart as people did; where prompts have several, whole prompts are drawn."""
    metric = find_metric(METRIC)
    said, references = [row.answer.text for row in marked], [(row.reference,) for row in marked]
    if (count := len(set(prompts))) == len(marked):
        return rate(metric, said, references, seed=seed)
    found = _score(metric.statistics(said, references, ()), metric.combine, prompts, seed)
    if found.high - found.low < 1e-9:  # all alike: the bootstrap has nothing to vary
        return Score(found.value, *wilson(found.value * count, count), len(marked), "wilson")
    return found


def _of_scores(
    found: Sequence[tuple[tuple[Comparison, Comparison], tuple[float, float]]], unit: Unit, seed: int
) -> dict[str, Score]:
    """How a reward keeps to the scores that people gave, where each answer has one: Pearson's correlation; the mean square by which
    it misses them, in squares of their standard deviation, of which a constant has 1; and the slope of the scores over the
    rewards, in that unit, which is 1 where a reward means what it says."""
    said: dict[tuple[str, str], tuple[float, float]] = {}  # an answer counts once, in however many contests it stands
    prompts: dict[tuple[str, str], str] = {}
    for (better, worse), values in found:
        if not (better.scores and worse.scores):
            return {}
        scores = better.scores if better is worse else (better.scores[0], worse.scores[0])
        for own, answer, score, value in zip((better, worse), _answers(better, worse), scores, values, strict=True):
            said[own.id, answer] = (unit.normal(score), value)
            prompts[own.id, answer] = _prompt(own)
    scores_N, rewards_N = np.array(list(said.values())).T
    drawn = list(prompts.values())
    missed = _mean((rewards_N - scores_N) ** 2, drawn, seed)
    sums = np.column_stack([np.ones(len(said)), rewards_N, scores_N, rewards_N**2, rewards_N * scores_N])
    fit = _score(correlation.sums_of(rewards_N, scores_N), correlation.combine, drawn, seed)
    return {"score_correlation": fit, "score_error": missed, "score_slope": _score(sums, _slope, drawn, seed)}


def _slope(sums: Array) -> Array:
    """Of the least squares of y over x, of rows (1, x, y, xx, xy); 0 where x does not vary."""
    count, x, y, xx, xy = sums.T
    spread = xx - x * x / count
    return np.asarray(np.divide(xy - x * y / count, spread, out=np.zeros_like(count), where=spread > 1e-20))


def _marked(pair: tuple[Comparison, Comparison], margin: float, prompt: str, *, sure: bool) -> Marked:
    """How sure a reward is: the probability that Bradley and Terry's model gives the answer it puts first."""
    better, worse = pair
    said = "chosen" if margin > 0 else "rejected" if margin < 0 else "tie"
    confidence = float(1 / (1 + np.exp(-min(abs(margin), 500.0)))) if sure else None
    first, second = _answers(better, worse)
    lines = [*_asked(better), f"chosen: {first}"]
    lines += [] if better.turns == worse.turns else _asked(worse)
    lines.append(f"rejected: {second}")
    id = better.id if better is worse else f"{better.id} over {worse.id}"
    answer = Answer(said, confidence, f"{margin:.6f}")
    return Marked(id, "\n".join(lines), "chosen", answer, None if said == "tie" else margin > 0, group=prompt)


def _answers(better: Comparison, worse: Comparison) -> tuple[str, str]:
    """The two answers of a contest; of two that were scored both are chosen."""
    return better.chosen, worse.rejected or worse.chosen


def _asked(comparison: Comparison) -> list[str]:
    return [f"{turn.role}: {turn.text}" for turn in comparison.turns]


def _mean(values: Array, prompts: Sequence[str], seed: int) -> Score:
    sums = np.column_stack([values, np.ones(len(values))])
    return _score(sums, lambda drawn: np.asarray(drawn[:, 0] / drawn[:, 1]), prompts, seed)


def _score(statistics: Array, combine: Combine, prompts: Sequence[str], seed: int) -> Score:
    """With the interval that drawing whole prompts gives."""
    value = float(combine(statistics.sum(0, keepdims=True))[0])
    drawn = by_group(statistics, prompts)
    name = "bootstrap" if len(drawn) == len(statistics) else "bootstrap over prompts"
    return Score(value, *bootstrap(drawn, combine, seed=seed), len(statistics), name)
