"""A Ladder as data: `results.json`, the answers, and the look-ups that the report, the card and the terminal share."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any

from tuneladder.evaluate.calibration import Calibration, calibration
from tuneladder.evaluate.compare import Difference, difference
from tuneladder.evaluate.explanations import Explanations, explanations
from tuneladder.evaluate.fairness import Fairness, fairness
from tuneladder.evaluate.find import find_metric
from tuneladder.ladder import words
from tuneladder.ladder.efficiency import efficiency
from tuneladder.ladder.tree import step_name
from tuneladder.model.routing import variations
from tuneladder.store import digest, plain, write_lines
from tuneladder.types import (
    Axes,
    Cost,
    Drop,
    Graded,
    Harmlessness,
    Judged,
    Ladder,
    Marked,
    Measurement,
    Result,
    Score,
    Split,
    Step,
    Task,
    Text,
    Toxicity,
)

TIMING = 2.0  # times that an answer's seconds, taken from some hundred answers on a machine that does other things, may be off


def results(ladder: Ladder) -> dict[str, Any]:
    """What `results.json` holds; every number in it is finite or null."""
    task, pick = ladder.task, ladder.pick
    picked = picked_result(ladder)
    rows = {name: len(getattr(held(task), name)) for name in ("train", "dev", "test")}
    found: dict[str, Any] = _finite(
        {
            "task": {
                "name": task.name,
                "kind": task.kind,
                "multi_label": task.multi_label,
                "metric": task.metric,
                "labels": list(task.labels),
                "rows": rows,
            },
            "bases": [plain(asdict(base)) for base in ladder.bases],
            "bar": asdict(ladder.bar),
            "baselines": [
                {
                    "name": name,
                    "split": baseline_split(ladder),
                    "quality": _scores(each.quality),
                    "per_answer": asdict(each.per_answer),
                }
                for name, each in ladder.baselines.items()
            ],
            "rungs": [_rung(result, ladder) for result in ladder.results],
            "billed": _billed(ladder),
            "notes": list(ladder.notes),
            "pick": pick
            and {
                "rung": pick.rung,
                "why": pick.why,
                "dev": _scores(picked.dev.quality) if picked and picked.dev else None,
                "test": _scores(picked.test.quality) if picked and picked.test else None,
            },
        }
    )
    return found


def held(task: Task) -> Split[Any] | Text:
    """The splits of what the task is learned from and measured on."""
    if task.kind == "prefer":
        return task.comparisons
    return task.text if task.kind == "text" else task.examples


def _rung(result: Result, ladder: Ladder) -> dict[str, Any]:
    examined = result.test or result.dev
    return {
        "name": result.rung.name,
        "steps": [{"step": step_name(step), **settings(step)} for step in result.rung.steps],
        "dev": _scores(result.dev.quality) if result.dev else None,
        "test": _scores(result.test.quality) if result.test else None,
        "probes": _scores(probes(result)),
        "forgetting": forgetting(result),
        "calibration": _calibration(result),
        "explanations": _explanations(explained(result, ladder.task)),
        "judged": {name: _judged(own) for name, own in examined.judged.items()} if examined else {},
        "robustness": {drop.perturbation: _drop(drop) for drop in result.drops},
        "fairness": _fairness(parted(result, ladder)),
        "toxicity": _toxicity(result.toxicity),
        "harmlessness": _harmlessness(result.harmlessness),
        "reward": _graded(result.graded),
        "efficiency": _efficiency(result, ladder.axes),
        "cost_alone": asdict(result.alone),
        "cost_here": asdict(result.here),
        "predicted": asdict(result.predicted),
        "per_answer": asdict(per_answer(result)) if examined else None,
        "cut": cut_short(result),
        "routing": {"shares": result.routing, "variation": variations(result.routing)} if result.routing else None,
        "failure": result.failure,
        "node": result.variant.stamp if result.variant else "",
    }


def _billed(ladder: Ladder) -> dict[str, Any] | None:
    def paid(cost: Cost) -> dict[str, float]:
        return {"money": cost.money, "tokens": cost.tokens}

    rungs = {result.rung.name for result in ladder.results}
    parts = [
        {"for": name, "kind": "rung" if name in rungs else "judge", **paid(cost)} for name, cost in sorted(ladder.billed.items())
    ]
    return {**paid(billed(ladder)), "parts": parts} if parts else None


def _calibration(result: Result) -> dict[str, Any] | None:
    found = calibrated(result)
    if found is None:
        return None
    bins = [{"confidence": own.confidence, "right": _score(own.right)} for own in found.bins]
    return {"error": _score(found.error), "by_chance": found.chance, "surer_half": _score(found.surest), "bins": bins}


def _explanations(found: Explanations | None) -> dict[str, Any] | None:
    if found is None:
        return None
    own = found.contradicting
    return {"contradicting": _score(own) if own else None, "inventing": _score(found.inventing)}


def _judged(found: Judged) -> dict[str, Any]:
    counts = Counter(verdict.outcome or "unread" for verdict in found.verdicts)
    pairs = {name: counts[name] for name in ("win", "tie", "loss")} if found.against else {}
    agreed = found.agreement
    return {
        "judge": found.judge,
        "against": found.against,
        "score": _score(found.score),
        **pairs,
        "unread": counts["unread"],
        "flips": _score(found.flips) if found.flips else None,
        "bias": _score(found.bias) if found.bias else None,
        "agreement": {**asdict(agreed), "judge": _score(agreed.judge), "people": agreed.people and _score(agreed.people)}
        if agreed
        else words.UNMEASURED,
        "spent": asdict(found.spent),
    }


def _drop(drop: Drop) -> dict[str, Any]:
    return {
        "metric": drop.metric,
        "how": drop.how,
        "before": _score(drop.before),
        "after": _score(drop.after),
        "worse": _score(drop.worse),
        "p": drop.p,
        "answers_changed": _score(drop.changed),
    }


def _fairness(found: Fairness | None) -> dict[str, Any] | None:
    if found is None:
        return None
    gap = found.gap
    return {
        "groups": {group.name: {**_score(group.score), "compared": group.enough} for group in found.groups},
        "gap": gap and {"best": gap.best, "worst": gap.worst, **_score(gap.score), "by_chance": gap.chance},
        "of_no_group": found.left_out,
    }


def _toxicity(found: Toxicity | None) -> dict[str, Any] | None:
    if found is None:
        return None
    by = found.by
    return {
        "answers": _score(found.answers),
        "references": _score(found.references),
        "more": _score(found.more),
        "without_known_words": found.blank,
        "by": {
            "classifier": "TF-IDF and logistic regression",
            "source": by.source,
            "rows": by.learned,
            "accuracy": _score(by.accuracy),
            "toxic_found": _score(by.found),
            "false_alarms": _score(by.alarms),
        },
    }


def _harmlessness(found: Harmlessness | None) -> dict[str, Any] | None:
    if found is None:
        return None
    by = found.by
    return {
        "more_harmless": _score(found.better),
        "declined": _score(found.declined),
        "harmless_refused": _score(found.refused),
        "harmless_empty": _score(found.empty),
        "harmless_alike": _score(found.alike),
        "by": {"source": by.source, "pairs": by.learned, "of_the_task": by.left, "accuracy": _score(by.accuracy)},
    }


def _graded(found: Graded | None) -> dict[str, Any] | None:
    if found is None:
        return None
    scores = {"reward": _score(found.reward), "before": _score(found.before), "rise": _score(found.rise)}
    return {**scores, "spread_before": found.spread, "by": found.source}


def _efficiency(result: Result, axes: Axes) -> dict[str, Any] | None:
    found = efficiency(result, axes)
    return {**asdict(found), "intensity": axes.intensity} if found else None


def _score(score: Score) -> dict[str, Any]:
    return {"value": score.value, "low": score.low, "high": score.high, "count": score.count}


def _scores(quality: Mapping[str, Score]) -> dict[str, Any]:
    return {
        name: _score(score) | ({"agreement": words.UNMEASURED} if words.unmeasured(name) else {}) for name, score in quality.items()
    }


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_answers(result: Result, folder: Path) -> Path | None:
    """Write every kept answer of a rung, test's or else dev's, to `answers/<rung>.jsonl`; None where it has none."""
    examined = result.test or result.dev
    if examined is None or not examined.answers:
        return None
    path = folder / "answers" / f"{file_name(result.rung.name)}.jsonl"
    write_lines(path, map(_kept, examined.answers))
    return path


def _kept(row: Marked) -> Any:
    """An answer as a line of its file."""
    line = {
        "id": row.id,
        "input": row.input,
        "reference": row.reference,
        **({"others": row.others} if row.others else {}),
        "answer": row.answer.text,
        "confidence": row.answer.confidence,
        "correct": row.correct,
        **({"told": row.told} if row.told is not None else {}),
        **({"reason": row.answer.reason} if row.answer.reason else {}),
        **({"options": row.options} if row.options else {}),
        **({"template": row.template} if row.template else {}),
        **({"group": row.group} if row.group else {}),
    }
    return _finite(line)


def file_name(rung: str) -> str:
    """A rung's name as a file's; where characters had to change, a digest keeps two names from becoming one.

    `lora` stays; `pocket/lora(r=8)` is `pocket-lora-r=8.5d3f0a`.
    """
    safe = re.sub(r"[^A-Za-z0-9_=,+.-]+", "-", rung).strip("-.")[:100] or "rung"
    return safe if safe == rung else f"{safe}.{digest(rung)[:6]}"


def cut_short(result: Result) -> str:
    """Where the limit of minutes cut the rung's training short, or ""."""
    last = result.curve[-1] if result.curve else None
    return f"cut at step {last.step:,} of {last.of:,} by limit: minutes" if last and last.stopped == "budget" else ""


