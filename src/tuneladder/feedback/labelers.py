"""What each labeler is like, by their judgements and the others' of the same items; who stands out is named with the evidence.

A ranking is measured on its pairs, and is one judgement: all that is counted here is counted by what was judged at once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from tuneladder.evaluate.intervals import Array, Z, holm, mcnemar
from tuneladder.feedback.accord import Others, accord, share
from tuneladder.feedback.calibration import share_right
from tuneladder.feedback.table import Repeat, Table, Whole
from tuneladder.types import Score

Kind = Literal["always", "chance", "severity", "bias", "first", "repeats", "drift"]

LITTLE = 0.2  # agreement beyond chance that is slight at best (Landis and Koch 1977): such judgements tell little
FAIR = 0.4  # where theirs is no longer fair, but moderate
FEW = 4  # judgements without which nobody always does anything
ENOUGH = 10  # judgements without which nobody is called such
LONG = 20  # judgements in which a drift can be seen
AGAIN = 3  # items judged again without which nobody is said to waver
WIDE = 2.0  # times as far as the others' scores move when they are asked again
SMALL = 0.2  # of the scores' spread: a severity below it, certain or not, changes nothing (Cohen's small effect)
DOUBT = 0.05  # of all findings of a kind together, by Holm


@dataclass(frozen=True)
class Finding:
    """What stands out, in words; `p` that chance alone would do it, corrected for all that were looked at."""

    kind: Kind
    said: str
    p: float | None = None


@dataclass(frozen=True)
class First:
    """How often a labeler took the answer that they were shown first: `taken` of `count` times, where `expected` are chance's."""

    taken: int
    count: int
    expected: float


@dataclass(frozen=True)
class Labeler:
    """`accord`: agreement with the others beyond chance; `right`: the share that is right by gold; `severity` of scores, how far
    above the others; `same` of `repeats` items were judged alike again, rankings in most of their pairs, and scores `moved` by so
    much in the mean; `always` is the one value of somebody who has no other, and `theirs` the share that it has with the others of
    the same items; `first` is None where the order of answers is not known."""

    name: str
    count: int
    accord: Score | None
    right: Score | None = None
    severity: Score | None = None
    repeats: int = 0
    same: int = 0
    moved: float | None = None
    always: str = ""
    theirs: float = 1.0
    first: First | None = None
    findings: tuple[Finding, ...] = ()

    @property
    def out(self) -> bool:
        """Whether the judgements themselves are in doubt, and not only how severe they are."""
        return any(each.kind in ("always", "chance") for each in self.findings)


@dataclass(frozen=True)
class _Suspect:
    """Something seen, to be named if it is still unlikely when all of its kind are counted."""

    labeler: int
    kind: Kind
    p: float
    said: str


def labelers(
    table: Table, heard: Others, gold: Mapping[str, Any], firsts: Mapping[str, First], unnamed: Collection[str] = ()
) -> tuple[Labeler, ...]:
    """All labelers but the `unnamed` in the order in which they appear. `gold` are the right values of items that have one,
    `firsts` by name."""
    known = [own for own, name in enumerate(table.labelers) if name not in unnamed]
    again = table.again()
    facts = {own: _facts(table, heard, gold, firsts, again.get(table.labelers[own], ()), own) for own in known}
    named = {own: list(_plain(fact)) for own, fact in facts.items()}
    looked = (
        _severe(table, heard, facts),
        _biased(table, heard, facts),
        _taking_the_first(facts),
        _wavering(table, heard, facts, again),
        _drifting(table, heard, facts),
    )
    for suspects in looked:
        for each, p in zip(suspects, holm([suspect.p for suspect in suspects])):
            # whoever always says one thing is named for that, and not for all that follows from it
            if p < DOUBT and each.said and not facts[each.labeler].always:
                named[each.labeler].append(Finding(each.kind, each.said, p))
    return tuple(replace(fact, findings=tuple(named[own])) for own, fact in facts.items())


