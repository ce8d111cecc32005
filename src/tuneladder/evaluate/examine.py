"""Examine a variant by a suite: what it answered, counted as a whole, by subject, and as the mean over subjects or parts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tuneladder.evaluate.intervals import Array, Combine, mean_of_parts, wilson
from tuneladder.evaluate.measure import rate
from tuneladder.evaluate.sitting import Sitting
from tuneladder.evaluate.suite import likeliest
from tuneladder.model.shortened import told_unfinished
from tuneladder.store import digest
from tuneladder.types import Answer, Cost, Marked, Score

PLAIN = "none"  # the template of text that goes on

Texts = Mapping[str, Sequence[str]]
Scores = Mapping[str, Score]


@dataclass(frozen=True)
class Asked:
    """What was asked: the digest of all prompts with their options, the shots before each, and the template around them."""

    digest: str
    shots: int
    template: str


@dataclass(frozen=True)
class Examined:
    """A variant by a suite. `scores` are over all rows alike (the micro average), `subjects` over those of each one, and `macro`
    is the subjects' mean, where there are several. `answers` are those of the first figure."""

    suite: str
    version: int
    data: str
    prompt: Asked
    scores: Scores
    macro: Scores
    subjects: Mapping[str, Scores]
    notes: tuple[str, ...]
    engine: str
    spent: Cost
    per_answer: Cost
    answers: tuple[Marked, ...]


def examined(sitting: Sitting, *, seed: int = 0) -> Examined:
    """What a sitting is worth."""
    questions, suite = sitting.questions, sitting.questions.suite
    texts = _texts(sitting)
    rows: dict[str, list[int]] = {}
    for at, example in enumerate(questions.examples):
        rows.setdefault(example.set, []).append(at)
    several = len(rows) > 1
    count, spent = len(questions.examples), sitting.spent
    means = {name: [_counted(sitting, {name: own}, part) for part in rows.values()] for name, own in texts.items()}
    return Examined(
        suite=suite.name,
        version=suite.version,
        data=questions.data,
        prompt=Asked(digest([[ask.turns, ask.endings] for ask in sitting.asks]), questions.count, sitting.template or PLAIN),
        scores=_rated(sitting, texts, range(count), seed),
        macro={name: _mean(parts, count, seed) for name, parts in means.items()} if several else {},
        subjects={name: _rated(sitting, texts, own, seed) for name, own in sorted(rows.items())} if several else {},
        notes=(*questions.notes, *_shortened(sitting), *told_unfinished(sitting.unfinished)),
        engine=sitting.engine,
        spent=spent,
        per_answer=Cost(spent.seconds / count, money=spent.money / count, tokens=spent.tokens / count),
        answers=_marked(sitting, next(iter(texts.values()))),
    )


def average(sittings: Sequence[Sitting], *, seed: int = 0) -> Score:
    """The mean over the parts of a suite, those that count `together` as one, of the mean of each one's figures."""
    parts = [_counted(sitting, _texts(sitting), range(len(sitting.said))) for sitting in sittings]
    names = [sitting.questions.suite.together or sitting.questions.suite.name for sitting in sittings]
    shares = [1 / names.count(name) / len(set(names)) for name in names]
    return _mean(parts, sum(len(sitting.said) for sitting in sittings), seed, shares)


def _texts(sitting: Sitting) -> Texts:
    """Every answer as each figure reads it."""
    pairs = list(zip(sitting.questions.examples, sitting.said, strict=True))
    return {name: [figure.reading(*pair) for pair in pairs] for name, figure in sitting.questions.suite.figures.items()}


def _rated(sitting: Sitting, texts: Texts, rows: Sequence[int], seed: int) -> Scores:
    suite, references = sitting.questions.suite, [sitting.questions.examples[at].references for at in rows]
    return {
        name: rate(figure.counted, [texts[name][at] for at in rows], references, suite.labels, seed=seed)
        for name, figure in suite.figures.items()
    }


def _counted(sitting: Sitting, texts: Texts, rows: Sequence[int]) -> list[tuple[Array, Combine]]:
    suite, references = sitting.questions.suite, [sitting.questions.examples[at].references for at in rows]
    metrics = {name: suite.figures[name].counted for name in texts}
    return [
        (metrics[name].statistics([own[at] for at in rows], references, suite.labels), metrics[name].combine)
        for name, own in texts.items()
    ]


def _mean(parts: Sequence[Sequence[tuple[Array, Combine]]], count: int, seed: int, shares: Sequence[float] | None = None) -> Score:
    value, low, high = mean_of_parts(parts, shares, seed=seed)
    if high - low < 1e-9 and 0 <= value <= 1:
        # rows that are all alike leave the bootstrap nothing to vary, as in `rate`
        return Score(value, *wilson(value * count, count), count, "wilson")
    return Score(value, low, high, count, "bootstrap within parts")


def _shortened(sitting: Sitting) -> list[str]:
    notes, count = [], len(sitting.dropped)
    if fewer := sum(own > 0 for own in sitting.dropped):
        left_out = sum(sitting.dropped)
        notes.append(f"{fewer:,} of {count:,} prompts were longer than the context: {left_out:,} shots in all were left out")
    if sitting.cut:
        notes.append(f"{sitting.cut:,} of {count:,} prompts did not fit the context, and were shortened")
    return notes


def _marked(sitting: Sitting, answers: Sequence[str]) -> tuple[Marked, ...]:
    rows = zip(sitting.questions.examples, sitting.said, answers, _rights(sitting, answers), strict=True)
    return tuple(
        Marked(
            example.id,
            example.turns[0].text,
            example.references[0],
            Answer(answer, _confidence(said.scores), likeliest(example, said) if said.scores else said.text),
            right,
            example.references[1:],
        )
        for example, said, answer, right in rows
    )


def _rights(sitting: Sitting, answers: Sequence[str]) -> Sequence[bool] | Sequence[None]:
    """Whether each answer is right, None where the suite's answers are not simply right or wrong."""
    suite, references = sitting.questions.suite, [example.references for example in sitting.questions.examples]
    metric = next(iter(suite.figures.values())).counted
    if metric.interval == "wilson" and metric.items:
        return [value == 1 for value in metric.items(answers, references, suite.labels)]
    if suite.labels:
        return [answer in own for answer, own in zip(answers, references, strict=True)]
    return [None] * len(answers)


def _confidence(scores: Sequence[float]) -> float | None:
    """The probability of the likeliest option among all."""
    best = max(scores, default=-math.inf)
    return 1 / sum(math.exp(score - best) for score in scores) if math.isfinite(best) else None
