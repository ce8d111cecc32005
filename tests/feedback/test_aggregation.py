"""What many judgements come to: of people who are drawn with known errors, and of those of Snow et al. 2008."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tuneladder.errors import BadInput
from tuneladder.feedback.aggregate import majority, means
from tuneladder.feedback.agreement import agreement
from tuneladder.feedback.bradley_terry import bradley_terry
from tuneladder.feedback.dawid_skene import dawid_skene, without
from tuneladder.feedback.judgements import read_judgements
from tuneladder.feedback.table import Table, table_of
from tuneladder.feedback.under import by_rubric
from tuneladder.types import Judgement

# Dawid and Skene 1979, table 1: 45 patients' fitness by five anaesthetists, of whom the first looked three times
PATIENTS = (
    "1111111 3334334 1122122 2223121 2223222 2223322 1222111 3333433 2222223 2322223 4444444 2223343 1111111 2223212 1211111 "
    "1112111 1111111 1111111 2222221 2221322 2222222 2222221 2223222 2212222 1111111 1111111 2322222 1111111 1111111 1121121 "
    "1111111 3333233 1111111 2222222 2223232 4334343 2212232 2323233 3333432 1111111 1111111 1212111 2322222 1211111 2222222"
)
SKILLS = (0.9, 0.85, 0.8, 0.6, 1 / 3)


def drawn(items: int, skills: tuple[float, ...] = SKILLS, seed: int = 0) -> tuple[list[Judgement], list[str]]:
    """Labelers who are right so often and else say another of three letters, and what is right."""
    draw = np.random.default_rng(seed)
    right = draw.integers(0, 3, items)
    said = [
        Judgement(f"i{n}", f"w{who}", "", "abc"[k if draw.random() < skill else (k + draw.integers(1, 3)) % 3], "")
        for n, k in enumerate(right)
        for who, skill in enumerate(skills)
    ]
    return said, ["abc"[k] for k in right]


def test_majority_names_what_is_tied() -> None:
    said = [("1", "xxy"), ("2", "xy"), ("3", "yy")]
    found = majority(table_of([Judgement(item, str(who), "", v, "") for item, values in said for who, v in enumerate(values)]))
    assert found.value == ("x", "x", "y")
    assert found.tied == ("2",)
    assert found.share.tolist() == [pytest.approx(2 / 3), 0.5, 1.0]


def test_dawid_and_skene_recover_who_errs_and_beat_the_majority() -> None:
    said, right = drawn(600)
    table = table_of(said)
    fit = dawid_skene(table)
    share = np.mean([table.values[k] == own for k, own in zip(fit.value, right, strict=True)])
    votes = np.mean([value == own for value, own in zip(majority(table).value, right, strict=True)])
    assert share > votes
    for who, skill in enumerate(SKILLS):
        assert np.diag(fit.taken[who]).mean() == pytest.approx(skill, abs=0.06)
    assert fit.right.sum(1) == pytest.approx(np.ones(600))
    assert fit.taken.sum(2) == pytest.approx(np.ones((5, 3)))


@pytest.mark.parametrize("prior", [0.0, 0.5])
def test_the_likelihood_never_falls_and_the_prior_holds_the_little_seen_back(prior: float) -> None:
    said, _ = drawn(60, seed=3)
    said.append(Judgement("i0", "once", "", "a", ""))
    table = table_of(said)
    fit = dawid_skene(table, prior=prior)
    assert min(np.diff(fit.likelihood)) > -1e-6
    own = fit.taken[table.labelers.index("once")]
    assert (own.max() > 0.99) == (prior == 0)
    assert len(dawid_skene(table, prior=prior, rounds=2).likelihood) == 2


def test_dawid_and_skene_find_what_they_published_of_the_anaesthetists() -> None:
    said = np.array([[int(value) - 1 for value in patient] for patient in PATIENTS.split()])
    who = np.tile([0, 0, 0, 1, 2, 3, 4], len(said))  # the first looked three times
    unknown = np.full(said.size, np.nan)
    item = np.repeat(np.arange(len(said)), 7)
    table = Table(tuple(map(str, range(1, 46))), tuple("12345"), tuple("1234"), item, who, said.ravel(), None, unknown)
    fit = dawid_skene(table, prior=0)
    assert fit.share == pytest.approx([0.40, 0.42, 0.11, 0.07], abs=0.005)
    first = [[0.89, 0.11, 0, 0], [0.07, 0.88, 0.05, 0], [0, 0.34, 0.66, 0], [0, 0, 0.56, 0.44]]
    assert fit.taken[0] == pytest.approx(np.array(first), abs=0.005)


def test_two_labels_an_item_are_worth_what_their_majority_is(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(0)
    skill, right = draw.uniform(0.5, 1.0, 80), draw.integers(0, 2, 400)
    said = [
        Judgement(f"i{n}", f"w{who}", "", "ab"[right[n] if draw.random() < skill[who] else 1 - right[n]], "")
        for n in range(400)
        for who in draw.choice(80, 2, replace=False)
    ]
    table = table_of(said)
    truth = np.array(["ab"[k] for k in right])

    def share(value: Sequence[str]) -> float:
        return float((np.array(value) == truth).mean())

    def modelled() -> float:
        return share([table.values[k] for k in dawid_skene(table).value])

    assert modelled() > share(majority(table).value)
    monkeypatch.setattr("tuneladder.feedback.dawid_skene.TRUST", 0)
    assert modelled() < share(majority(table).value)


def test_what_the_others_say_leaves_ones_own_judgement_out() -> None:
    said = [Judgement("1", who, "", "a" if who == "x" else "b", "") for who in "xyz"]
    said += [Judgement(str(n), who, "", "ab"[n % 2], "") for n in range(2, 22) for who in "xyz"]
    table = table_of(said)
    fit = dawid_skene(table)
    own = without(table, fit)[0]  # x on item 1
    assert own[table.values.index("a")] < fit.right[0, table.values.index("a")]
    assert own.sum() == pytest.approx(1)


def test_severity_is_told_from_what_was_judged() -> None:
    draw = np.random.default_rng(0)
    worth, severity = draw.normal(0, 2, 80), np.array([-1.0, 0.0, 1.0, 0.0])
    said = [
        Judgement(str(n), f"w{who}", "", float(worth[n] + severity[who] + draw.normal(0, 0.3)), "")
        for n in range(80)
        for who in range(4)
        # the severe one judges the better half alone: a plain mean takes it for mild
        if who != 0 or worth[n] > np.median(worth)
    ]
    table = table_of(said)
    fit = means(table)
    found = dict(zip(table.labelers, fit.severity, strict=True))
    assert found["w0"] - found["w1"] == pytest.approx(-1, abs=0.2)
    assert found["w2"] - found["w1"] == pytest.approx(1, abs=0.2)
    truth = worth[[int(item) for item in table.items]]
    errors = [np.std(own - truth) for own in (fit.mean, fit.adjusted)]
    assert errors[1] < errors[0] / 1.5
    assert (fit.doubt > 0).all()


def test_bradley_terry_finds_the_strengths_and_their_doubt() -> None:
    draw = np.random.default_rng(0)
    log, tie = np.array([1.0, 0.3, -0.2, -1.1]), 0.6
    strength = np.exp(log)
    wins, ties = np.zeros((4, 4)), np.zeros((4, 4))
    for i in range(4):
        for j in range(i):
            shares = np.array([strength[i], strength[j], tie * np.sqrt(strength[i] * strength[j])])
            won, lost, drawn_ = draw.multinomial(3000, shares / shares.sum())
            wins[i, j], wins[j, i] = won, lost
            ties[i, j] = ties[j, i] = drawn_
    fit = bradley_terry(wins, ties, prior=0.0)
    assert fit.log == pytest.approx(log - log.mean(), abs=0.08)
    assert fit.tie == pytest.approx(tie, abs=0.05)
    assert min(np.diff(fit.likelihood)) > -1e-9
    assert (fit.low < log).all()
    assert (log < fit.high).all()
    assert (fit.high - fit.low < 0.2).all()


def test_bradley_terry_is_the_maximum_that_scipy_finds() -> None:
    from scipy.optimize import minimize

    draw = np.random.default_rng(2)
    wins = draw.integers(0, 12, (5, 5)).astype(np.float64)
    ties = np.triu(draw.integers(0, 5, (5, 5)), 1).astype(np.float64)
    ties += ties.T
    np.fill_diagonal(wins, 0)

    def loss(log: np.ndarray) -> float:
        """Davidson's, in the logarithms of four strengths beside the first and of the tie."""
        strength, tie = np.exp([0, *log[:4]]), np.exp(log[4])
        root = np.sqrt(np.outer(strength, strength))
        whole = strength[:, None] + strength + tie * root
        return -float((wins * np.log(strength[:, None] / whole)).sum() + (ties * np.log(tie * root / whole)).sum() / 2)

    best = minimize(loss, np.zeros(5), tol=1e-12)
    fit = bradley_terry(wins, ties, prior=0.0)
    assert fit.log - fit.log[0] == pytest.approx([0, *best.x[:4]], abs=1e-3)
    assert fit.tie == pytest.approx(np.exp(best.x[4]), abs=1e-3)
    assert fit.likelihood[-1] == pytest.approx(-best.fun, abs=1e-6)