def _facts(
    table: Table, heard: Others, gold: Mapping[str, Any], firsts: Mapping[str, First], again: Sequence[Sequence[Repeat]], own: int
) -> Labeler:
    at, name = table.by(own), table.labelers[own]
    count = len(np.unique(table.source[table.item[at]]))
    known = [n for n in at if table.items[table.item[n]] in gold]
    right = None
    if known:
        hits = np.array([share_right(table.values[table.value[n]], gold[table.items[table.item[n]]]) for n in known])
        right = share(hits, table.source[table.item[known]])
    severity: Score | None = None
    moved: float | None = None
    if heard.means is not None:
        value, half = float(heard.means.above[own]), Z * float(heard.means.doubt[own])
        severity = Score(value, value - half, value + half, count, "normal")
        moved = float(np.mean(_moves(again))) if again else None
    theirs = _theirs(table, at) if len(set(table.value[at])) == 1 else 1.0
    # had each of the others' been one draw, nobody honest would have drawn the same so often
    always = table.values[table.value[at[0]]] if theirs**count < DOUBT and count >= FEW else ""
    same = sum(2 * sum(each.first == each.again for each in pairs) > len(pairs) for pairs in again)
    agreed, first = accord(table, heard, own), firsts.get(name)
    return Labeler(name, count, agreed, right, severity, len(again), same, moved, always, theirs, first)


def _moves(again: Iterable[Sequence[Repeat]]) -> list[float]:
    """How far the scores of items lie apart that were judged again."""
    return [float(np.mean([abs(float(each.again) - float(each.first)) for each in own])) for own in again]


def _theirs(table: Table, at: Whole) -> float:
    """The share of the others' judgements of these items that is the value which the labeler said of all."""
    counts = table.counts[table.item[at]]
    whole = counts.sum() - len(at)
    return float((counts[:, table.value[at[0]]].sum() - len(at)) / whole) if whole else 1.0


def _plain(fact: Labeler) -> Iterable[Finding]:
    """What needs no correction: it is a description, with the interval or count beside it."""
    if fact.always:
        theirs = f"{100 * fact.theirs:.0f} % of what the others say of the same items is that"
        yield Finding("always", f"always answers '{fact.always}': all {fact.count:,} judgements, where {theirs}")
    elif fact.accord and fact.accord.value < LITTLE and fact.count >= ENOUGH:
        own = fact.accord
        # of few judgements the interval is wide, and may reach what is no longer little
        tells = "tells little" if own.high < FAIR else "may tell little"
        interval = f"{own.value:.2f} ({own.low:.2f} to {own.high:.2f})"
        yield Finding("chance", f"{tells}: agrees with the others by {interval} beyond chance, {own.count:,} judgements")
    if fact.moved is None and fact.repeats >= AGAIN and fact.same < fact.repeats / 2:
        yield Finding("repeats", f"judged {fact.repeats - fact.same} of {fact.repeats} items otherwise when asked again")


def _severe(table: Table, heard: Others, facts: Iterable[int]) -> list[_Suspect]:
    if heard.means is None:
        return []
    from scipy import stats

    found, spread = [], float(table.said.std())
    for own in facts:
        value, doubt, count = float(heard.means.above[own]), float(heard.means.doubt[own]), len(table.by(own))
        p = float(2 * stats.t.sf(abs(value) / max(doubt, 1e-12), max(1, count - 1)))
        way = "above" if value > 0 else "below"
        said = f"scores {abs(value):.2f} {way} the others on the same items ({count:,} judgements)"
        found.append(_Suspect(own, "severity", p, said if abs(value) >= SMALL * spread else ""))
    return found