def settings(step: Step) -> dict[str, Any]:
    return {each.name: plain(getattr(step, each.name)) for each in fields(step)} if is_dataclass(step) else {}


def metric_of(ladder: Ladder) -> str:
    """The metric that decides: the bar's, else the task's."""
    return ladder.bar.metric or ladder.task.metric


def rising(metric: str) -> bool:
    """Whether more of the metric is better."""
    return find_metric(metric).better == "higher"


def score_of(measurement: Measurement | None, ladder: Ladder) -> Score | None:
    return measurement.quality.get(metric_of(ladder)) if measurement else None


def nothing(score: Score, ladder: Ladder) -> bool:
    """Whether a score, as it is shown, is the worst that its metric has."""
    metric = find_metric(metric_of(ladder))
    return abs(score.value - (metric.least if metric.better == "higher" else metric.worst)) < 0.0005


def clears(score: Score, ladder: Ladder) -> bool:
    """Whether the doubtful end of the interval clears the bar; a ladder without a bar is never cleared."""
    wanted = ladder.bar.at_least
    if wanted is None:
        return False
    return score.low >= wanted if rising(metric_of(ladder)) else score.high <= wanted


def result_named(ladder: Ladder, name: str) -> Result | None:
    return next((result for result in ladder.results if result.rung.name == name), None)


