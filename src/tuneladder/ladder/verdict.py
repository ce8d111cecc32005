"""What the ladder found, in sentences with numbers: the same words head the page, the card and the terminal."""

from __future__ import annotations

from tuneladder.ladder import words
from tuneladder.ladder.pick import cleared, reaches
from tuneladder.ladder.results import (
    baseline_split,
    clears,
    forgetting,
    measured,
    metric_of,
    money,
    nothing,
    paired,
    per_answer,
    picked_result,
    priced,
    rising,
    score_of,
    surely_dearer,
    total,
    unpriced,
)
from tuneladder.ladder.tree import step_name
from tuneladder.types import Ladder, Result, Score


def sentence(ladder: Ladder) -> str:
    """The recommendation, in one sentence with its numbers."""
    claim, figures = headline(ladder)
    return f"{claim}: {figures}." if figures else f"{claim}."


def headline(ladder: Ladder) -> tuple[str, str]:
    """The sentence's two halves: what is claimed, and the figures behind it ("" where nothing was picked)."""
    pick, result = ladder.pick, picked_result(ladder)
    if pick is None or result is None:
        failed = sum(bool(each.failure) for each in ladder.results)
        if ladder.results and failed == len(ladder.results):
            return f"No rung could be measured, {'the only one' if failed == 1 else f'all {failed}'} failed", ""
        return f"No rung was picked, {len(measured(ladder))} of {words.count(len(ladder.results), 'rung')} could be measured", ""
    figures = ", ".join(part for part in (_reached(ladder, result), _forgets(result), _costs(ladder, result)) if part)
    bar = bar_words(ladder)
    if nowhere(ladder):
        none = f"No rung clears {bar}" if bar else "There is nothing to recommend"
        scores = [score_of(each.test or each.dev, ladder) for each in measured(ladder)]
        if all(score and nothing(score, ladder) for score in scores):
            return f"{none}, and none gets anywhere" if bar else f"{none}, no rung gets anywhere", _reached(ladder, result)
        return f"{none}, {pick.rung} {'comes closest' if bar else 'was picked on dev'} and gets nowhere", figures
    if not bar:
        if enough := _enough(ladder):
            without = f"no {words.without(ladder.task.kind)} is needed"
            return f"{_begun(enough)} does no worse: {without}; of the rungs take {pick.rung}", figures
        return f"Take {pick.rung}", figures
    if not pick.cleared:
        return f"No rung clears {bar}; {pick.rung} comes closest", figures
    if pick.confirmed is False:
        return f"{pick.rung} cleared {bar} on dev, but the test rows do not confirm it", figures
    if pick.confirmed is None and result.test is None:
        return f"{pick.rung} cleared {bar} on dev, but could not be measured on test", figures
    if enough := _enough(ladder):
        without = f"no {words.without(ladder.task.kind)} is needed"
        return (
            f"{_begun(enough)} clears {bar}: {without}; of the rungs {pick.rung} is the cheapest that does",
            figures,
        )
    cheapest = "which" if len(measured(ladder)) == 1 else "the cheapest rung that"
    return f"Take {pick.rung}, {cheapest} clears {bar}", figures


def nowhere(ladder: Ladder) -> bool:
    """Whether the pick cleared no bar and has the worst figure that there is: then it is none to recommend."""
    result = picked_result(ladder)
    score = score_of((result.test or result.dev) if result else None, ladder)
    cleared_one = ladder.bar.at_least is not None and ladder.pick is not None and ladder.pick.cleared
    return score is not None and not cleared_one and nothing(score, ladder)


