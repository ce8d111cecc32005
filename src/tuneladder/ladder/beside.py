"""The figures of report.html that stand beside quality: careless rows, groups, toxic answers, and what it all takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tuneladder.evaluate.fairness import Fairness, Gap
from tuneladder.evaluate.intervals import holm
from tuneladder.evaluate.robustness import heading
from tuneladder.ladder import plots, words
from tuneladder.ladder.efficiency import efficiency
from tuneladder.ladder.results import measured, metric_of, parted
from tuneladder.task.formats import is_template
from tuneladder.types import Drop, Ladder, Marked, Result, Score

MOST_GROUPS = 24  # that are drawn: of more, the worst


def careless(ladder: Ladder, pick: Result | None) -> dict[str, Any] | None:
    """How much worse every rung is on perturbed rows, and rows that the pick lost by it."""
    asked = [result for result in ladder.results if result.drops]
    ways = list(dict.fromkeys(drop.perturbation for result in asked for drop in result.drops))
    if not ways:
        return None
    ends = [0.0] + [end for result in asked for drop in result.drops for end in (drop.worse.low, drop.worse.high)]
    scale = (min(ends), max(ends))
    whole = [(result.rung.name, drop) for result in asked for drop in result.drops]
    corrected = dict(zip(((name, drop.perturbation) for name, drop in whole), holm([drop.p for _, drop in whole]), strict=True))

    def cell(result: Result, way: str) -> dict[str, Any] | None:
        drop = next((drop for drop in result.drops if drop.perturbation == way), None)
        return _dropped(drop, corrected[result.rung.name, way], scale, picked=result is pick) if drop else None

    hows = {way: dict.fromkeys(d.how for result in asked for d in result.drops if d.perturbation == way) for way in ways}
    heads = {way: heading(way, own) for way, own in hows.items()}
    counts = sorted({drop.worse.count for result in asked for drop in result.drops})
    return {
        "metric": words.metric_name(asked[0].drops[0].metric),
        "heads": [heads[way].capitalize() for way in ways],
        "hows": "; ".join(f"{heads[way]}: {' or '.join(own)}" for way, own in hows.items()).capitalize(),
        "tests": words.count(len(whole), "comparison"),
        "counts": " or ".join(f"{count:,}" for count in counts),
        "rows": [
            {"name": result.rung.name, "picked": result is pick, "cells": [cell(result, way) for way in ways]} for result in asked
        ],
        "lost": [
            {"way": heads[drop.perturbation], "items": [_lost(*pair) for pair in drop.lost]}
            for drop in (pick.drops if pick else ())
            if drop.lost
        ],
    }


def _dropped(drop: Drop, p: float, scale: tuple[float, float], *, picked: bool) -> dict[str, Any]:
    worse = drop.worse
    said = "worse" if worse.value > 0 else "better" if worse.value < 0 else "the same"
    return {
        "value": f"{words.figure(abs(worse.value))} {said}" if worse.value else said,
        "span": words.span(worse),
        "strip": plots.strip(worse.value, worse.low, worse.high, scale, 0.0, picked=picked),
        "sure": p < 0.05,
        "under": f"{words.plausible(p)}, {'hardly chance' if p < 0.05 else 'could be chance'}",
        "changed": f"{words.percent(drop.changed.value)} of answers changed",
    }


def _lost(before: Marked, after: Marked) -> dict[str, str]:
    return {
        "input": words.clip(after.input, 190),
        "before": words.clip(before.answer.text, 60),
        "after": words.clip(after.answer.text, 60) or "nothing",
    }


def grouped(ladder: Ladder, pick: Result | None) -> dict[str, Any] | None:
    """The pick's score group by group, and every rung's widest gap."""
    found = {result.rung.name: own for result in measured(ladder) if (own := parted(result, ladder))}
    if not found:
        return None
    own = found.get(pick.rung.name) if pick else None
    left = max(each.left_out for each in found.values())
    small = [group for group in next(iter(found.values())).groups if not group.enough]
    return {
        "by": "" if is_template(ladder.axes.group) else ladder.axes.group,
        "metric": words.metric_name(metric_of(ladder)),
        "groups": _groups(own) if own else [],
        "more": len(own.groups) - MOST_GROUPS if own and len(own.groups) > MOST_GROUPS else 0,
        "small": _small([f"{group.name} ({group.score.count:,})" for group in small], ladder.axes.least),
        "left": words.count(left, "row is of no group", "rows are of no group") if left else "",
        "gaps": [{"name": name, "picked": each is own, **_gap(each.gap)} for name, each in found.items() if each.gap],
    }


def _small(names: Sequence[str], least: int) -> str:
    if not names:
        return ""
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8:,} more" if len(names) > 8 else "")
    return f"{words.count(len(names), 'group has', 'groups have')} fewer than {least:,} rows, too few to compare: {shown}."


def _groups(found: Fairness) -> list[dict[str, Any]]:
    extremes = {found.gap.best: "the best", found.gap.worst: "the worst"} if found.gap else {}
    ends = [end for group in found.groups for end in (group.score.low, group.score.high)]
    shown = list(found.groups)
    if len(shown) > MOST_GROUPS:
        shown = sorted(shown, key=lambda group: (not group.enough, group.score.value))[:MOST_GROUPS]
    return [
        {
            "name": words.clip(group.name, 60),
            "strip": plots.strip(
                group.score.value, group.score.low, group.score.high, (min(ends), max(ends)), None, picked=group.enough
            ),
            "value": words.figure(group.score.value),
            "under": ", ".join(
                part
                for part in (
                    words.count(group.score.count, "row"),
                    extremes.get(group.name, "") if group.enough else "not compared",
                )
                if part
            ),
        }
        for group in shown
    ]


def _gap(gap: Gap) -> dict[str, Any]:
    return {
        "best": words.clip(gap.best, 24),
        "worst": words.clip(gap.worst, 24),
        "value": words.figure(gap.score.value),
        "span": words.span(gap.score),
        "chance": words.figure(gap.chance),
        "under": "more than chance" if gap.wide else "could be chance",
        "wide": gap.wide,
    }


def toxic(ladder: Ladder, pick: Result | None) -> dict[str, Any] | None:
    """The share of every rung's answers that is called toxic, beside that of the references."""
    found = {result.rung.name: result.toxicity for result in ladder.results if result.toxicity}
    if not found:
        return None
    first = next(iter(found.values()))
    by = first.by
    scale = (0.0, max(end for each in found.values() for end in (each.answers.high, each.references.value)))
    picked = pick.rung.name if pick else ""
    return {
        "by": f"a TF-IDF classifier trained on {by.learned:,} rows of {by.source}",
        "accuracy": _shared(by.accuracy),
        "held": f"{by.accuracy.count:,}",
        "found": words.percent(by.found.value),
        "alarms": _shared(by.alarms),
        "references": _shared(first.references),
        "rows": [
            {
                "name": name,
                "strip": plots.strip(
                    each.answers.value, each.answers.low, each.answers.high, scale, each.references.value, picked=name == picked
                ),
                "value": words.percent(each.answers.value),
                "span": f"{words.percent(each.answers.low)} to {words.percent(each.answers.high)} of {each.answers.count:,}",
                "more": _more(each.more),
                "blank": words.count(each.blank, "answer has no word that it knows", "answers have no word that it knows")
                if each.blank
                else "",
            }
            for name, each in found.items()
        ],
        "flagged": [
            {"input": words.clip(row.input, 160), "answer": words.clip(row.answer.text, 260)}
            for row in (found[picked].flagged if picked in found else ())
        ],
    }


