"""A metric must know a perfect answer when it sees one."""

from __future__ import annotations

from collections.abc import Sequence

from tuneladder.errors import BadInput
from tuneladder.evaluate.find import find_metric
from tuneladder.types import Answer, Bar, Task

_ROWS = 1000


def check_gold(metric: str, task: Task) -> None:
    """Score the task's own references as answers, on at most 1,000 rows of dev and test, else of train.

    Raises BadInput unless that is the metric's best or, where the metric is relative, above 0 (below the worst where less is
    better). Tasks of kind `text` have no answers and are let through; a judge is not asked about them.
    """
    short, _, _ = _short(metric, task)
    if short:
        raise BadInput(short, _hint(metric))


def doubts(task: Task, bar: Bar) -> tuple[str, ...]:
    """What is to be said of the metrics beside the task's own that score some of its references below their best, as ROUGE-2 does
    a single word: such a row no rung can win. Raises BadInput as `check_gold` does for the task's own metric, which decides, and
    for one beside it that sees nothing in any reference, or more than its best, or too little for the bar."""
    check_gold(task.metric, task)
    said = []
    for metric in task.also:
        short, some, value = _short(metric, task)
        if short and not some:
            raise BadInput(short, _hint(metric))
        better = find_metric(metric).better
        asked = bar.at_least if short and metric == bar.metric else None
        if asked is not None and (asked > value if better == "higher" else asked < value):
            raise BadInput(f"nothing can clear the bar of {metric} {asked:g}: {short}", _hint(metric))
        if short:
            said.append(f"{short}: no rung can do better there")
    return tuple(said)


def _short(metric: str, task: Task) -> tuple[str, bool, float]:
    """How the references fall short of the metric's best, "" where they do not, whether it still sees something in some, and what
    it makes of them all."""
    rows = (*task.examples.dev, *task.examples.test) or task.examples.train
    rows = rows[:_ROWS]
    found = find_metric(metric) if rows else None
    if found is None or found.judge:
        return "", True, 0.0
    answers: Sequence[str] = [example.references[0] for example in rows]
    if found.outcomes:
        answers = found.outcomes(rows, [Answer(answer) for answer in answers])
    references = [example.references for example in rows]
    value = found.score(answers, references, task.labels)
    higher = found.better == "higher"
    seen = value > 0 if higher else value < found.worst
    if seen if found.relative else abs(value - found.best) <= 1e-6 * max(1.0, abs(found.best)):
        return "", True, value
    where = ""
    if found.items is not None and not found.relative:
        off = [abs(item - found.best) for item in found.items(answers, references, task.labels)]
        worst = off.index(max(off))
        where = f"; row {rows[worst].id} ({answers[worst][:60]!r}) is off by {off[worst]:.4g}"
    some = seen and (value < found.best if higher else value > found.best)
    better = "more" if higher else "less"
    wanted = better if found.relative else f"{found.best:g}"
    return f"{metric} scores the gold answers of {task.name} {value:.4g}, not {wanted}{where}", some, value


def _hint(metric: str) -> str:
    if metric.startswith("pass_at_k"):
        return "each row's reference is a program that passes its own tests: see `tests`, and pass_at_k's `program`"
    if ":" in metric:
        return "an answer equal to its reference must score best: 1, or 0 where fn.better is 'lower', or what fn.best says"
    if metric.startswith("rouge"):
        return "ROUGE reads only words of a-z and 0-9 (rouge_2 needs two of them): use chrf or exact_match"
    if metric == "bleu":
        return "BLEU needs answers of four words or more: use chrf or exact_match"
    if metric == "meteor":
        return "METEOR reads only letters and digits: use chrf or exact_match"
    if metric in ("nist", "cider"):
        return f"{metric} weighs words by how few rows have them: it needs several rows, and references that differ"
    if metric == "ungrounded":
        return "it is for answers in the words of what was read, and no reference is one: use another"
    if metric == "pearson":
        return "Pearson needs references that differ"
    return "choose a metric that fits the task's answers"
