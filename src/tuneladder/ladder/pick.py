"""The cheapest rung that clears the bar: chosen on dev, confirmed once on test.

Cheapest is climbed alone plus the bar's volume of answers, as far as timing can tell. A rung clears the bar when the doubtful end
of its dev interval does, and what it forgot is within what the bar allows. Without a bar a rung is good enough that cannot be told
from the best on the rows that both answered.
"""

from __future__ import annotations

from tuneladder.ladder import words
from tuneladder.ladder.results import cheapest, clears, forgetting, metric_of, nothing, paired, rising, score_of, total
from tuneladder.types import Ladder, Pick, Result, Score

_GENTLER = "a lower learning rate, fewer epochs or an adapter would help."


def pick(ladder: Ladder) -> Pick | None:
    """The pick, frozen on dev; None where no rung could be measured there. `confirmed` is left open."""
    metric, up = words.metric_name(metric_of(ladder)), 1 if rising(metric_of(ladder)) else -1
    rungs = _of_one_use([result for result in ladder.results if score_of(result.dev, ladder) is not None])
    if not rungs:
        return None

    def value(result: Result) -> float:
        score = score_of(result.dev, ladder)
        assert score is not None
        return up * score.value

    within = [result for result in rungs if _remembers(result, ladder)]
    best = max(within or rungs, key=value)
    best_score = score_of(best.dev, ladder)
    assert best_score is not None
    if ladder.bar.at_least is None and not within:
        said = f"every rung forgets more than the bar allows; of them it has the best {metric}. {_GENTLER}"
        return Pick(best.rung.name, said, False, None)
    if ladder.bar.at_least is None:
        doubt = best_score.low if up > 0 else -best_score.high

        def near(result: Result) -> bool:
            apart = paired(ladder, result.dev, best.dev)
            if apart is None:
                return value(result) >= doubt
            return result is best or (apart.low <= 0 if up > 0 else apart.high >= 0)

        enough = [result for result in within if near(result)]
        somewhere = [result for result in enough if (score := score_of(result.dev, ladder)) and not nothing(score, ladder)]
        chosen = cheapest(somewhere or enough, ladder)
        if chosen is best:
            return Pick(best.rung.name, f"the recipe sets no bar; on dev no rung has a better {metric}", True, None)
        said = f"it lies within the doubt of the best {metric} on dev, that of {best.rung.name}"
        return Pick(chosen.rung.name, f"the recipe sets no bar; {said}, {_cheap(chosen, somewhere or enough, ladder)}", True, None)
    clearing = [result for result in within if cleared(result, ladder)]
    if clearing:
        chosen = cheapest(clearing, ladder)
        others = _cheap(chosen, clearing, ladder)
        return Pick(chosen.rung.name, f"it clears the bar on dev, {others}", True, None)
    advice = _would_help(best, rungs, within, ladder)
    return Pick(best.rung.name, f"no rung clears the bar on dev; it came closest. {advice}", False, None)


def _of_one_use(rungs: list[Result]) -> list[Result]:
    """Without the reward models where another rung learned: they stand there to judge, and write nothing."""
    others = [each for each in rungs if not (each.variant and each.variant.head and each.variant.head.kind == "reward")]
    return others if any(each.variant and each.variant.steps for each in others) else rungs


def _cheap(chosen: Result, rungs: list[Result], ladder: Ladder) -> str:
    """What sets it apart from the others that would do."""
    if len(rungs) == 1:
        return "the only one that does"
    served = words.count(ladder.bar.volume, "answer")
    if total(chosen, ladder) <= min(total(each, ladder) for each in rungs):
        return f"the cheapest of {len(rungs)} that do, with {served} to give"
    return f"the one of {len(rungs)} that takes the least to climb, for timing cannot tell which is cheapest with {served} to give"


def confirmed(chosen: Pick, ladder: Ladder) -> bool | None:
    """Whether test agrees: the value there reaches the bar. None without a bar, a cleared pick or test rows."""
    result = next(each for each in ladder.results if each.rung.name == chosen.rung)
    score = score_of(result.test, ladder)
    if score is None or ladder.bar.at_least is None or not chosen.cleared:
        return None
    return reaches(score, ladder)


def reaches(score: Score, ladder: Ladder) -> bool:
    """Whether a score lies on the bar's right side, whatever its doubt."""
    assert ladder.bar.at_least is not None
    return score.value >= ladder.bar.at_least if rising(metric_of(ladder)) else score.value <= ladder.bar.at_least


def cleared(result: Result, ladder: Ladder) -> bool:
    """Whether a rung's score on dev clears the bar."""
    score = score_of(result.dev, ladder)
    return score is not None and clears(score, ladder)


def _remembers(result: Result, ladder: Ladder) -> bool:
    most, lost = ladder.bar.forget_at_most, forgetting(result)
    return most is None or lost is None or lost <= most


def _would_help(best: Result, rungs: list[Result], within: list[Result], ladder: Ladder) -> str:
    score = score_of(best.dev, ladder)
    wanted = ladder.bar.at_least
    assert score is not None
    assert wanted is not None
    up = rising(metric_of(ladder))
    if not within:
        return f"Every rung forgets more than the bar allows: {_GENTLER}"
    if reaches(score, ladder):
        gap = abs(score.value - wanted)
        width = abs(score.value - (score.low if up else score.high))
        rows = int(score.count * (width / max(gap, width / 10)) ** 2)
        said = f"about {rows:,} dev rows, where there are {score.count:,}, would settle it."
        return f"Its dev value of {words.figure(score.value)} reaches the bar, the interval ({words.span(score)}) does not: {said}"
    if any(cleared(result, ladder) for result in rungs):
        return "A rung that would clear it forgets more than the bar allows: lower its learning rate, or raise `bar: forgetting`."
    curve = [tick.decisive for tick in best.curve if tick.decisive is not None]
    if curve and min(curve) == curve[-1]:
        return "Its dev loss was still falling when it ended: more epochs would help, then more rows or a larger base."
    return "More rows or a larger base would help most."