def _biased(table: Table, heard: Others, facts: Mapping[int, Labeler]) -> list[_Suspect]:
    """Values that a labeler says where the others do not more often than the other way round, by McNemar's test; the pairs of
    one ranking count together as one."""
    if heard.right is None:
        return []
    found = []
    for own, fact in facts.items():
        at = table.by(own)
        worth = fact.count / len(at)
        for k, value in enumerate(table.values):
            mine, theirs = table.value[at] == k, heard.right[at, k]
            more, fewer = float((mine * (1 - theirs)).sum()), float((~mine * theirs).sum())
            said = f"says '{value}' where the others do not {more:,.0f} times, and the other way round {fewer:,.0f} times"
            p = mcnemar(round(more * worth), round(fewer * worth))
            found.append(_Suspect(own, "bias", p, said if round(more) > round(fewer) else ""))
    return found


def _taking_the_first(facts: Mapping[int, Labeler]) -> list[_Suspect]:
    """The answer that is shown first, taken more often than an order at random gives it."""
    from scipy import stats

    found = []
    for own, fact in facts.items():
        if fact.first is not None:
            taken, count, expected = fact.first.taken, fact.first.count, fact.first.expected
            p = float(stats.binomtest(taken, count, expected / count, alternative="greater").pvalue)
            said = f"took the answer that was shown first {taken:,} of {count:,} times, where chance takes it {expected:,.0f} times"
            found.append(_Suspect(own, "first", p, said))
    return found


def _wavering(
    table: Table, heard: Others, facts: Mapping[int, Labeler], again: Mapping[str, Sequence[Sequence[Repeat]]]
) -> list[_Suspect]:
    """Scores that move far more than the others' when an item is judged again: some moving is what scores do."""
    if heard.means is None:
        return []
    from scipy import stats

    found, moves = [], {name: _moves(own) for name, own in again.items()}
    for own, fact in facts.items():
        mine = moves.get(fact.name, [])
        theirs = [move for name, their in moves.items() if name != fact.name for move in their]
        if len(mine) < AGAIN or len(theirs) < AGAIN:
            continue
        p = float(stats.mannwhitneyu(mine, theirs, alternative="greater").pvalue)
        moved, usual, spread = float(np.mean(mine)), float(np.mean(theirs)), float(table.said.std())
        said = (
            f"moves by {moved:.2g} when asked again ({len(mine)} items), the others by {usual:.2g}; scores spread by {spread:.2g}"
        )
        found.append(_Suspect(own, "repeats", p, said if moved > max(WIDE * usual, SMALL * spread) else ""))
    return found


def _drifting(table: Table, heard: Others, facts: Iterable[int]) -> list[_Suspect]:
    """Agreement that falls, and scores that rise or fall, with the order in time."""
    found = []
    for own in facts:
        at = table.by(own)
        if len(at) < LONG or np.isnan(table.at[at]).any():
            continue
        at = at[np.argsort(table.at[at], kind="stable")]
        if heard.right is not None:
            agreed = _by_source(heard.right[at, table.value[at]], table.source[table.item[at]])
            found += _trend(own, "agrees with the others by", agreed, only_falls=True)
        elif heard.mean is not None:
            at = at[~np.isnan(heard.mean[at])]
            found += _trend(own, "lies off the others by", table.said[at] - heard.mean[at], only_falls=False)
    return found


def _by_source(series: Array, source: Whole) -> Array:
    """The means of those of one number, in the order in which they come first."""
    _, first, at = np.unique(source, return_index=True, return_inverse=True)
    return np.asarray((np.bincount(at, series) / np.bincount(at))[np.argsort(first)])


def _trend(own: int, what: str, series: Array, *, only_falls: bool) -> list[_Suspect]:
    from scipy import stats

    if len(series) < LONG or np.ptp(series) < 1e-9:
        return []
    r, p = stats.pearsonr(np.arange(len(series)), series)
    early, late = (float(part.mean()) for part in np.array_split(series, 2))
    sign = "" if only_falls else "+"
    said = f"{what} {early:{sign}.2f} in the first half of {len(series):,} judgements and {late:{sign}.2f} in the second"
    return [_Suspect(own, "drift", float(p), "" if only_falls and r > 0 else said)]


def standing_out(found: Sequence[Labeler]) -> tuple[str, ...]:
    """The names of those whose judgements are in doubt."""
    return tuple(each.name for each in found if each.out)
