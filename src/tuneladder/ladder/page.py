"""report.html: one file that opens from disk with no network, in light and dark, and is read without colour."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from tuneladder.ladder import plots, words
from tuneladder.ladder.beside import careless, graded, grouped, taken, toxic, warded
from tuneladder.ladder.figures import (
    SHAPES,
    changed,
    changes,
    confused,
    cost_words,
    curves,
    duels,
    foretold,
    forgot_too_much,
    forgotten,
    reasons,
    rewarded,
    samples,
    scatter,
    sureness,
    told,
    verdicts,
)
from tuneladder.ladder.results import (
    baseline_split,
    billed,
    cut_short,
    forgetting,
    held,
    measured,
    metric_of,
    money,
    per_answer,
    picked_result,
    priced,
    probes,
    score_of,
    took,
)
from tuneladder.ladder.reviewed import disagreed, has_witnesses
from tuneladder.ladder.templates import template
from tuneladder.ladder.verdict import bar_words, cleared_by_baseline, headline, nowhere, plainly, sentence, why
from tuneladder.types import Base, Cost, Ladder, Measurement, Result, Score

BYTES = ("memory", "available")  # what an environment's sizes are called
LISTED = {"versions": "versions", "data": "digests of the rows"}  # facts of one line
SAID = ("hardware device",)  # a fact that another says too
FACTS = {
    "hardware cores": "cores",
    "hardware memory": "memory",
    "hardware available": "memory free at the end",
    "hardware bf16": "bfloat16 in hardware",
    "hardware gpu": "GPU",
    "hardware gpu memory": "GPU memory",
    "hardware peak": "peak memory is by",
}
PROBES = {"bits_per_byte": "Plain text", "unrelated": "Other task"}


def page(ladder: Ladder, folder: Path, notes: Sequence[str]) -> str:
    """The report as HTML. `folder` is the run's: its environment.json is shown where it has one."""
    pick = picked_result(ladder)
    baselines = plainly(ladder)
    claim, figures = headline(ladder)
    whole = template("report").render(
        task=ladder.task,
        without=words.without(ladder.task.kind),
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
        scatter=[(name, scatter(ladder, width, height)) for name, width, height in (("wide", 1000, 430), ("narrow", 400, 380))],
        legend=_legend(ladder),
        cost=cost_words(ladder),
        table=_table(ladder),
        bill=_bill(ladder),
        metrics=_metrics(ladder),
        forgetting=forgotten(ladder),
        curves=curves(ladder),
        rewarded=rewarded(ladder),
        confusion=confused(ladder, pick),
        told=told(ladder, pick),
        sureness=sureness(ladder, pick),
        verdicts=verdicts(ladder),
        explained=reasons(ladder, pick),
        careless=careless(ladder, pick),
        grouped=grouped(ladder, pick),
        toxic=toxic(ladder, pick),
        warded=warded(ladder, pick),
        graded=graded(ladder, pick),
        taken=taken(ladder),
        samples=samples(ladder, pick),
        pick=pick.rung.name if pick else "",
        duels=duels(ladder),
        foretold=foretold(ladder),
        notes=[*notes, *ladder.notes],
        bases=[_base(base) for base in ladder.bases],
        environment=_environment(folder),
        disagreed=disagreed(folder, [result.rung.name for result in ladder.results], pick.rung.name)
        if pick and has_witnesses(ladder.task)
        else "",
    )
    return _with_contents(whole)


def _with_contents(page: str) -> str:
    """The page with a link to each of its sections, by their titles, where it says `<!--contents-->`."""
    links: list[str] = []

    def named(match: re.Match[str]) -> str:
        name = match["id"] or f"part-{len(links) + 1}"
        links.append(f'<a href="#{name}">{match["title"].strip()}</a>')
        return f'<section id="{name}">\n  <h2{match["more"]}>{match["title"]}</h2>'

    titled = r'<section(?: id="(?P<id>[^"]*)")?>\s*<h2(?P<more>[^>]*)>(?P<title>[^<]*(?:<wbr>[^<]*)*)</h2>'
    page = re.sub(titled, named, page)
    return page.replace("<!--contents-->", f'<nav class="contents" aria-label="contents">{"".join(links)}</nav>', 1)


def _strong(text: str, name: str) -> Markup:
    head, found, tail = text.partition(name) if name else (text, "", "")
    return Markup("{}<em>{}</em>{}").format(head, found, tail) if found else escape(text)


