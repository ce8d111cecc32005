"""The figures of report.html: what the ladder holds, made ready to be drawn or laid out."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape

from tuneladder.evaluate.compare import Contest, compare
from tuneladder.evaluate.explanations import Reason
from tuneladder.evaluate.intervals import holm
from tuneladder.evaluate.labels import tally
from tuneladder.evaluate.measure import confusion
from tuneladder.ladder import plots, words
from tuneladder.ladder.results import (
    baseline_split,
    below,
    calibrated,
    dearness,
    explained,
    forecast,
    forgetting,
    measured,
    metric_of,
    picked_result,
    priced,
    rising,
    score_of,
    total,
)
from tuneladder.ladder.tree import step_name
from tuneladder.task.scripts import whole
from tuneladder.types import Cost, Judged, Ladder, Marked, Measurement, Result

LITTLE = 0.02  # what the axis of forgetting shows at least: a hundredth of a percent does not fill it
MOST_LABELS = 24  # a larger confusion matrix cannot be read: the most confused pairs stand for it
SHAPES: Mapping[str, plots.Shape] = {"prompt": "circle", "adapter": "square", "weights": "diamond"}


def changes(result: Result) -> str:
    """The deepest thing that a rung's steps change."""
    order = list(SHAPES)
    return max((step.changes for step in result.rung.steps), key=order.index, default="prompt")


def changed(result: Result) -> str:
    """What that is in words; a linear head stands on a model in which nothing is changed."""
    deepest = changes(result)
    if deepest == "adapter" and all(step.changes == "prompt" or step_name(step) == "linear_probe" for step in result.rung.steps):
        return "a linear head"
    return {"prompt": "the prompt", "adapter": "an adapter", "weights": "every weight"}[deepest]


def cost_words(ladder: Ladder) -> str:
    return f"{'money' if priced(ladder) else 'time'} to climb alone and give {words.count(ladder.bar.volume, 'answer')}"