def why(ladder: Ladder) -> tuple[str, ...]:
    """What stands behind the sentence, most important first: the pick's reason, the baselines, what more would buy, failures."""
    reason = ladder.pick.why if ladder.pick else ""
    said = [f"{reason[0].upper()}{reason[1:].rstrip('.')}."] if reason else []
    result = picked_result(ladder)
    if result and any(step_name(step) == "search" for step in result.rung.steps):
        said.append("Its prompt was found on the dev rows that it was picked by, which flatters it there: test is what counts.")
    if result and nowhere(ladder) and all(step.changes == "prompt" for step in result.rung.steps):
        said.append("Its answers show whether it understands what is asked; a larger base, or one tuned to instructions, may.")
    if unpriced(ladder):
        said.append(
            "Some rungs cost money and others this machine's time, so seconds are compared: `bar: {hour: ...}`, what an hour of "
            "this machine costs, sets one against the other."
        )
    said += plainly(ladder)
    if gain := _dearer(ladder):
        said.append(gain)
    failed = [each for each in ladder.results if each.failure]
    if failed and len(failed) < len(ladder.results):
        said.append(f"{words.count(len(failed), 'rung')} of {len(ladder.results)} could not be climbed; the report says why.")
    return tuple(said)


def plainly(ladder: Ladder) -> tuple[str, ...]:
    """Whether what needs no language model is enough: a sentence for each baseline, the strongest first."""
    picked, split = picked_result(ladder), baseline_split(ladder)
    ours = _beside_baselines(ladder)
    up = 1 if rising(metric_of(ladder)) else -1
    said: list[str] = []
    for name, score in _baselines(ladder):
        aside = "" if said else f", which is no {words.without(ladder.task.kind)},"
        reached = f"{words.baseline_name(name)}{aside} reaches {words.scored(score)}"
        if ladder.bar.at_least is not None:
            alone = clears(score, ladder)
            verdict = " and clears the bar by itself" if alone else f" and does not clear the bar{_just(score, ladder)}"
            if ours and picked and (alone or up * (score.value - ours.value) > 0):
                verdict += f"; {picked.rung.name} has {words.figure(ours.value)} on the same rows"
        elif ours and picked:
            gap = up * (ours.value - score.value)
            same = words.figure(ours.value) == words.figure(score.value)
            verdict = f", {words.figure(abs(gap))} {'behind' if gap >= 0 else 'ahead of'} {picked.rung.name}"
            verdict = f", as does {picked.rung.name}" if same else verdict
        else:
            verdict = f" on {split}"
        said.append(f"{_begun(reached)}{verdict}.")
    return tuple(said)


def _begun(said: str) -> str:
    """As a sentence begins; a program is called as it is."""
    return said if said.startswith("xz") else said[0].upper() + said[1:]


def _just(score: Score, ladder: Ladder) -> str:
    """By how much a score misses the bar, where its figures as they are shown do not tell."""
    wanted = ladder.bar.at_least
    doubtful = score.low if rising(metric_of(ladder)) else score.high
    if wanted is None or words.figure(doubtful) != words.figure(wanted):
        return ""
    places = next(places for places in range(4, 18) if f"{doubtful:.{places}f}" != f"{wanted:.{places}f}")
    return f", {doubtful:.{places}f} being short of {wanted:g}"


def cleared_by_baseline(ladder: Ladder) -> bool:
    """Whether a baseline clears the bar or, where there is none, has what the pick has, so that no language model is needed."""
    return bool(_enough(ladder))


def _enough(ladder: Ladder) -> str:
    """What the best of the baselines that clear the bar is called, or without a bar that reach the pick's figure on the same
    rows; "" where none does."""
    ours = _beside_baselines(ladder)
    up = 1 if rising(metric_of(ladder)) else -1

    def does(score: Score) -> bool:
        if ladder.bar.at_least is not None:
            return clears(score, ladder)
        return ours is not None and up * (score.value - ours.value) >= 0 and not nothing(score, ladder)

    return next((words.baseline_name(name) for name, score in _baselines(ladder) if does(score)), "")


def _beside_baselines(ladder: Ladder) -> Score | None:
    """The pick's score on the rows that the baselines were measured on."""
    picked, split = picked_result(ladder), baseline_split(ladder)
    return score_of((picked.test if split == "test" else picked.dev) if picked else None, ladder)


def _baselines(ladder: Ladder) -> list[tuple[str, Score]]:
    """What each baseline reaches, the strongest first."""
    scores = [(name, score) for name, each in ladder.baselines.items() if (score := score_of(each, ladder))]
    return sorted(scores, key=lambda pair: pair[1].value, reverse=rising(metric_of(ladder)))


