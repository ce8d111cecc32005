"""report.html: one file that opens from disk with no network, in light and dark, and is read without colour."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from tuneladder.evaluate.compare import compare
from tuneladder.evaluate.measure import confusion
from tuneladder.ladder import plots, words
from tuneladder.ladder.results import (
    baseline_split,
    below,
    forgetting,
    measured,
    metric_of,
    per_answer,
    picked_result,
    priced,
    probes,
    rising,
    score_of,
    total,
)
from tuneladder.ladder.verdict import bar_words, cleared_by_baseline, headline, plainly, sentence, why
from tuneladder.types import Cost, Ladder, Marked, Measurement, Result, Score

MOST_LABELS = 24  # a larger confusion matrix cannot be read: the most confused pairs stand for it
PROBES = {"bits_per_byte": "Plain text", "unrelated": "Other task"}
SHAPES: Mapping[str, plots.Shape] = {"prompt": "circle", "adapter": "square", "weights": "diamond"}


def page(ladder: Ladder, folder: Path, notes: Sequence[str]) -> str:
    """The report as HTML. `folder` is the run's: its environment.json is shown where it has one."""
    source = resources.files("tuneladder.ladder").joinpath("report.html.jinja").read_text("utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    pick = picked_result(ladder)
    baselines = plainly(ladder)
    claim, figures = headline(ladder)
    return environment.from_string(source).render(
        task=ladder.task,
        metric=words.metric_name(metric_of(ladder)),
        rows=_row_counts(ladder),
        sentence=sentence(ladder),
        claim=_strong(claim, ladder.pick.rung if ladder.pick else ""),
        figures=figures,
        status=_status(ladder),
        reasons=[said for said in why(ladder) if said not in baselines],
        baselines=baselines,
        baseline_clears=cleared_by_baseline(ladder),
        tiles=_tiles(ladder, pick) if pick else [],
        scatter=[(name, _scatter(ladder, width, height)) for name, width, height in (("wide", 1000, 430), ("narrow", 400, 380))],
        legend=[(plots.legend(shape), name) for name, shape in SHAPES.items() if any(_changes(r) == name for r in measured(ladder))],
        cost=_cost_words(ladder),
        table=_table(ladder),
        metrics=_metrics(ladder),
        forgetting=_forgetting(ladder),
        curves=_curves(ladder),
        confusion=_confusion(ladder, pick),
        samples=_samples(ladder, pick),
        pick=pick.rung.name if pick else "",
        duels=_duels(ladder),
        foretold=_foretold(ladder),
        notes=notes,
        bases=[_base(base) for base in ladder.bases],
        environment=_environment(folder),
    )


def _strong(text: str, name: str) -> Markup:
    head, found, tail = text.partition(name) if name else (text, "", "")
    return Markup("{}<em>{}</em>{}").format(head, found, tail) if found else escape(text)


def _row_counts(ladder: Ladder) -> str:
    splits = ladder.task.text if ladder.task.kind == "text" else ladder.task.examples
    what = "document" if ladder.task.kind == "text" else "row"
    return ", ".join(f"{len(split):,} {name}" for name, split in zip(("train", "dev", "test"), (splits.train, splits.dev, splits.test), strict=True)) + f" {what}s"


def _status(ladder: Ladder) -> tuple[str, str]:
    """A word for the style sheet, and what the badge says."""
    pick = ladder.pick
    if pick is None:
        return "bad", "✗ nothing to recommend"
    if not bar_words(ladder):
        return "plain", "no bar was set"
    if not pick.cleared:
        return "bad", "✗ no rung clears the bar"
    if pick.confirmed is False:
        return "warn", "! cleared on dev, not confirmed on test"
    return "good", "✓ clears the bar on dev" + (", confirmed on test" if pick.confirmed else "")


def _tiles(ladder: Ladder, pick: Result) -> list[dict[str, str]]:
    score, split = score_of(pick.test, ladder), "test"
    if score is None:
        score, split = score_of(pick.dev, ladder), "dev"
    lost, one = forgetting(pick), per_answer(pick)
    tiles = []
    if score:
        tiles.append(_tile(f"{words.metric_name(metric_of(ladder))} on {split}", words.figure(score.value), words.span(score)))
    if lost is not None:
        limit = ladder.bar.forget_at_most
        tiles.append(_tile("Forgotten", words.percent(lost), f"at most {words.percent(limit)} allowed" if limit is not None else "rise of the loss on plain text"))
    tiles.append(_tile("To climb", words.duration(pick.alone.seconds), f"{words.duration(pick.here.seconds)} paid in this ladder"))
    served = f"{words.duration(ladder.bar.volume * one.seconds)} for {words.count(ladder.bar.volume, 'answer')}"
    tiles.append(_tile("An answer", words.duration(one.seconds), served))
    tiles.append(_tile("Memory", words.size(pick.alone.memory), f"{words.size(pick.alone.disk)} on disk"))
    return tiles


def _tile(name: str, value: str, under: str) -> dict[str, str]:
    return {"name": name, "value": value, "under": under}


def _changes(result: Result) -> str:
    """The deepest thing that a rung's steps change."""
    order = list(SHAPES)
    return max((step.changes for step in result.rung.steps), key=order.index, default="prompt")


def _cost_words(ladder: Ladder) -> str:
    return f"{'money' if priced(ladder) else 'time'} to climb alone and give {words.count(ladder.bar.volume, 'answer')}"


def _scatter(ladder: Ladder, width: int, height: int) -> Markup:
    points, split = [], baseline_split(ladder)
    for index, result in enumerate(ladder.results):
        score = score_of(result.test or result.dev, ladder)
        if score:
            picked = ladder.pick is not None and ladder.pick.rung == result.rung.name
            points.append(
                plots.Point(
                    str(index + 1), result.rung.name, total(result, ladder), score.value, score.low, score.high, SHAPES[_changes(result)], picked
                )
            )
    if not points:
        return Markup("")
    lines = [
        plots.Line(words.short_baseline(name), score.value, (score.low, score.high))
        for name, each in ladder.baselines.items()
        if (score := score_of(each, ladder))
    ]
    if ladder.bar.at_least is not None:
        lines.append(plots.Line("the bar", ladder.bar.at_least, bar=True))
    return plots.scatter(
        points,
        lines,
        width=width,
        height=height,
        rising=rising(metric_of(ladder)),
        x_title=f"{'money' if priced(ladder) else 'time'} to climb and give {words.count(ladder.bar.volume, 'answer')}",
        y_title=f"{words.metric_name(metric_of(ladder))} on {split}",
        ticks=_money_ticks if priced(ladder) else _time_ticks,
        figure=words.figure,
    )


def _time_ticks(low: float, high: float) -> list[tuple[float, str]]:
    coarse = [1e-3, 1e-2, 0.1, 1, 10, 60, 600, 3600, 36_000, 86_400 * 5, 86_400 * 50]
    fine = [n * p for p in (1e-3, 1e-2, 0.1) for n in (1, 2, 5)] + [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800]
    fine += [3600 * n for n in (1, 2, 5, 12)] + [86_400 * n for n in (2, 5, 10, 20, 50)]
    chosen = [s for s in coarse if low <= s <= high]
    return [(s, words.duration(s)) for s in (chosen if len(chosen) > 3 else [s for s in fine if low <= s <= high])]


def _money_ticks(low: float, high: float) -> list[tuple[float, str]]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1,) if len(powers) > 5 else (1, 2, 5)
    return [(n * 10.0**p, words.money(n * 10.0**p)) for p in powers for n in steps if low <= n * 10.0**p <= high]