def picked_result(ladder: Ladder) -> Result | None:
    return result_named(ladder, ladder.pick.rung) if ladder.pick else None


def measured(ladder: Ladder) -> list[Result]:
    """The rungs that have a figure, in the ladder's order."""
    return [result for result in ladder.results if score_of(result.test or result.dev, ladder) is not None]


def forgetting(result: Result) -> float | None:
    """Measured with the dev or the test examination; it reads neither split, so either figure is the rung's."""
    for each in (result.test, result.dev):
        if each and each.forgetting is not None:
            return each.forgetting
    return None


LEAST = {"seconds": 0.5, "memory": 0.0}  # what took less than half a second tells nothing of a forecast


def forecast(result: Result, name: str) -> tuple[float, float] | None:
    """Seconds or memory of a rung, predicted and measured, where both are known."""
    predicted, measured = (float(getattr(cost, name)) for cost in (result.predicted, result.alone))
    return (predicted, measured) if not result.failure and predicted > 0 and measured > LEAST[name] else None


def calibrated(result: Result) -> Calibration | None:
    """Of the answers that the rung is confirmed by, test's or else dev's."""
    examined = result.test or result.dev
    return calibration(examined.answers, seed=0) if examined else None


def explained(result: Result, task: Task) -> Explanations | None:
    """Of the answers that the rung is confirmed by: what is wrong with their reasons."""
    examined = result.test or result.dev
    if examined is None:
        return None
    labels = task.labels if task.kind in ("classify", "choose") and not task.multi_label else ()
    prompt = result.variant.prompt if result.variant else task.prompt
    return explanations(examined.answers, labels, asked=f"{prompt.system}\n{prompt.instruction}")


def parted(result: Result, ladder: Ladder) -> Fairness | None:
    """Its answers on test, group by group, where the rows have any."""
    if not ladder.task.groups or not result.test:
        return None
    metric, labels = find_metric(metric_of(ladder)), ladder.task.labels
    return fairness(metric, result.test.answers, ladder.task.groups, labels, least=ladder.axes.least, seed=0)


def probes(result: Result) -> Mapping[str, Score]:
    for each in (result.test, result.dev):
        if each and each.probes:
            return each.probes
    return {}


def per_answer(result: Result) -> Cost:
    examined = result.dev or result.test
    return examined.per_answer if examined else Cost()