def warded(ladder: Ladder, pick: Result | None) -> dict[str, Any] | None:
    """How harmless every rung is beside the untouched base, and what it refuses that is harmless."""
    found = {result.rung.name: result.harmlessness for result in ladder.results if result.harmlessness}
    if not found:
        return None
    first = next(iter(found.values()))
    by, picked = first.by, pick.rung.name if pick else ""
    return {
        "by": f"a model of words that learned from {by.learned:,} pairs of {by.source}",
        "left": words.count(by.left, "pair whose prompt the task holds was", "pairs whose prompt the task holds were")
        if by.left
        else "",
        "accuracy": _shared(by.accuracy),
        "held": f"{by.accuracy.count:,}",
        "tempting": first.better.count,
        "harmless": first.refused.count,
        "rows": [
            {
                "name": name,
                "picked": name == picked,
                "strip": plots.strip(each.better.value, each.better.low, each.better.high, (0.0, 1.0), 0.5, picked=name == picked),
                **{
                    figure: {
                        "value": words.percent(score.value),
                        "span": f"{words.percent(score.low)} to {words.percent(score.high)}",
                    }
                    for figure, score in (
                        ("better", each.better),
                        ("declined", each.declined),
                        ("refused", each.refused),
                        ("empty", each.empty),
                        ("alike", each.alike),
                    )
                },
            }
            for name, each in found.items()
        ],
        "shown": [
            {"input": words.clip(prompt, 160), "answer": words.clip(answer, 260)}
            for prompt, answer in (found[picked].shown if picked in found else ())
        ],
    }


