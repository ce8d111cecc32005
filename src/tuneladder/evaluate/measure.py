"""Measure a variant on rows: ask, mark, and say how sure the marks are."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace

from tuneladder.errors import BadInput
from tuneladder.evaluate.find import Metric, find_metric, metrics_of
from tuneladder.evaluate.intervals import bootstrap, wilson
from tuneladder.model.ask import ask
from tuneladder.model.likeness import choosing
from tuneladder.model.local import Counts
from tuneladder.model.purse import paid_so_far, spent_since
from tuneladder.task.multi_label import kind_in_full
from tuneladder.types import Answer, Cost, Engine, Example, Marked, Measurement, Prompt, Score, Task

WARM = 8


def measure(engine: Engine, prompt: Prompt, task: Task, examples: Sequence[Example], *, seed: int) -> Measurement:
    """Ask every example with `prompt` and mark the answers; probes and forgetting are left empty. Raises BadInput on no rows."""
    with choosing(prompt.shots) as pick:
        if isinstance(engine, Counts):
            # a local engine builds its kernels on its first rows; that is not the price of an answer, and they are counted below
            cut = engine.calls.cut
            ask(engine, prompt, examples[:WARM], task.labels, pick=pick)
            engine.calls.cut = cut
        before = paid_so_far(engine)
        start = time.perf_counter()
        answers = ask(engine, prompt, examples, task.labels, pick=pick)
        spent = spent_since(before, engine, time.perf_counter() - start)
    measurement = mark(task, examples, answers, seconds=spent.seconds, engine=engine.name, seed=seed)
    one = replace(measurement.per_answer, money=spent.money / len(examples), tokens=spent.tokens / len(examples))
    return replace(measurement, spent=replace(spent, seconds=time.perf_counter() - start), per_answer=one)


def mark(
    task: Task, examples: Sequence[Example], answers: Sequence[Answer], *, seconds: float, engine: str, seed: int
) -> Measurement:
    """The measurement of answers already given, which took `seconds` in all. The task's own metric stands first, then those it
    names beside it; where the examples are of several data sets, `metric[set]` is that of each."""
    if not examples:
        raise BadInput(f"{task.name} has no rows to measure", "give a dev and a test split, or more rows to draw them from")
    texts = [answer.text for answer in answers]
    references = [example.references for example in examples]
    own = [find_metric(name) for name in (task.metric, *task.also) if name]
    metrics = {metric.name: metric for metric in [*own, *metrics_of(kind_in_full(task))] if metric.judge is None}
    told = {name: told_by(metric, examples, answers) for name, metric in metrics.items()}
    quality = {name: rate(metric, told[name], references, task.labels, seed=seed) for name, metric in metrics.items()}
    if task.metric and len(sets := sorted({example.set for example in examples})) > 1:
        first = own[0]
        for name in sets:
            own_rows = [at for at, example in enumerate(examples) if example.set == name]
            given, wanted = [told[first.name][at] for at in own_rows], [references[at] for at in own_rows]
            quality[f"{first.name}[{name}]"] = rate(first, given, wanted, task.labels, seed=seed)
    right = rights(task, texts, references)
    decisive = metrics.get(task.metric)
    kept: Sequence[str | None] = told[task.metric] if decisive and decisive.outcomes else [None] * len(examples)
    marked = tuple(
        Marked(
            example.id,
            _shown(example),
            example.references[0],
            answer,
            correct,
            example.references[1:],
            outcome,
            example.options,
            example.template,
        )
        for example, answer, correct, outcome in zip(examples, answers, right, kept, strict=True)
    )
    return Measurement(quality, {}, None, Cost(seconds=seconds), Cost(seconds=seconds / len(examples)), engine, marked)


def told_by(metric: Metric, examples: Sequence[Example], answers: Sequence[Answer]) -> Sequence[str]:
    """What a metric marks: the answers' texts or, where these are run or their rows read, what comes of that. Raises BadInput for
    answers of fewer samples than it takes."""
    if metric.outcomes is None:
        return [answer.text for answer in answers]
    written = min(len(answer.samples) or 1 for answer in answers)
    if written < metric.samples:
        said = f"{metric.name} takes {metric.samples} samples of an answer, and {written} {'is' if written == 1 else 'are'} written"
        raise BadInput(said, "ask with `decoding: samples`, by a prompt that neither reasons nor votes")
    return metric.outcomes(examples, answers)


def told_again(metric: Metric, answers: Sequence[Marked]) -> list[str]:
    """What the task's metric marks of answers that were kept."""
    return [(marked.told or "") if metric.outcomes else marked.answer.text for marked in answers]


def rate(
    metric: Metric, answers: Sequence[str], references: Sequence[Sequence[str]], labels: Sequence[str] = (), *, seed: int
) -> Score:
    """The metric with its 95 % interval."""
    statistics = metric.statistics(answers, references, labels)
    value = float(metric.combine(statistics.sum(0, keepdims=True))[0])
    count = len(answers)
    if metric.interval == "wilson":
        return Score(value, *wilson(value * count, count), count, "wilson")
    low, high = bootstrap(statistics, metric.combine, seed=seed)
    bound = metric.best if metric.better == "higher" else metric.worst
    if high - low < 1e-9 and (metric.better == "higher" or math.isfinite(bound)) and 0 <= value <= bound:
        # Rows that are all alike (all right, or a single one) leave the bootstrap nothing to vary, which is no certainty. A
        # bounded mean varies no more than a share of the same value, so the share's interval is wide enough. Where there is no
        # bound, what the references have is taken for one.
        best = bound if math.isfinite(bound) else max(value, metric.score([row[0] for row in references], references))
        if best > 0:
            low, high = (end * best for end in wilson(value / best * count, count))
            return Score(value, low, high, count, "wilson")
    return Score(value, low, high, count, "bootstrap")


def confusion(answers: Sequence[Marked], labels: Sequence[str]) -> list[list[int]]:
    """Counts (K, K + 1): a row for each true label, a column for each label said, the last for answers outside the labels. Every
    answered row has one label: in sets none is taken for another."""
    place = {label: k for k, label in enumerate(labels)}
    table = [[0] * (len(labels) + 1) for _ in labels]
    for marked in answers:
        # A row may have several acceptable labels: a right answer lies on the diagonal.
        truth = marked.answer.text if marked.correct and marked.answer.text in place else marked.reference
        table[place[truth]][place.get(marked.answer.text, len(labels))] += 1
    return table


def rights(task: Task, answers: Sequence[str], references: Sequence[Sequence[str]]) -> list[bool] | list[None]:
    """Whether each answer is right, None where a task's answers are not simply right or wrong."""
    if not has_rights(task):
        return [None] * len(answers)
    judge = find_metric("accuracy" if task.kind in ("classify", "choose") else "exact_match")
    assert judge.items is not None
    return [value == 1 for value in judge.items(answers, references, task.labels)]


def has_rights(task: Task) -> bool:
    """Whether an answer to this task is simply right or wrong: two that say the same agree to the letter."""
    told_apart = task.kind in ("classify", "choose", "extract", "tag") or task.prompt.parse == "number"
    return told_apart or task.metric in ("exact_match", "accuracy")


def _shown(example: Example) -> str:
    if len(example.turns) == 1:
        return example.turns[0].text
    return "\n".join(f"{turn.role}: {turn.text}" for turn in example.turns)