def _scale(scores: Sequence[Score], bar: float | None) -> tuple[float, float]:
    ends = [s.low for s in scores] + [s.high for s in scores] + ([bar] if bar is not None else [])
    return (min(ends), max(ends)) if ends else (0.0, 1.0)


def _table(ladder: Ladder) -> dict[str, Any]:
    """Rows for the template: the rungs in the ladder's order, then what needs no language model."""
    bar, split = ladder.bar.at_least, baseline_split(ladder)
    shown = [s for r in ladder.results for m in (r.dev, r.test) if (s := score_of(m, ladder))]
    scale = _scale(shown + [s for m in ladder.baselines.values() if (s := score_of(m, ladder))], bar)
    probed = list(dict.fromkeys(name for result in ladder.results for name in probes(result)))
    spent = [cost for result in ladder.results for cost in (result.alone, per_answer(result))]
    extra = [name for name in ("annotations", "money") if any(getattr(cost, name) for cost in spent)]

    def cell(measurement: Measurement | None, picked: bool) -> dict[str, Any] | None:
        score = score_of(measurement, ladder)
        if score is None:
            return None
        drawn = plots.strip(score.value, score.low, score.high, scale, bar, picked=picked)
        return {"value": words.figure(score.value), "span": words.span(score), "strip": drawn, "interval": score.interval, "count": score.count}

    rows = []
    for index, result in enumerate(ladder.results):
        picked = ladder.pick is not None and ladder.pick.rung == result.rung.name
        bases = " on " + result.rung.base if len(ladder.bases) > 1 and result.rung.base not in result.rung.name else ""
        rows.append(
            {
                "number": index + 1,
                "name": result.rung.name,
                "under": {"prompt": "prompt only", "adapter": "an adapter", "weights": "every weight"}[_changes(result)] + bases,
                "shape": plots.legend(SHAPES[_changes(result)]),
                "picked": picked,
                "failure": result.failure,
                "dev": cell(result.dev, picked),
                "test": cell(result.test, picked),
                "forgetting": words.percent(forgetting(result)),
                "over": _forgot_too_much(ladder, forgetting(result)),
                "probes": [words.figure(probes(result)[name].value) if name in probes(result) else words.NONE for name in probed],
                "alone": words.duration(result.alone.seconds),
                "here": words.duration(result.here.seconds),
                "memory": words.size(result.alone.memory),
                "disk": words.size(result.alone.disk),
                "answer": words.duration(per_answer(result).seconds),
                "extra": [_extra(name, result.alone) for name in extra],
            }
        )
    plain = [
        {
            "name": words.baseline_name(name),
            "dev": cell(each, False) if split == "dev" else None,
            "test": cell(each, False) if split == "test" else None,
            "alone": words.duration(each.spent.seconds),
            "answer": words.duration(each.per_answer.seconds),
        }
        for name, each in ladder.baselines.items()
    ]
    intervals = sorted({s.interval for s in shown if s.interval})
    return {
        "rows": rows,
        "plain": plain,
        "probes": [PROBES.get(name, words.metric_name(name)) for name in probed],
        "extra": [name.capitalize() for name in extra],
        "intervals": " and ".join(intervals),
        "columns": 8 + len(probed) + len(extra),
    }