def _row_counts(ladder: Ladder) -> str:
    splits = held(ladder.task)
    what = "document" if ladder.task.kind == "text" else "row"
    return (
        ", ".join(
            f"{len(split):,} {name}"
            for name, split in zip(("train", "dev", "test"), (splits.train, splits.dev, splits.test), strict=True)
        )
        + f" {what}s"
    )


def _status(ladder: Ladder) -> tuple[str, str]:
    """A word for the style sheet, and what the badge says."""
    pick = ladder.pick
    barred = bool(bar_words(ladder))
    if pick is None or (not barred and nowhere(ladder)):
        return "bad", "✗ nothing to recommend"
    if not barred:
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
        tiles.append(
            _tile(
                "Forgotten",
                words.percent(lost),
                f"at most {words.limit(limit)} allowed" if limit is not None else "rise of the loss on plain text",
            )
        )
    paid = f"{words.duration(pick.here.seconds)} paid in this ladder"
    if whole := billed(ladder).money:
        paid += f"; all of it was billed {words.money(whole)}"
    tiles.append(_tile("To climb", words.duration(pick.alone.seconds), paid))
    if priced(ladder):
        _, answer = money(pick, ladder)
        served = f"{words.money(ladder.bar.volume * answer)} for {words.count(ladder.bar.volume, 'answer')}"
        tiles.append(_tile("Money for an answer", words.money(answer), served))
    served = f"{words.duration(ladder.bar.volume * one.seconds)} for {words.count(ladder.bar.volume, 'answer')}"
    tiles.append(_tile("An answer", words.duration(one.seconds), served))
    tiles.append(
        _tile("Memory", words.size(pick.alone.memory), f"{words.size(pick.alone.disk) if pick.alone.disk else 'nothing'} on disk")
    )
    return tiles


def _tile(name: str, value: str, under: str) -> dict[str, str]:
    return {"name": name, "value": value, "under": under}


def _legend(ladder: Ladder) -> list[tuple[Markup, str]]:
    """The shapes of the scatter, each with all that it stands for."""
    meant = {name: dict.fromkeys(changed(each) for each in measured(ladder) if changes(each) == name) for name in SHAPES}
    return [(plots.legend(SHAPES[name]), " or ".join(own)) for name, own in meant.items() if own]


def _scale(scores: Sequence[Score], bar: float | None) -> tuple[float, float]:
    ends = [s.low for s in scores] + [s.high for s in scores] + ([bar] if bar is not None else [])
    return (min(ends), max(ends)) if ends else (0.0, 1.0)


