"""Does a variant answer as well when rows are written carelessly, or when it is told what to do in other words (arXiv:2211.09110,
section 4.6)? The same rows are asked again, and each is compared with itself."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace

from tuneladder.evaluate.compare import difference
from tuneladder.evaluate.find import Metric, find_metric
from tuneladder.evaluate.intervals import wilson
from tuneladder.evaluate.measure import mark, measure, rate, told_again
from tuneladder.task.perturb import INSTRUCTION, WAYS, perturbed
from tuneladder.task.rewordings import rewordings
from tuneladder.types import Cost, Drop, Engine, Example, Marked, Measurement, Robustness, Score, Task, Variant

PERTURBATIONS = (*WAYS, INSTRUCTION)
PERTURBING = 1  # raise it when rows are perturbed otherwise
PERTURBED = {"typos": "typos", "case": "other case", "spacing": "other spacing", INSTRUCTION: "the instruction reworded"}
FRAMED = "around it"  # how what was done ends where the instruction stands in a frame
SHOWN = 4  # rows lost that are kept to be looked at


def chosen(examples: Sequence[Example], asked: Robustness, *, seed: int) -> tuple[Example, ...]:
    """The rows that are asked again: all, or so many drawn of them, in their order."""
    if not 0 < asked.rows < len(examples):
        return tuple(examples)
    drawn = sorted(random.Random(f"{seed} rows").sample(range(len(examples)), asked.rows))
    return tuple(examples[at] for at in drawn)


def asked_with(task: Task, variant: Variant, asked: Robustness) -> tuple[str, ...]:
    """Instructions in place of the variant's own; none where it reads none."""
    if variant.base.family == "encoder" or not variant.prompt.instruction:
        return ()
    given = tuple(own for own in asked.instructions if own != variant.prompt.instruction)
    return given or rewordings(task, variant.prompt)


def said(task: Task, variant: Variant, asked: Robustness, way: str) -> str:
    """What was done to the rows, or to the instruction, in words."""
    if way == "typos":
        return f"one typo in {100 * asked.share:g} % of the words, one at least"
    if way == "case":
        return "all small letters or all capitals"
    if way == "spacing":
        return "one to three blanks for each"
    others = asked_with(task, variant, asked)
    one, after = ("instruction", "of the recipe's") if asked.instructions else ("rewording", "by rule")
    if not asked.instructions and all(variant.prompt.instruction in other for other in others):
        one, after = "frame", FRAMED
    return f"{len(others)} {one}{'' if len(others) == 1 else 's'} {after}"


def heading(way: str, hows: Iterable[str]) -> str:
    """What a perturbation is called where these are what was done: an instruction that is only framed is not in other words."""
    framed = [how.endswith(FRAMED) for how in hows]
    if way != INSTRUCTION or not any(framed):
        return PERTURBED[way]
    return "the instruction framed" if all(framed) else f"{PERTURBED[way]} or framed"


def measure_perturbed(engine: Engine, variant: Variant, task: Task, way: str, asked: Robustness, *, seed: int) -> Measurement:
    """The rows of test, perturbed, asked and marked: what they are marked by no perturbation touches.

    Where the instruction is in other words, each row is asked with the one of them that the seed draws for it.
    """
    rows = chosen(task.examples.test, asked, seed=seed)
    if way != INSTRUCTION:
        changed = [perturbed(row, way, share=asked.share, seed=seed) for row in rows]
        found = measure(engine, variant.prompt, task, changed, seed=seed)
        if not (task.metric and find_metric(task.metric).outcomes):
            return found
        # such a metric reads the row, and is to read it as it was
        whole = _as_one(task, rows, [found], seed)
        answers = (replace(own, input=asked_as.input) for own, asked_as in zip(whole.answers, found.answers, strict=True))
        return replace(whole, answers=tuple(answers))
    others = asked_with(task, variant, asked)
    drawn = [random.Random(f"{seed} {INSTRUCTION} {row.id}").choice(others) for row in rows]
    parts = {other: [row for row, own in zip(rows, drawn, strict=True) if own == other] for other in dict.fromkeys(drawn)}
    told = {other: replace(variant.prompt, instruction=other) for other in parts}
    return _as_one(task, rows, [measure(engine, told[other], task, own, seed=seed) for other, own in parts.items()], seed)


def _as_one(task: Task, rows: Sequence[Example], parts: Sequence[Measurement], seed: int) -> Measurement:
    """The measurement of all rows, of which each part asked some."""
    given = {marked.id: marked.answer for part in parts for marked in part.answers}
    answering = sum(part.per_answer.seconds * len(part.answers) for part in parts)
    seconds, money, tokens = (sum(getattr(part.spent, name) for part in parts) for name in ("seconds", "money", "tokens"))
    whole = mark(task, rows, [given[row.id] for row in rows], seconds=answering, engine=parts[0].engine, seed=seed)
    one = replace(whole.per_answer, money=money / len(rows), tokens=tokens / len(rows))
    return replace(whole, spent=Cost(seconds=seconds, money=money, tokens=tokens), per_answer=one)


def drop(
    metric: Metric,
    before: Sequence[Marked],
    after: Sequence[Marked],
    labels: Sequence[str],
    *,
    way: str,
    how: str,
    seed: int,
) -> Drop:
    """`after` are answers to rows of `before`, perturbed. What is worse is positive, whichever way the metric is better."""
    own = {marked.id: marked for marked in before}
    pairs = [(own[marked.id], marked) for marked in after]
    apart = difference(metric, after, [first for first, _ in pairs], labels, seed=seed)
    others = sum(first.answer.text != second.answer.text for first, second in pairs)
    changed = Score(others / len(pairs), *wilson(others, len(pairs)), len(pairs), "wilson")
    low, high = (apart.low, apart.high) if metric.better == "higher" else (-apart.high, -apart.low)
    worse = Score(apart.value if metric.better == "higher" else -apart.value, low, high, len(pairs), "paired bootstrap")
    if not others:  # nothing to vary is no certainty: so many answers may still change
        worse = Score(0.0, -changed.high, changed.high, len(pairs), "wilson")
    lost = [pair for pair in pairs if pair[0].correct and pair[1].correct is False]
    first, second = ([pair[side] for pair in pairs] for side in (0, 1))
    return Drop(
        way,
        metric.name,
        how,
        _rated(metric, first, labels, seed),
        _rated(metric, second, labels, seed),
        worse,
        apart.p,
        changed,
        tuple(lost[:SHOWN]),
    )


def _rated(metric: Metric, answers: Sequence[Marked], labels: Sequence[str], seed: int) -> Score:
    references = [(marked.reference, *marked.others) for marked in answers]
    return rate(metric, told_again(metric, answers), references, labels, seed=seed)