def _extra(name: str, cost: Cost) -> str:
    return f"{cost.annotations:,}" if name == "annotations" else words.money(cost.money)


def _forgot_too_much(ladder: Ladder, lost: float | None) -> bool:
    limit = ladder.bar.forget_at_most
    return lost is not None and limit is not None and lost > limit


def _metrics(ladder: Ladder) -> dict[str, Any]:
    """Every metric of every rung, on test or else on dev."""
    rows = [(r.rung.name, (r.test or r.dev)) for r in measured(ladder)]
    rows += [(words.baseline_name(name), each) for name, each in ladder.baselines.items()]
    names = list(dict.fromkeys(name for _, each in rows if each for name in each.quality))
    table = [
        (name, [(words.figure(s.value), words.span(s)) if (s := each.quality.get(metric)) else (words.NONE, "") for metric in names])
        for name, each in rows
        if each
    ]
    return {"names": [words.metric_name(name) for name in names], "rows": table}


def _forgetting(ladder: Ladder) -> list[dict[str, Any]]:
    found = [(result, lost) for result in ladder.results if (lost := forgetting(result)) is not None and not result.failure]
    if not any(abs(lost) > 1e-9 for _, lost in found):
        return []
    limit = ladder.bar.forget_at_most
    ends = [0.0] + [lost for _, lost in found] + ([limit * 1.15] if limit is not None else [])
    scale = (min(ends), max(ends))
    return [
        {
            "name": result.rung.name,
            "bar": plots.bars(lost, scale, limit, over=_forgot_too_much(ladder, lost)),
            "value": words.percent(lost),
            "over": _forgot_too_much(ladder, lost),
        }
        for result, lost in found
    ]