def graded(ladder: Ladder, pick: Result | None) -> dict[str, Any] | None:
    """What a reward model makes of every rung's answers, and how much more than of the untouched base's."""
    found = {result.rung.name: result.graded for result in ladder.results if result.graded}
    if not found:
        return None
    first = next(iter(found.values()))
    ends = [0.0, *(end for each in found.values() for end in (each.rise.low, each.rise.high))]
    picked = pick.rung.name if pick else ""
    return {
        "by": first.source,
        "prompts": words.count(first.reward.count, "test prompt"),
        "spread": words.figure(first.spread),
        "rows": [
            {
                "name": name,
                "picked": name == picked,
                "strip": plots.strip(
                    each.rise.value, each.rise.low, each.rise.high, (min(ends), max(ends)), 0.0, picked=name == picked
                ),
                "rise": words.figure(each.rise.value),
                "span": words.span(each.rise),
                "reward": words.scored(each.reward),
                "before": words.scored(each.before),
            }
            for name, each in found.items()
        ],
    }


def _more(more: Score) -> str:
    said = "more" if more.value >= 0 else "fewer"
    sure = more.low > 0 or more.high < 0
    points = f"{100 * abs(more.value):.1f} points"
    return f"{points} {said} than of the references, {'hardly chance' if sure else 'could be chance'}"


def _shared(share: Score) -> str:
    return f"{words.percent(share.value)} ({words.percent(share.low)} to {words.percent(share.high)})"


def taken(ladder: Ladder) -> dict[str, Any] | None:
    """Seconds, memory and energy of every rung, and the CO2 of climbing it and giving the bar's volume of answers."""
    found = {result.rung.name: own for result in measured(ladder) if (own := efficiency(result, ladder.axes))}
    if not any(own.answer for own in found.values()):
        return None
    whole = {
        name: own.climbing.grams + ladder.bar.volume * own.answer.grams if own.climbing and own.answer else None
        for name, own in found.items()
    }
    most = max((grams for grams in whole.values() if grams), default=0.0) or 1.0
    picked = ladder.pick.rung if ladder.pick else ""
    return {
        "volume": words.count(ladder.bar.volume, "answer"),
        "intensity": f"{ladder.axes.intensity:g}",
        "by": "; ".join(dict.fromkeys(own.by for own in found.values() if own.by)),
        "rows": [
            {
                "name": name,
                "picked": name == picked,
                "seconds": words.duration(own.seconds),
                "memory": words.size(own.memory),
                "answer": words.energy(own.answer.joules if own.answer else None),
                "climbing": words.energy(own.climbing.joules if own.climbing else None),
                "measuring": words.energy(own.measuring.joules if own.measuring else None),
                "grams": words.mass(whole[name]),
                "bar": plots.bars(whole[name] or 0.0, (0.0, most), None, over=False),
            }
            for name, own in found.items()
        ],
    }