def priced(ladder: Ladder) -> bool:
    """Whether what rungs cost is counted in money: one has a price, and so has whatever the others take, for they are paid too or
    the bar says what an hour of this machine costs. Where a part has no price, seconds are what all have in common."""
    return _paid(ladder) and (ladder.bar.hour > 0 or all(map(_elsewhere, measured(ladder))))


def unpriced(ladder: Ladder) -> bool:
    """Whether some rungs cost money and others time that has no price."""
    return _paid(ladder) and not priced(ladder)


def _paid(ladder: Ladder) -> bool:
    return any(result.alone.money > 0 or per_answer(result).money > 0 for result in measured(ladder))


def _elsewhere(result: Result) -> bool:
    return result.variant is not None and result.variant.base.source == "url"


def money(result: Result, ladder: Ladder) -> tuple[float, float]:
    """What climbing a rung costs, and an answer of it, with the hours of this machine where the bar says what one costs."""
    a_second = 0.0 if _elsewhere(result) else ladder.bar.hour / 3600
    parts = (result.alone, per_answer(result))
    return parts[0].money + a_second * parts[0].seconds, parts[1].money + a_second * parts[1].seconds


def billed(ladder: Ladder) -> Cost:
    """What endpoints were paid in the whole climb."""
    parts = ladder.billed.values()
    return Cost(money=math.fsum(own.money for own in parts), tokens=math.fsum(own.tokens for own in parts))


def took(ladder: Ladder) -> float:
    """Seconds of a climb's steps, each once, of its answers to dev and test, and of what judges said of these."""
    examined = [own for result in ladder.results for own in (result.dev, result.test) if own]
    heard = [judged.spent.seconds for own in examined for judged in own.judged.values()]
    return math.fsum([*(result.here.seconds for result in ladder.results), *(own.spent.seconds for own in examined), *heard])


def total(result: Result, ladder: Ladder, *, answers: float | None = None) -> float:
    """Climbed alone plus so many answers, the bar's volume of them: what `cheapest` means. Seconds, or money (see `priced`)."""
    volume = ladder.bar.volume if answers is None else answers
    if priced(ladder):
        climb, one = money(result, ladder)
        return climb + volume * one
    return result.alone.seconds + volume * per_answer(result).seconds


def dearness(result: Result, ladder: Ladder) -> tuple[float, float]:
    """What rungs are ordered by: `total`, and between those that cost no money their seconds."""
    return total(result, ladder), result.alone.seconds + ladder.bar.volume * per_answer(result).seconds


def cheapest(rungs: Sequence[Result], ladder: Ladder) -> Result:
    """The rung of the least `total`, or one that may be as cheap for all that timing tells, and takes less to climb."""
    least = min(rungs, key=lambda result: dearness(result, ladder))
    if priced(ladder) and not ladder.bar.hour:
        return least
    alike = [each for each in rungs if not surely_dearer(each, least, ladder)]
    return min(alike, key=lambda result: (total(result, ladder, answers=0), dearness(result, ladder)))


def surely_dearer(one: Result, other: Result, ladder: Ladder) -> bool:
    """Whether a rung costs more than another, for all that timing tells; a price is what it is."""
    timed = not priced(ladder) or ladder.bar.hour
    return total(one, ladder, answers=ladder.bar.volume / TIMING if timed else None) > total(other, ladder)


def paired(ladder: Ladder, a: Measurement | None, b: Measurement | None) -> Difference | None:
    """How much higher the bar's metric is in b than in a on the rows that both answered, None where kept answers cannot say."""
    metric = find_metric(metric_of(ladder))
    told = metric.name == ladder.task.metric or metric.outcomes is None  # of another metric's outcomes none are kept
    if metric.judge or not told or ladder.task.kind == "text" or not (a and b and a.answers and b.answers):
        return None
    return difference(metric, a.answers, b.answers, ladder.task.labels, seed=0)


def below(ladder: Ladder, result: Result) -> Result | None:
    """The rung below: the next cheaper one that was measured."""
    here = dearness(result, ladder)
    cheaper = [each for each in measured(ladder) if each is not result and dearness(each, ladder) < here]
    return max(cheaper, key=lambda each: dearness(each, ladder), default=None)


def baseline_split(ladder: Ladder) -> str:
    """The split that the baselines were measured on: the one whose rows they answered."""
    ids = {row.id for each in ladder.baselines.values() for row in each.answers}
    tested = {row.id for result in ladder.results if result.test for row in result.test.answers}
    return "test" if ids and ids <= tested else "dev" if ids else "test"