def _curves(ladder: Ladder) -> list[dict[str, Any]]:
    out = []
    for result in ladder.results:
        if len(result.curve) < 2:
            continue
        train = [(tick.step, tick.loss) for tick in result.curve]
        dev = [(tick.step, tick.dev) for tick in result.curve if tick.dev is not None]
        last = result.curve[-1]
        ended = {"budget": ", cut short by the budget", "plateau": ", ended on a plateau", "nan": ", ended in a loss that was no number"}.get(last.stopped, "")
        best = min((loss for _, loss in dev if math.isfinite(loss)), default=None)
        under = f"{words.count(last.step, 'step')}, {words.count(last.tokens, 'token')}{ended}"
        drawn = plots.curve(train, dev, title=f"loss of {result.rung.name}")
        out.append({"name": result.rung.name, "under": under, "svg": drawn, "best": words.figure(best) if best is not None else ""})
    return out


def _examined(result: Result | None) -> Measurement | None:
    return (result.test or result.dev) if result else None


def _confusion(ladder: Ladder, pick: Result | None) -> dict[str, Any] | None:
    """The pick's answers against the references, and its most confused pairs with an item or two."""
    examined = _examined(pick)
    if ladder.task.kind != "classify" or examined is None or not examined.answers:
        return None
    labels = list(ladder.task.labels)
    counts = confusion(examined.answers, labels)
    other = any(row[-1] for row in counts)
    rows = []
    for place, (label, row) in enumerate(zip(labels, counts, strict=True)):
        whole = sum(row)
        cells = [{"n": n, "share": f"{n / whole:.2f}" if whole else "0", "right": at == place} for at, n in enumerate(row if other else row[:-1])]
        rows.append({"label": label, "cells": cells, "recall": words.percent(row[place] / whole if whole else None)})
    wrong = Counter((row.reference, row.answer.text) for row in examined.answers if not row.correct)
    pairs = []
    for (reference, answer), number in wrong.most_common(4):
        items = [row for row in examined.answers if (row.reference, row.answer.text, row.correct) == (reference, answer, False)][:2]
        said = words.clip(answer, 60) or "nothing"
        pairs.append({"reference": reference, "answer": said, "count": number, "items": [words.clip(row.input, 190) for row in items]})
    heads = labels + (["no label"] if other else [])
    return {"heads": heads, "rows": rows if len(labels) <= MOST_LABELS else [], "pairs": pairs, "count": len(examined.answers)}