def bar_words(ladder: Ladder) -> str:
    """`the bar of macro-F1 0.85 and 5 % forgetting`; "" where no score has to be reached."""
    if ladder.bar.at_least is None:
        return ""
    limit = "" if rising(metric_of(ladder)) else "at most "
    parts = [f"{words.metric_name(metric_of(ladder))} {limit}{ladder.bar.at_least:g}"]
    if ladder.bar.forget_at_most is not None:
        parts.append(f"{words.limit(ladder.bar.forget_at_most)} forgetting")
    return f"the bar of {' and '.join(parts)}"


def _reached(ladder: Ladder, result: Result) -> str:
    score, split = score_of(result.test, ladder), "test"
    if score is None:
        score, split = score_of(result.dev, ladder), "dev"
    if score is None:
        return ""
    return f"{words.scored(score)} {words.metric_name(metric_of(ladder))} on {words.count(score.count, f'{split} row')}"


def _forgets(result: Result) -> str:
    lost = forgetting(result)
    if lost is None or not result.rung.steps:
        return ""
    return f"{words.percent(lost)} forgotten" if lost >= 0.0005 else "nothing forgotten"


def _costs(ladder: Ladder, result: Result) -> str:
    one = per_answer(result)
    if priced(ladder):
        climbing, answer = money(result, ladder)
        return f"{words.money(climbing)} to climb and {words.money(answer)} an answer"
    climb = f"{words.duration(result.alone.seconds)} to climb" if result.alone.seconds >= 0.5 else "nothing to train"
    return f"{climb} and {words.duration(one.seconds)} an answer"


def _dearer(ladder: Ladder) -> str:
    """What the best rung would add over the pick, for how much more, where it is another one."""
    picked = picked_result(ladder)
    ours = score_of((picked.test or picked.dev) if picked else None, ladder)
    if picked is None or ours is None:
        return ""
    up = 1 if rising(metric_of(ladder)) else -1

    def value(result: Result) -> float:
        score = score_of(result.test or result.dev, ladder)
        return up * score.value if score else float("-inf")

    best = max(measured(ladder), key=value)
    theirs = score_of(best.test or best.dev, ladder)
    if best is picked or theirs is None or value(best) <= up * ours.value:
        return ""
    both_on_test = picked.test is not None and best.test is not None
    apart = paired(ladder, picked.test if both_on_test else picked.dev, best.test if both_on_test else best.dev)
    doubt = f" (paired, p = {apart.p:.2g})" if apart else " (the intervals overlap)" if _overlap(ours, theirs) else ""
    times = total(best, ladder) / total(picked, ladder) if total(picked, ladder) else 0
    dear = ""
    if times > 1.05 or 0 < times < 0.95:
        dear = ", at a cost that timing cannot tell from its own"
        if surely_dearer(best, picked, ladder):
            dear = f", at {times:.1f} times the cost"
        elif surely_dearer(picked, best, ladder):
            dear = ", for less"
    lost, allowed = forgetting(best), ladder.bar.forget_at_most
    if lost is not None and allowed is not None and lost > allowed:
        dear += f", but {words.percent(lost)} is forgotten, more than the bar allows"
    on_dev = score_of(best.dev, ladder)
    if on_dev and ladder.pick and ladder.pick.cleared and ladder.bar.at_least is not None and not cleared(best, ladder):
        short = "its value reaches the bar and its interval does not" if reaches(on_dev, ladder) else "it does not clear the bar"
        dear += f"; on dev, where rungs are chosen, {short}: {words.scored(on_dev)}{_just(on_dev, ladder)}"
    gap = words.figure(abs(theirs.value - ours.value))
    name = picked.rung.name
    figure = f"the best figure on {'test' if best.test else 'dev'}"
    return f"{best.rung.name} has {figure}: {words.figure(theirs.value)}, {gap} better than {name}{doubt}{dear}."


def _overlap(a: Score, b: Score) -> bool:
    return a.low <= b.high and b.low <= a.high