def scatter(ladder: Ladder, width: int, height: int) -> Markup:
    points, split = [], baseline_split(ladder)
    for index, result in enumerate(ladder.results):
        score = score_of(result.test or result.dev, ladder)
        if score:
            picked = ladder.pick is not None and ladder.pick.rung == result.rung.name
            points.append(
                plots.Point(
                    str(index + 1),
                    result.rung.name,
                    total(result, ladder),
                    score.value,
                    score.low,
                    score.high,
                    SHAPES[changes(result)],
                    picked,
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
        x_title=f"{'money' if priced(ladder) else 'time'} to climb and give {words.count(ladder.bar.volume, 'answer')}, log scale",
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


def forgot_too_much(ladder: Ladder, lost: float | None) -> bool:
    limit = ladder.bar.forget_at_most
    return lost is not None and limit is not None and lost > limit


def forgotten(ladder: Ladder) -> list[dict[str, Any]]:
    found = [(result, lost) for result in ladder.results if (lost := forgetting(result)) is not None and not result.failure]
    if not any(abs(lost) > 1e-9 for _, lost in found):
        return []
    limit = ladder.bar.forget_at_most
    ends = [0.0, LITTLE] + [lost for _, lost in found] + ([limit * 1.15] if limit is not None else [])
    scale = (min(ends), max(ends))
    return [
        {
            "name": result.rung.name,
            "bar": plots.bars(lost, scale, limit, over=forgot_too_much(ladder, lost)),
            "value": words.percent(lost),
            "over": forgot_too_much(ladder, lost),
        }
        for result, lost in found
    ]


def curves(ladder: Ladder) -> list[dict[str, Any]]:
    out = []
    for result in ladder.results:
        if len(result.curve) < 2:
            continue
        train = [(tick.step, tick.loss) for tick in result.curve]
        dev = [(tick.step, tick.dev) for tick in result.curve if tick.dev is not None]
        last = result.curve[-1]
        ended = {
            "budget": ", cut short by the budget",
            "plateau": ", ended on a plateau",
            "nan": ", ended in a loss that was no number",
            "kl": ", stopped: too far from its reference, and put back to where it was not",
            "entropy": ", stopped: its answers lost their variety",
        }.get(last.stopped, "")
        looks = [tick for tick in result.curve if tick.decisive is not None and math.isfinite(tick.decisive)]
        kept = min(looks, key=lambda tick: tick.decisive or 0.0, default=None)
        under = f"{words.count(last.step, 'step')}, {words.count(last.tokens, 'token')}{ended}"
        drawn = plots.curve(train, dev, title=f"loss of {result.rung.name}")
        out.append(
            {
                "name": result.rung.name,
                "under": under,
                "svg": drawn,
                "kept": f"kept after step {kept.step:,}, dev loss {words.figure(kept.dev)}" if kept else "",
            }
        )
    return out


def rewarded(ladder: Ladder) -> list[dict[str, Any]]:
    """Of each policy that learned from rewards what it earned against how far it went, and answers from along the way: a reward
    that was gamed is seen in them."""
    out = []
    for result in ladder.results:
        along = result.rollouts
        if len(along) < 2:
            continue
        gone = bool(result.curve) and result.curve[-1].stopped == "kl"
        first, last = along[0], along[-2 if gone else -1]
        said = f"reward {first.reward:.3g} to {last.reward:.3g}, KL {last.kl:.3g} nats an answer, "
        under = said + f"entropy {first.entropy:.3g} to {last.entropy:.3g} nats a token"
        prices = [own.price for own in along if own.price] or [0.0]  # the first phase's is of no KL
        if prices[0] != prices[-1]:
            under += f", a nat of KL cost {prices[0]:.3g} to {prices[-1]:.3g}"
        drawn = plots.path([(own.kl, own.reward) for own in along], title=f"reward against KL of {result.rung.name}")
        shown = [(own.step, sample) for own in (first, along[len(along) // 2], along[-1]) for sample in own.samples]
        rows = [
            {
                "step": step,
                "prompt": words.clip(sample.prompt, 90),
                "text": words.clip(sample.text, 200),
                "reward": f"{sample.reward:.3g}",
            }
            for step, sample in shown
        ]
        beyond = f"; what it wrote last was too far, at {along[-1].kl:.3g} nats, and is not kept" if gone else ""
        out.append({"name": result.rung.name, "under": under + beyond, "svg": drawn, "rows": rows})
    return out


def _examined(result: Result | None) -> Measurement | None:
    return (result.test or result.dev) if result else None


def confused(ladder: Ladder, pick: Result | None) -> dict[str, Any] | None:
    """The pick's answers against the references, and its most confused pairs with an item or two. Where rows have several labels,
    none is taken for another: `told` says how each is."""
    examined = _examined(pick)
    if ladder.task.kind != "classify" or ladder.task.multi_label or examined is None or not examined.answers:
        return None
    labels = list(ladder.task.labels)
    counts = confusion(examined.answers, labels)
    other = any(row[-1] for row in counts)
    rows = []
    for place, (label, row) in enumerate(zip(labels, counts, strict=True)):
        whole = sum(row)
        cells = [
            {"n": n, "share": f"{n / whole:.2f}" if whole else "0", "right": at == place}
            for at, n in enumerate(row if other else row[:-1])
        ]
        rows.append({"label": label, "cells": cells, "recall": words.percent(row[place] / whole if whole else None)})
    wrong = Counter((row.reference, row.answer.text) for row in examined.answers if not row.correct)
    pairs = []
    for (reference, answer), number in wrong.most_common(4):
        items = [row for row in examined.answers if (row.reference, row.answer.text, row.correct) == (reference, answer, False)][:2]
        said = words.clip(answer, 60) or "nothing"
        pairs.append(
            {"reference": reference, "answer": said, "count": number, "items": [words.clip(row.input, 190) for row in items]}
        )
    heads = labels + (["no label"] if other else [])
    return {"heads": heads, "rows": rows if len(labels) <= MOST_LABELS else [], "pairs": pairs, "count": len(examined.answers)}


def sureness(ladder: Ladder, pick: Result | None) -> dict[str, Any] | None:
    """How sure the pick is against how often it is right, and the calibration error of every rung that has one."""
    found = {result.rung.name: own for result in measured(ladder) if (own := calibrated(result))}
    if not found:
        return None
    own, drawn, surer = found.get(pick.rung.name) if pick else None, "", ""
    if pick and own:
        drawn = plots.reliability(
            [(each.confidence, each.right.value, each.right.low, each.right.high) for each in own.bins],
            title=f"how often {pick.rung.name} is right against how sure it is",
        )
        share = own.surest
        surer = f"{words.percent(share.value)} ({words.percent(share.low)} to {words.percent(share.high)})"
    scale = (0.0, max(end for each in found.values() for end in (each.error.high, each.chance)))
    rows = [
        {
            "name": name,
            "strip": plots.strip(each.error.value, each.error.low, each.error.high, scale, each.chance, picked=each is own),
            "value": words.figure(each.error.value),
            "under": "more than chance" if each.off else "could be chance",
        }
        for name, each in found.items()
    ]
    return {"drawn": drawn, "rows": rows, "surer": surer}


def told(ladder: Ladder, pick: Result | None) -> dict[str, Any] | None:
    """Where rows have several labels, of each: how many rows have it, how many the pick gave it, how many of these are right. The
    worst F1 stands first, and there are MOST_LABELS at most."""
    examined, labels = _examined(pick), ladder.task.labels
    if not ladder.task.multi_label or examined is None or not examined.answers:
        return None
    answers = [row.answer.text for row in examined.answers]
    counts = tally(answers, [(row.reference, *row.others) for row in examined.answers], labels).sum(0).reshape(3, -1).T
    rows = [
        {
            "label": label,
            "true": f"{true:,.0f}",
            "said": f"{said:,.0f}",
            "right": f"{right:,.0f}",
            "precision": words.figure(right / said if said else None),
            "recall": words.figure(right / true if true else None),
            "f1": 2 * right / (true + said),
        }
        for label, (right, true, said) in zip(labels, counts.tolist(), strict=True)
        if true + said
    ]
    worst = sorted(rows, key=lambda row: float(row["f1"]))[:MOST_LABELS]
    return {
        "rows": [{**row, "f1": words.figure(row["f1"])} for row in worst],
        "left": len(rows) - len(worst),
        "count": len(answers),
    }


def samples(ladder: Ladder, pick: Result | None) -> list[dict[str, str]]:
    """A few answers of the pick where they are texts rather than labels."""
    examined = _examined(pick)
    if ladder.task.kind == "classify" or examined is None:
        return []
    every = max(1, len(examined.answers) // 4)
    return [
        {
            "input": words.clip(row.input, 300),
            "reference": words.clip(row.reference, 300),
            "answer": words.clip(row.answer.text, 300) or words.NONE,
        }
        for row in examined.answers[::every][:4]
    ]


def verdicts(ladder: Ladder) -> list[dict[str, Any]]:
    """What each judge says of every rung, whether its verdicts hold when the order changes, and how often people say the same."""
    rungs = [(result.rung.name, examined) for result in ladder.results if (examined := result.test or result.dev)]
    shown = []
    for judge in dict.fromkeys(name for _, examined in rungs for name in examined.judged):
        found = [(name, examined.judged[judge]) for name, examined in rungs if judge in examined.judged]
        scores = [own.score for _, own in found]
        even = 0.5 if found[0][1].against else None  # as good as what it is set against
        scale = (min([0.5, *(score.low for score in scores)]), max([0.5, *(score.high for score in scores)]))
        agreed = found[0][1].agreement
        shown.append(
            {
                "name": words.judge_name(judge, short=True),
                "against": found[0][1].against,
                "agreement": words.agreement(agreed),
                "measured": agreed is not None,
                "rows": [
                    {
                        "name": name,
                        "picked": (own_pick := _is_pick(ladder, name)),
                        "strip": plots.strip(own.score.value, own.score.low, own.score.high, scale, even, picked=own_pick),
                        "value": words.figure(own.score.value),
                        "span": words.span(own.score),
                        "cells": _counts(own),
                        "unread": sum(not verdict.outcome for verdict in own.verdicts),
                    }
                    for name, own in found
                ],
                "cost": words.cost(_together([own.spent for _, own in found])),
            }
        )
    return shown


def _counts(own: Judged) -> list[dict[str, str]]:
    """Of pairs how the verdicts fell, and what the order made of them."""
    if not own.against:
        return []
    counts = Counter(verdict.outcome for verdict in own.verdicts)
    cells = [{"value": f"{counts[outcome]:,}", "span": ""} for outcome in ("win", "tie", "loss")]
    if own.flips is None or own.bias is None:  # all pairs were of equal answers
        return [*cells, {"value": words.NONE, "span": ""}, {"value": words.NONE, "span": ""}]
    changed = {
        "value": words.percent(own.flips.value),
        "span": f"{words.percent(own.flips.low)} to {words.percent(own.flips.high)}",
    }
    return [*cells, changed, {"value": words.figure(own.bias.value), "span": words.span(own.bias)}]


def _together(costs: Sequence[Cost]) -> Cost:
    return Cost(sum(own.seconds for own in costs), money=sum(own.money for own in costs), tokens=sum(own.tokens for own in costs))


def _is_pick(ladder: Ladder, name: str) -> bool:
    return ladder.pick is not None and ladder.pick.rung == name


def reasons(ladder: Ladder, pick: Result | None) -> dict[str, Any] | None:
    """How often each rung's reasons contradict its answers or name what is not there, and some to judge: of the pick, or else of
    the last rung that gives any."""
    found = {result.rung.name: own for result in ladder.results if (own := explained(result, ladder.task))}
    if not found:
        return None
    name = pick.rung.name if pick and pick.rung.name in found else list(found)[-1]
    groups = []
    for title, said in (
        ("Come to another answer", {rung: own.contradicting for rung, own in found.items()}),
        ("Name what is not in the row", {rung: own.inventing for rung, own in found.items()}),
    ):
        scores = {rung: score for rung, score in said.items() if score}
        scale = (0.0, max((score.high for score in scores.values()), default=1.0))
        rows = [
            {
                "name": rung,
                "strip": plots.strip(score.value, score.low, score.high, scale, None, picked=rung == name),
                "value": words.percent(score.value),
                "under": f"{words.percent(score.low)} to {words.percent(score.high)} of {score.count:,}",
            }
            for rung, score in scores.items()
        ]
        if rows:
            groups.append({"title": title, "rows": rows})
    return {"name": name, "groups": groups, "items": [_reason(own) for own in _to_judge(found[name].reasons)]}


def _to_judge(found: Sequence[Reason]) -> list[Reason]:
    """Two that contradict their answer, two that name what is not there, and others up to six: those may be wrong in other ways."""
    contradicting = [own for own in found if own.concluded][:2]
    inventing = [own for own in found if own.invented and own not in contradicting][:2]
    rest = [own for own in found if not own.concluded and not own.invented]
    return [*contradicting, *inventing, *rest][:6]


def _reason(own: Reason) -> dict[str, Any]:
    marked = own.marked
    return {
        "input": words.clip(marked.input, 260),
        "answer": words.clip(marked.answer.text, 120) or words.NONE,
        "reference": words.clip(marked.reference, 120),
        "right": marked.correct,
        "reason": highlighted(words.clip(marked.answer.reason, 420), own.invented),
        "concluded": own.concluded,
        "invented": ", ".join(own.invented),
    }


def highlighted(text: str, parts: Sequence[str]) -> Markup:
    """The text with each of the parts marked, as whole words."""
    if not parts:
        return escape(text)
    shown, at = Markup(""), 0
    for match in re.finditer(whole(parts), text):
        shown += Markup("{}<mark>{}</mark>").format(text[at : match.start()], match[0])
        at = match.end()
    return shown + text[at:]


def duels(ladder: Ladder) -> dict[str, Any]:
    """Each rung against the rung below it: what it costs and buys; and the pick against what needs no language model; all item by
    item, with the p of all corrected together."""
    pick, split = picked_result(ladder), baseline_split(ladder)
    pairs: list[tuple[str, str, str, Sequence[Marked], Sequence[Marked]]] = []
    for result in sorted(measured(ladder), key=lambda each: dearness(each, ladder)):
        under = below(ladder, result)
        if under and result.test and under.test:
            pairs.append(
                (result.rung.name, under.rung.name, _bought(ladder, result, under), result.test.answers, under.test.answers)
            )
    ours = pick and (pick.test if split == "test" else pick.dev)
    if pick and ours:
        # the majority class is right by rote: a contest with it says nothing
        rivals = [
            (name, each) for name, each in ladder.baselines.items() if name not in ("majority", "frequent_set", "frequent_place")
        ]
        pairs += [(pick.rung.name, words.baseline_name(name), "", ours.answers, each.answers) for name, each in rivals]
    rows: list[dict[str, Any]] = []
    found_all: list[Contest] = []
    shown = None
    for name, other, bought, a, b in pairs:
        theirs = {row.id for row in b if row.correct is not None}
        if not any(row.id in theirs for row in a if row.correct is not None):
            continue
        found = compare(a, b)
        found_all.append(found)
        rows.append({"name": name, "other": other, "bought": bought})
        if pick and name == pick.rung.name and shown is None:
            shown = {"name": name, "other": other, "won": _items(found.won), "lost": _items(found.lost)}
    most = max((len(each) for found in found_all for each in (found.lost, found.won)), default=0) or 1
    corrected = holm([found.p for found in found_all])
    for row, found, p in zip(rows, found_all, corrected, strict=True):
        lost, won = len(found.lost), len(found.won)
        needed = f"; about {found.needed:,} rows would tell" if found.needed and p >= 0.05 else ""
        row |= {"lost": lost, "won": won, "left": f"{100 * lost / most:.1f}", "right": f"{100 * won / most:.1f}"}
        row |= {"p": words.plausible(p), "under": f"could be chance{needed}" if p >= 0.05 else "hardly chance"}
    together = any(found.groups for found in found_all)
    test = "that of swapping the two in whole prompts" if together else "McNemar's exact test"
    return {"rows": rows, "shown": shown, "tests": len(rows), "test": test}


def _bought(ladder: Ladder, result: Result, under: Result) -> str:
    """What a rung adds to the metric over the one below it, and for how much more: `macro-F1 +0.046, 1.1 times the cost`."""
    ours, theirs = score_of(result.test, ladder), score_of(under.test, ladder)
    if ours is None or theirs is None:
        return ""
    gain = f"{ours.value - theirs.value:+.3f}".replace("-", "−")
    dear = total(result, ladder), total(under, ladder)
    times = f", {words.times(dear[0] / dear[1])} the cost" if dear[1] else ""
    return f"{words.metric_name(metric_of(ladder))} {gain}{times}"


def _items(pairs: Sequence[tuple[Marked, Marked]]) -> list[dict[str, str]]:
    return [
        {
            "input": words.clip(a.input, 190),
            "reference": a.reference,
            "a": a.answer.text or "nothing",
            "b": b.answer.text or "nothing",
        }
        for a, b in pairs[:3]
    ]


def foretold(ladder: Ladder) -> list[dict[str, Any]]:
    """Predicted beside measured seconds and memory, where both are known."""
    groups = []
    for title, name, write in (("Time to climb alone", "seconds", words.duration), ("Peak memory", "memory", words.size)):
        found = [(result.rung.name, *pair) for result in ladder.results if (pair := forecast(result, name))]
        if not found:
            continue
        values = [value for _, *pair in found for value in pair]
        scale = (min(values), max(max(values), min(values) * 1.5))
        rows = [
            {
                "name": rung,
                "drawn": plots.dumbbell(a, b, scale),
                "predicted": write(a),
                "measured": write(b),
                "ratio": f"{b / a:.2g}" if b / a < 10 else f"{b / a:.0f}",
            }
            for rung, a, b in found
        ]
        groups.append({"title": title, "rows": rows})
    return groups