def _samples(ladder: Ladder, pick: Result | None) -> list[dict[str, str]]:
    """A few answers of the pick where they are texts rather than labels."""
    examined = _examined(pick)
    if ladder.task.kind == "classify" or examined is None:
        return []
    every = max(1, len(examined.answers) // 4)
    return [
        {"input": words.clip(row.input, 300), "reference": words.clip(row.reference, 300), "answer": words.clip(row.answer.text, 300) or words.NONE}
        for row in examined.answers[::every][:4]
    ]


def _duels(ladder: Ladder) -> dict[str, Any]:
    """Each rung against the rung below it, and the pick against what needs no language model, item by item."""
    pick, split = picked_result(ladder), baseline_split(ladder)
    pairs: list[tuple[str, str, Sequence[Marked], Sequence[Marked]]] = []
    for result in sorted(measured(ladder), key=lambda each: total(each, ladder)):
        under = below(ladder, result)
        if under and result.test and under.test:
            pairs.append((result.rung.name, under.rung.name, result.test.answers, under.test.answers))
    ours = pick and (pick.test if split == "test" else pick.dev)
    if pick and ours:
        pairs += [(pick.rung.name, words.baseline_name(name), ours.answers, each.answers) for name, each in ladder.baselines.items()]
    rows, shown = [], None
    for name, other, a, b in pairs:
        theirs = {row.id for row in b if row.correct is not None}
        if not any(row.id in theirs for row in a if row.correct is not None):
            continue
        found = compare(a, b)
        rows.append(
            {"name": name, "other": other, "won": len(found.won), "lost": len(found.lost), "p": words.plausible(found.p), "sure": found.p < 0.05}
        )
        if pick and name == pick.rung.name and shown is None:
            shown = {"name": name, "other": other, "won": _items(found.won), "lost": _items(found.lost)}
    most = max((max(row["won"], row["lost"]) for row in rows), default=0) or 1
    for row in rows:
        row["left"], row["right"] = f"{100 * row['lost'] / most:.1f}", f"{100 * row['won'] / most:.1f}"
    return {"rows": rows, "shown": shown}


def _items(pairs: Sequence[tuple[Marked, Marked]]) -> list[dict[str, str]]:
    return [
        {"input": words.clip(a.input, 190), "reference": a.reference, "a": a.answer.text or "nothing", "b": b.answer.text or "nothing"}
        for a, b in pairs[:3]
    ]


def _foretold(ladder: Ladder) -> list[dict[str, Any]]:
    """Predicted beside measured seconds and memory, where both are known."""
    groups = []
    for title, name, write in (("Seconds, climbed alone", "seconds", words.duration), ("Peak memory", "memory", words.size)):
        found = [
            (result.rung.name, float(getattr(result.predicted, name)), float(getattr(result.alone, name)))
            for result in ladder.results
            if not result.failure and getattr(result.predicted, name) > 0 and getattr(result.alone, name) > 0
        ]
        if not found:
            continue
        values = [value for _, *pair in found for value in pair]
        scale = (min(values), max(max(values), min(values) * 1.5))
        rows = [
            {"name": rung, "drawn": plots.dumbbell(a, b, scale), "predicted": write(a), "measured": write(b), "ratio": f"{b / a:.2g}" if b / a < 10 else f"{b / a:.0f}"}
            for rung, a, b in found
        ]
        groups.append({"title": title, "rows": rows})
    return groups


def _base(base: Any) -> dict[str, str]:
    active = f", {base.active / 1e6:,.1f} M active" if base.active != base.parameters else ""
    return {
        "name": base.name,
        "facts": f"{base.family}, {base.parameters / 1e6:,.1f} M parameters{active}, {base.layers} layers of width {base.width:,}, "
        f"vocabulary {base.vocabulary:,}, context {base.context:,}" + (f", licence {base.licence}" if base.licence else ""),
    }


def _environment(folder: Path) -> list[tuple[str, str]]:
    path = folder / "environment.json"
    return _flat(json.loads(path.read_text("utf-8"))) if path.is_file() else []


def _flat(value: Any, name: str = "") -> list[tuple[str, str]]:
    if isinstance(value, Mapping):
        return [pair for key, each in value.items() for pair in _flat(each, f"{name} {key}".strip())]
    return [(name, ", ".join(map(str, value)) if isinstance(value, list) else str(value))]
