"""Labelers who stand out are named with the evidence, and those who do not are left in peace."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tuneladder.evaluate.intervals import wilson
from tuneladder.feedback.accord import others, share
from tuneladder.feedback.labelers import First, Labeler, labelers, standing_out
from tuneladder.feedback.slips import slips
from tuneladder.feedback.table import seconds_of, table_of
from tuneladder.feedback.under import by_rubric
from tuneladder.types import Judgement

HONEST = ("ann", "ben", "cho", "dee")
Say = Callable[[int, str], str]


def words(odd: Say, *, items: int = 60, seed: int = 0) -> list[Judgement]:
    """Four who say what is right nine times in ten, and one, `odd`, by a rule of item and right value; one item a minute."""
    draw = np.random.default_rng(seed)
    said = []
    for n in range(items):
        right = "xyz"[draw.integers(3)]
        for who in HONEST:
            value = right if draw.random() < 0.9 else "xyz"[draw.integers(3)]
            said.append(Judgement(f"i{n}", who, "", value, str(60 * n)))
        said.append(Judgement(f"i{n}", "odd", "", odd(n, right), str(60 * n)))
    return said


def scores(odd: Callable[[int, float], float], *, items: int = 60) -> list[Judgement]:
    draw = np.random.default_rng(0)
    said = []
    for n in range(items):
        worth = float(draw.integers(1, 8))
        said += [Judgement(f"i{n}", who, "", worth + float(draw.integers(-1, 2)), str(60 * n)) for who in HONEST]
        said.append(Judgement(f"i{n}", "odd", "", odd(n, worth), str(60 * n)))
    return said


def found(said: list[Judgement], gold: dict[str, str] | None = None, firsts: dict[str, First] | None = None) -> dict[str, Labeler]:
    table = table_of(said)
    heard = others(table, scored=table.number is not None)
    return {each.name: each for each in labelers(table, heard, gold or {}, firsts or {})}


def kinds(labeler: Labeler) -> set[str]:
    return {each.kind for each in labeler.findings}


def alone(by_name: dict[str, Labeler]) -> Labeler:
    """The odd one, where nobody else was named."""
    assert {name for name, each in by_name.items() if each.findings} == {"odd"}
    return by_name["odd"]


def test_honest_labelers_are_not_named() -> None:
    by_name = found(words(lambda n, right: right))
    assert [name for name, each in by_name.items() if each.findings] == []
    assert all(each.accord.value > 0.7 for each in by_name.values() if each.accord)
    assert standing_out(list(by_name.values())) == ()


def test_who_always_answers_one_thing_is_named_for_that_alone() -> None:
    odd = alone(found(words(lambda n, right: "x")))
    assert (odd.always, odd.out, kinds(odd)) == ("x", True, {"always"})
    assert odd.accord is None or abs(odd.accord.value) < 0.1
    (finding,) = odd.findings
    assert finding.said.startswith("always answers 'x': all 60 judgements, where ")


def test_always_one_thing_is_no_finding_where_the_others_say_it_too() -> None:
    said = [Judgement(f"i{n}", who, "", "x" if n % 20 else "y", "") for n in range(40) for who in HONEST]
    said += [Judgement(f"i{n}", "odd", "", "x", "") for n in range(1, 13)]
    assert found(said)["odd"].findings == ()
    few = [Judgement(f"i{n}", who, "", "xy"[n % 2], "") for n in range(3) for who in HONEST]
    few += [Judgement(f"i{n}", "odd", "", "x", "") for n in range(3)]
    assert found(few)["odd"].always == ""  # three judgements are no habit


def test_who_guesses_tells_little_and_of_few_judgements_may() -> None:
    draw = np.random.default_rng(1)
    odd = alone(found(words(lambda n, right: "xyz"[draw.integers(3)], items=200)))
    assert kinds(odd) == {"chance"}
    assert odd.out
    assert odd.findings[0].said.startswith("tells little: agrees with the others by ")
    few = alone(found(words(lambda n, right: right if n in (0, 3, 5, 8, 10) else "yzx"["xyz".index(right)], items=12)))
    assert few.findings[0].said.startswith("may tell little")
    assert found(words(lambda n, right: "yzx"["xyz".index(right)], items=9))["odd"].findings == ()  # nine are too few to say


def test_a_bias_is_named_with_its_counts_and_is_no_reason_to_drop_the_labeler() -> None:
    odd = alone(found(words(lambda n, right: "x" if right == "y" and n % 2 else right, items=120)))
    assert kinds(odd) == {"bias"}
    assert not odd.out
    assert odd.findings[0].said.startswith("says 'x' where the others do not ")
    assert odd.findings[0].p is not None
    assert odd.findings[0].p < 0.05


def ranked(items: int, answers: str, *, seed: int, noise: float = 0.7, odd: str = "") -> list[Judgement]:
    """Rankings by three who see the same worth with noise of their own, and by one who ranks all alike or by chance."""
    draw = np.random.default_rng(seed)
    said = []
    for n in range(items):
        worth = draw.normal(size=len(answers))
        for who in ("ann", "ben", "cho"):
            own = np.argsort(-(worth + noise * draw.normal(size=len(answers))))
            said.append(Judgement(f"i{n}", who, "", [answers[k] for k in own], str(60 * n)))
        if odd:
            value = [list(answers)] if odd == "ties" else list(draw.permutation(list(answers)))
            said.append(Judgement(f"i{n}", "odd", "", value, str(60 * n)))
    return said


def of_rankings(said: list[Judgement], gold: dict[str, str] | None = None) -> dict[str, Labeler]:
    (under,) = by_rubric(said)
    return {each.name: each for each in labelers(under.table, others(under.table, scored=False), gold or {}, {})}


def test_pairs_of_one_ranking_are_no_judgements_of_their_own() -> None:
    # ten pairs each, of a single item, by which nobody is called anything
    by_name = of_rankings(
        [Judgement("i0", who, "", list(order), "") for who, order in (("a", "pqrst"), ("b", "pqrst"), ("c", "tsrqp"))]
    )
    assert all((each.count, each.findings) == (1, ()) for each in by_name.values())
    # 40 pairs each of four items, by honest labelers who differ as such do
    for seed in range(10):
        assert not any(each.findings for each in of_rankings(ranked(4, "pqrst", seed=seed, noise=1.2)).values())
    many = of_rankings(ranked(40, "pqrst", seed=0))["ann"].accord
    assert many is not None
    assert many.count == 40


def test_who_ranks_by_chance_or_ties_all_is_still_named() -> None:
    assert {"chance"} <= kinds(of_rankings(ranked(60, "pqr", seed=0, odd="chance"))["odd"])
    assert {"always"} == kinds(of_rankings(ranked(12, "pqr", seed=0, odd="ties"))["odd"])
    assert of_rankings(ranked(3, "pqr", seed=0, odd="ties"))["odd"].findings == ()


def test_a_ranking_asked_again_is_one_repeat() -> None:
    said = ranked(20, "pqr", seed=0)
    own = {each.item: each.value for each in said if each.labeler == "ann"}
    turned = [Judgement(f"i{n}", "ann", "", own[f"i{n}"][::-1], "99999") for n in range(4)]
    ann = of_rankings([*said, *turned[:1]])["ann"]
    assert (ann.repeats, ann.same, ann.findings) == (1, 0, ())
    ann = of_rankings([*said, *turned])["ann"]
    assert (ann.repeats, ann.same) == (4, 0)
    assert [each.said for each in ann.findings] == ["judged 4 of 4 items otherwise when asked again"]
    first, second, third = own["i0"]
    near = Judgement("i0", "ann", "", [second, first, third], "99999")  # two of three pairs as before
    assert of_rankings([*said, near])["ann"].same == 1


def test_hits_of_one_source_count_as_their_sums_vary() -> None:
    hits = np.tile([1.0, 0.0], 20)
    plain = share(hits, np.arange(40))
    assert (plain.value, plain.low, plain.high, plain.count) == (0.5, *wilson(20, 40), 40)
    alike = share(np.repeat(hits, 5), np.repeat(np.arange(40), 5))  # five times the same is said once
    assert (alike.low, alike.high) == pytest.approx((plain.low, plain.high), abs=0.01)
    apart = share(np.random.default_rng(0).permutation(np.repeat(hits, 5)), np.repeat(np.arange(40), 5))
    assert apart.high - apart.low == pytest.approx(np.subtract(*wilson(100, 200)[::-1]), abs=0.03)
    assert share(np.ones(30), np.repeat([0, 1, 2], 10)).low == wilson(3, 3)[0]


def test_severity_is_how_far_scores_lie_off_those_of_the_same_items() -> None:
    by_name = found(scores(lambda n, worth: worth - 2 + n % 2 * 0.5))
    odd = by_name["odd"]
    assert kinds(odd) == {"severity"}
    assert odd.severity is not None
    assert odd.severity.value == pytest.approx(-1.75, abs=0.15)
    two = [Judgement(f"i{n}", who, "", float(n % 5 + (who == "a")), "") for n in range(40) for who in ("a", "b")]
    severe = found(two)["a"]
    assert severe.severity is not None
    assert severe.severity.value == pytest.approx(1.0)
    assert severe.findings[0].said == "scores 1.00 above the others on the same items (40 judgements)"
    assert odd.severity.low < odd.severity.value < odd.severity.high < 0
    assert "below the others on the same items (60 judgements)" in odd.findings[0].said
    # certain, and too small to matter
    assert found(scores(lambda n, worth: worth - 0.3))["odd"].findings == ()


def test_drift_is_named_of_words_that_agree_less_and_of_scores_that_move() -> None:
    draw = np.random.default_rng(0)
    odd = alone(found(words(lambda n, right: right if n < 60 else "xyz"[draw.integers(3)], items=120)))
    assert kinds(odd) == {"drift"}
    assert odd.findings[0].said.startswith("agrees with the others by 1.00 in the first half of 120 judgements and 0.")
    assert "drift" not in kinds(found(words(lambda n, right: right if n >= 60 else "xyz"[n % 3], items=120))["odd"])  # learned it
    moved = found(scores(lambda n, worth: worth - 1.5 + n / 20))["odd"]
    assert "drift" in kinds(moved)
    assert "lies off the others by -" in next(each.said for each in moved.findings if each.kind == "drift")
    timeless = [Judgement(each.item, each.labeler, "", each.value, "") for each in scores(lambda n, worth: worth - 1.5 + n / 20)]
    assert "drift" not in kinds(found(timeless)["odd"])


def test_hidden_repeats_judged_otherwise_are_counted() -> None:
    said = words(lambda n, right: right)
    again = {
        f"i{n}": "xyz"[("xyz".index(each.value) + 1) % 3]
        for n in range(4)
        for each in said
        if each.item == f"i{n}" and each.labeler == "odd"
    }
    said += [Judgement(item, "odd", "", value, "99999") for item, value in again.items()]
    said += [Judgement(each.item, "ann", "", each.value, "99999") for each in said if each.labeler == "ann" and each.item in again]
    by_name = found(said)
    odd = alone(by_name)
    assert (odd.repeats, odd.same, kinds(odd), odd.out) == (4, 0, {"repeats"}, False)
    assert odd.findings[0].said == "judged 4 of 4 items otherwise when asked again"
    assert (by_name["ann"].repeats, by_name["ann"].same) == (4, 4)
    assert by_name["odd"].count == 60  # the first judgement is the one that counts


def test_who_is_only_severe_tells_as_much_as_the_others() -> None:
    odd = found(scores(lambda n, worth: worth - 10 + n % 2 * 0.5))["odd"]
    assert (kinds(odd), odd.out) == ({"severity"}, False)
    assert odd.accord is not None
    assert odd.accord.value > 0.9
    draw = np.random.default_rng(1)
    guesser = found(scores(lambda n, worth: float(draw.integers(1, 8)) - 10, items=200))["odd"]
    assert {"severity", "chance"} <= kinds(guesser)


def test_who_takes_the_first_shown_is_named_and_honest_luck_is_not() -> None:
    firsts = {"ann": First(24, 40, 20.0), "ben": First(18, 40, 20.0), "odd": First(38, 40, 20.0)}
    odd = alone(found(words(lambda n, right: right), firsts=firsts))
    assert (odd.first, kinds(odd), odd.out) == (firsts["odd"], {"first"}, False)
    assert odd.findings[0].said == "took the answer that was shown first 38 of 40 times, where chance takes it 20 times"


def asked_again(said: list[Judgement], moves: dict[str, float], items: int = 10) -> list[Judgement]:
    """The first items asked once more of some, who each give so much more than before."""
    own = {(each.item, each.labeler): each.value for each in said}
    return [Judgement(f"i{n}", who, "", own[f"i{n}", who] + move, "99999") for n in range(items) for who, move in moves.items()]


def test_scores_that_move_when_asked_again_are_named_beside_how_far_others_move() -> None:
    said = scores(lambda n, worth: worth + n % 2)
    by_name = found([*said, *asked_again(said, {"ann": 1.0, "ben": -1.0, "cho": 1.0, "odd": 1.0})])
    assert [name for name, each in by_name.items() if "repeats" in kinds(each)] == []  # nobody says the very same
    assert (by_name["odd"].repeats, by_name["odd"].same, by_name["odd"].moved) == (10, 0, 1.0)
    by_name = found([*said, *asked_again(said, {"ann": 1.0, "ben": -1.0, "cho": 1.0, "odd": -4.0})])
    assert [name for name, each in by_name.items() if "repeats" in kinds(each)] == ["odd"]
    (finding,) = (each for each in by_name["odd"].findings if each.kind == "repeats")
    assert finding.said.startswith("moves by 4 when asked again (10 items), the others by 1; scores spread by 2.")
    assert not by_name["odd"].out


def test_by_gold_where_it_is_known() -> None:
    said = words(lambda n, right: right)
    right = {each.item: each.value for each in said if each.labeler == "odd"}
    by_name = found(said, {item: right[item] for item in list(right)[:20]})
    assert by_name["odd"].right is not None
    assert (by_name["odd"].right.value, by_name["odd"].right.count) == (1.0, 20)
    assert found(said)["odd"].right is None


def test_single_slips_are_named_and_those_of_guessers_are_not() -> None:
    said = words(lambda n, right: right if n != 7 else "yzx"["xyz".index(right)])
    table = table_of(said)
    heard = others(table, scored=False)
    own = [each for each in slips(table, heard) if each.labeler == "odd"]
    assert [each.item for each in own] == ["i7"]
    assert "likely right" in own[0].said
    assert [each for each in slips(table, heard, ["odd"]) if each.labeler == "odd"] == []
    assert slips(table, heard)[0].said.startswith("said '")


def test_a_score_far_off_is_a_slip() -> None:
    said = scores(lambda n, worth: worth if n != 7 else worth + 9)
    table = table_of(said)
    found_ = slips(table, others(table, scored=True))
    assert (found_[0].item, found_[0].labeler) == ("i7", "odd")
    assert "from their mean" in found_[0].said


def test_times_are_read_as_dates_or_seconds() -> None:
    assert seconds_of("1970-01-01T00:01:00") == 60 == seconds_of("60")
    assert seconds_of("1970-01-01T01:01:00+01:00") == 60
    assert np.isnan(seconds_of(""))