def test_of_two_the_strengths_are_the_logarithm_of_the_odds() -> None:
    fit = bradley_terry(np.array([[0.0, 30.0], [10.0, 0.0]]), prior=0.0, names=["a", "b"])
    assert fit.log[0] - fit.log[1] == pytest.approx(np.log(3), abs=1e-5)
    assert fit.tie == 0
    # the interval of each is half that of the difference, whose variance is 1/30 + 1/10
    assert fit.high[0] - fit.log[0] == pytest.approx(1.96 / 2 * np.sqrt(1 / 30 + 1 / 10), rel=1e-3)


def test_who_never_lost_is_refused_without_a_prior_and_bounded_with_one() -> None:
    wins = np.array([[0.0, 3.0, 3.0], [0.0, 0.0, 2.0], [0.0, 1.0, 0.0]])
    with pytest.raises(BadInput, match="nothing else ever beat or tied any of a:"):
        bradley_terry(wins, names="abc", prior=0.0)
    fit = bradley_terry(wins, names="abc")
    assert fit.log[0] == max(fit.log) < 10
    assert bradley_terry(wins, prior=1.0).log[0] < fit.log[0]
    with pytest.raises(BadInput, match="nothing to compare"):
        bradley_terry(np.zeros((3, 3)))


def test_snow_is_aggregated_better_than_by_majority_and_its_guessers_are_found(shared: Path) -> None:
    path = shared / "data" / "preference" / "snow2008_rte_labels.jsonl"
    if not path.is_file():
        pytest.skip(f"no {path}")
    read = read_judgements(str(path), columns={"labeler": "worker", "value": "response"})
    (under,) = by_rubric(read.judgements)
    found = agreement(under, read.gold[""])
    assert (found.judgements, found.items, len(found.labelers)) == (8000, 800, 164)
    assert len(found.tied) == 65
    # ties go to the first label, 0; the other way it is 0.875
    assert found.gold["majority"].value == pytest.approx(0.919, abs=5e-4)
    assert found.gold["Dawid-Skene"].value >= 0.925
    blind = agreement(under, {})
    named = {each.name for each in blind.labelers if each.out}
    bad = {each.name for each in found.labelers if each.right and each.right.value < 0.6}
    assert len(bad & named) / len(bad) >= 0.85
    assert len(bad & named) / len(named) >= 0.5
    # most judgements of guessers are by those who judged much, and none of these is taken for one who is not
    much = {each.name for each in found.labelers if each.count >= 100}
    assert bad & much == named & much