def _table(ladder: Ladder) -> dict[str, Any]:
    """Rows for the template: the rungs in the ladder's order, then what needs no language model."""
    bar, split = ladder.bar.at_least, baseline_split(ladder)
    shown = [s for r in ladder.results for m in (r.dev, r.test) if (s := score_of(m, ladder))]
    scale = _scale(shown, bar)
    probed = list(dict.fromkeys(name for result in ladder.results for name in probes(result)))
    extra = [name for name in ("annotations", "money") if any(getattr(result.alone, name) for result in ladder.results)]

    def cell(measurement: Measurement | None, picked: bool) -> dict[str, Any] | None:
        score = score_of(measurement, ladder)
        if score is None:
            return None
        drawn = plots.strip(score.value, score.low, score.high, scale, bar, picked=picked)
        return {
            "value": words.figure(score.value),
            "span": words.span(score),
            "strip": drawn,
            "interval": score.interval,
            "count": score.count,
        }

    rows = []
    for index, result in enumerate(ladder.results):
        picked = ladder.pick is not None and ladder.pick.rung == result.rung.name
        bases = " on " + result.rung.base if len(ladder.bases) > 1 and result.rung.base not in result.rung.name else ""
        rows.append(
            {
                "number": index + 1,
                "name": result.rung.name,
                "under": changed(result).replace("the prompt", "prompt only") + bases,
                "cut": cut_short(result),
                "shape": plots.legend(SHAPES[changes(result)]),
                "picked": picked,
                "failure": result.failure,
                "dev": cell(result.dev, picked),
                "test": cell(result.test, picked),
                "forgetting": words.percent(forgetting(result)),
                "over": forgot_too_much(ladder, forgetting(result)),
                "probes": [words.figure(probes(result)[name].value) if name in probes(result) else words.NONE for name in probed],
                "alone": words.duration(result.alone.seconds),
                "here": words.duration(result.here.seconds),
                "memory": words.size(result.alone.memory),
                "disk": words.size(result.alone.disk) if result.alone.disk else "",
                "answer": words.duration(per_answer(result).seconds),
                "billed": _billed(per_answer(result)) if priced(ladder) or per_answer(result).money else "",
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
        "intervals": " and ".join(intervals).replace("wilson", "Wilson"),
        "columns": 6 + len(probed) + len(extra),
    }


def _extra(name: str, cost: Cost) -> str:
    return f"{cost.annotations:,}" if name == "annotations" else words.money(cost.money)


def _billed(one: Cost) -> str:
    """The price of an answer, with the tokens that it is for."""
    return f"{words.money(one.money)}, {words.count(round(one.tokens), 'token')}" if one.tokens else words.money(one.money)


def _bill(ladder: Ladder) -> dict[str, Any] | None:
    """What endpoints were paid, rung by rung and judge by judge, the dearest first; None where no prices are known."""
    if not (whole := billed(ladder)).money:
        return None
    rungs = {result.rung.name for result in ladder.results}
    parts = sorted(ladder.billed.items(), key=lambda own: (-own[1].money, own[0]))
    rows = [
        {
            "name": name if name in rungs else words.metric_name(name),
            "under": "its steps and its answers" if name in rungs else "its verdicts",
            **_paid(cost),
        }
        for name, cost in parts
    ]
    return {"rows": rows, "whole": _paid(whole), "time": words.duration(took(ladder))}


def _paid(cost: Cost) -> dict[str, str]:
    return {"money": words.money(cost.money), "tokens": f"{cost.tokens:,.0f}"}


def _metrics(ladder: Ladder) -> dict[str, Any]:
    """Every metric of every rung, on test or else on dev."""
    rows = [(r.rung.name, (r.test or r.dev)) for r in measured(ladder)]
    rows += [(words.baseline_name(name), each) for name, each in ladder.baselines.items()]
    names = list(dict.fromkeys(name for _, each in rows if each for name in each.quality))
    table = [
        (
            name,
            [(words.figure(s.value), words.span(s)) if (s := each.quality.get(metric)) else (words.NONE, "") for metric in names],
        )
        for name, each in rows
        if each
    ]
    return {"names": [words.metric_name(name) for name in names], "rows": table}


def _base(base: Base) -> dict[str, str]:
    if base.source == "url":
        prices = base.settings.get("prices")
        read, written = (words.money(prices[name]) for name in ("input", "output")) if prices else ("", "")
        paid = f"; a million tokens cost {read} to read and {written} to write" if prices else ""
        return {"name": base.name, "facts": f"asked at {base.location}, of a size that nobody here knows{paid}"}
    active = f", {base.active / 1e6:,.1f} M active" if base.active != base.parameters else ""
    return {
        "name": base.name,
        "facts": f"{base.family}, {base.parameters / 1e6:,.1f} M parameters{active}, {base.layers} layers of width {base.width:,}, "
        f"vocabulary {base.vocabulary:,}, context {base.context:,}" + (f", licence {base.licence}" if base.licence else ""),
    }


def _environment(folder: Path) -> list[tuple[str, str]]:
    """What the figures depend on beside the recipe, by the names that people have for it."""
    path = folder / "environment.json"
    if not path.is_file():
        return []
    found = json.loads(path.read_text("utf-8"))
    lists = {name: _listed(found.pop(key, {})) for key, name in LISTED.items()}
    facts = [(FACTS.get(name, name), said) for name, said in _flat(found) if name not in SAID]
    return [*facts, *((name, said) for name, said in lists.items() if said)]


def _listed(found: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {said}" for name, said in found.items() if said != "not installed")


def _flat(value: Any, name: str = "") -> list[tuple[str, str]]:
    if isinstance(value, Mapping):
        return [pair for key, each in value.items() for pair in _flat(each, f"{name} {key}".strip())]
    if value in ("", None) or (name.endswith(BYTES) and not value):  # a GPU that is not there
        return []
    if isinstance(value, bool):
        said = "yes" if value else "no"
    elif name.endswith(BYTES):
        said = words.size(value)
    else:
        said = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return [(name.replace("_", " "), said)]
