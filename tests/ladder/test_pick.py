"""The cheapest rung that clears the bar: chosen on dev by the doubtful end, confirmed on test."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tuneladder.ladder.pick import confirmed, pick
from tuneladder.ladder.results import money, priced, unpriced
from tuneladder.ladder.verdict import why
from tuneladder.prompt.search import Search
from tuneladder.types import (
    Answer,
    Bar,
    Base,
    Cost,
    Head,
    Ladder,
    Marked,
    Measurement,
    Prompt,
    Result,
    Rung,
    Score,
    Task,
    Tick,
    Variant,
)

BASE = Base("b", "folder", "/b", "decoder", 1, 1, 1, 1, 1, 1)
TASK = Task("t", "classify", metric="accuracy")


def measurement(value, low, *, high=None, forgot=0.0, answer=0.01, metric="accuracy"):
    score = Score(value, low, high if high is not None else min(1.0, 2 * value - low), 100)
    return Measurement({metric: score}, {}, forgot, Cost(), Cost(seconds=answer), "fake")


def rung(name, value, low, *, seconds=1.0, test=None, curve=(), **named):
    """A rung's result; `test` is its value there, by default as on dev."""
    dev = measurement(value, low, **named)
    there = measurement(value if test is None else test, low, forgot=None, metric=named.get("metric", "accuracy"))
    variant = Variant(BASE, Prompt(), stamp=name)
    return Result(Rung(name, "b", ()), variant, Cost(), Cost(seconds=seconds), Cost(seconds=seconds), dev, there, curve=curve)


def ladder(*results, **bar):
    return Ladder(TASK, (BASE,), Bar("accuracy", **bar), tuple(results))


def test_the_lower_bound_must_clear_the_bar():
    made = ladder(rung("zero", 0.86, 0.80), rung("lora", 0.90, 0.86, seconds=100), at_least=0.85, volume=0)
    chosen = pick(made)
    assert chosen.rung == "lora"
    assert chosen.cleared
    assert "the only one" in chosen.why


def test_a_reward_model_is_picked_only_where_nothing_else_learned():
    judge = rung("reward", 0.9, 0.8)
    judge = replace(judge, variant=replace(judge.variant, steps=("reward",), head=Head("reward", ("reward",))))
    policy = rung("dpo", 0.6, 0.55)
    policy = replace(policy, variant=replace(policy.variant, steps=("dpo",)))
    assert pick(ladder(rung("zero", 0.5, 0.45), judge)).rung == "reward"
    assert pick(ladder(rung("zero", 0.5, 0.45), judge, policy)).rung == "dpo"


def test_the_cheapest_of_those_that_clear():
    made = ladder(rung("full", 0.99, 0.97, seconds=500), rung("lora", 0.90, 0.86, seconds=100), at_least=0.85, volume=0)
    assert pick(made).rung == "lora"


def test_cheapest_counts_the_answers_to_come():
    votes = rung("votes", 0.95, 0.9, seconds=0.0, answer=0.4)
    lora = rung("lora", 0.95, 0.9, seconds=100.0, answer=0.01)
    assert pick(ladder(votes, lora, at_least=0.85, volume=100)).rung == "votes"
    assert pick(ladder(votes, lora, at_least=0.85, volume=100_000)).rung == "lora"


def test_alone_counts_and_not_what_sharing_saved():
    shared = rung("lora+few_shot", 0.95, 0.9, seconds=100.0)
    shared = replace(shared, here=Cost(seconds=0.0))
    assert pick(ladder(shared, rung("lora", 0.95, 0.9, seconds=99.0), at_least=0.85)).rung == "lora"


def remote(name, money, *, seconds=0.0):
    """A rung on a priced endpoint that answers in a millisecond."""
    made = rung(name, 0.95, 0.9, seconds=seconds)
    there = replace(made.variant, base=replace(BASE, source="url"))
    return replace(made, variant=there, dev=replace(made.dev, per_answer=Cost(seconds=0.001, money=money)))


def test_money_decides_where_all_is_paid():
    made = ladder(remote("votes", 0.03), remote("one", 0.01, seconds=99.0), at_least=0.85, volume=1000)
    assert priced(made)
    assert pick(made).rung == "one"
    assert pick(replace(made, bar=replace(made.bar, at_least=None))).rung == "one"


def test_what_has_no_price_is_not_free_beside_an_endpoint():
    slow = rung("full", 0.95, 0.9, seconds=200_000.0, answer=2.0)
    both = ladder(remote("remote", 0.00001), slow, at_least=0.85)
    assert unpriced(both)
    assert pick(both).rung == "remote"
    assert "`bar: {hour: ...}`" in " ".join(why(replace(both, pick=pick(both))))
    by_the_hour = replace(both, bar=replace(both.bar, hour=0.36))  # 22 of money for the slow one's 220,000 s
    assert priced(by_the_hour)
    assert money(slow, by_the_hour) == pytest.approx((20.0, 0.0002))
    assert pick(by_the_hour).rung == "remote"
    assert pick(replace(by_the_hour, results=(remote("remote", 0.01), slow))).rung == "full"
    assert not unpriced(by_the_hour)


def test_what_timing_cannot_tell_is_decided_by_what_it_takes_to_climb():
    prompt, full = rung("few_shot", 0.9, 0.86, seconds=0.0, answer=0.057), rung("full", 0.9, 0.86, seconds=12, answer=0.035)
    assert pick(ladder(prompt, full, at_least=0.85)).rung == "few_shot"
    assert "takes" not in pick(ladder(full, at_least=0.85)).why
    assert "timing cannot tell" in pick(ladder(prompt, full, at_least=0.85)).why
    dear = replace(prompt, dev=replace(prompt.dev, per_answer=Cost(seconds=0.2)))
    assert pick(ladder(dear, full, at_least=0.85)).rung == "full"


def test_forgetting_must_stay_within_the_bar():
    full, lora = rung("full", 0.95, 0.9, seconds=1.0, forgot=0.2), rung("lora", 0.95, 0.9, seconds=50.0, forgot=0.01)
    assert pick(ladder(full, lora, at_least=0.85, forget_at_most=0.05)).rung == "lora"
    assert pick(ladder(full, lora, at_least=0.85)).rung == "full"


def test_confirmed_once_on_test():
    made = ladder(rung("lora", 0.9, 0.86, test=0.80), at_least=0.85)
    assert confirmed(pick(made), made) is False
    made = ladder(rung("lora", 0.9, 0.86, test=0.85), at_least=0.85)
    assert confirmed(pick(made), made) is True
    untested = replace(made, results=tuple(replace(each, test=None) for each in made.results))
    assert confirmed(pick(untested), untested) is None


def test_the_pick_never_looks_at_test():
    better = rung("better", 0.90, 0.86, seconds=1.0, test=0.1)
    assert pick(ladder(better, rung("other", 0.90, 0.80, test=1.0), at_least=0.85)).rung == "better"


def test_none_clears_says_what_came_closest_and_what_would_help():
    falling = tuple(Tick(n, 3, 1.0, 1.0, 1, 0.1, dev=1.0 / n) for n in (1, 2, 3))
    risen = (*falling[:2], replace(falling[2], dev=2.0))

    def reason(*results, **bar):
        made = ladder(*results, **{"at_least": 0.9, **bar})
        chosen = pick(made)
        assert not chosen.cleared
        assert confirmed(chosen, made) is None
        return chosen.rung, chosen.why

    name, said = reason(rung("zero", 0.5, 0.4), rung("lora", 0.8, 0.7, curve=falling))
    assert name == "lora"
    assert "more epochs would help" in said
    assert "More rows or a larger base" in reason(rung("zero", 0.5, 0.4), rung("lora", 0.8, 0.7, curve=risen))[1]
    near = reason(rung("lora", 0.95, 0.85, test=0.8))[1]  # what it has on test is no reason
    assert "Its dev value of 0.950 reaches the bar, the interval (0.850 to 1.000) does not: about 400 dev rows" in near
    assert "where there are 100" in near
    name, said = reason(rung("zero", 0.5, 0.4), rung("full", 0.97, 0.93, forgot=0.3), forget_at_most=0.05)
    assert name == "zero"
    assert "forgets more than the bar allows" in said
    assert "Every rung forgets more" in reason(rung("full", 1.0, 1.0, high=1.0, forgot=0.3), at_least=1.0, forget_at_most=0.05)[1]


def test_no_bar_takes_the_cheapest_within_the_doubt_of_the_best():
    zero, lora, full = rung("zero", 0.5, 0.4), rung("lora", 0.88, 0.84, seconds=10), rung("full", 0.9, 0.86, seconds=500)
    assert pick(ladder(zero, lora, full)).rung == "lora"
    assert pick(ladder(zero, full)).rung == "full"
    made = ladder(zero, full)
    assert confirmed(pick(made), made) is None
    forgetful = pick(ladder(rung("full", 0.9, 0.86, forgot=0.3), forget_at_most=0.05))
    assert not forgetful.cleared


def answered(made, right):
    """The rung with a hundred dev answers, of which these are right."""
    rows = tuple(Marked(str(at), "", "yes", Answer("yes" if at in right else "no"), at in right) for at in range(100))
    return replace(made, dev=replace(made.dev, answers=rows))


def test_the_doubt_of_the_best_is_that_of_the_rows_both_answered():
    best = answered(rung("full", 0.8, 0.71, seconds=50.0), set(range(80)))
    same_errors = answered(rung("lora", 0.72, 0.63, seconds=1.0), set(range(72)))  # all that it has right the best has too
    others = answered(rung("lora", 0.75, 0.66, seconds=1.0), set(range(25, 100)))
    task = replace(TASK, labels=("yes", "no"))

    def chosen(other):
        return pick(Ladder(task, (BASE,), Bar("accuracy"), (best, other)))

    assert chosen(same_errors).rung == "full"
    assert chosen(others).rung == "lora"
    assert "within the doubt of the best accuracy on dev, that of full" in chosen(others).why


def test_a_prompt_that_was_searched_for_on_dev_is_said_to_be_flattered_there():
    found = rung("search", 0.9, 0.86)
    made = ladder(replace(found, rung=replace(found.rung, steps=(Search(),))), rung("zero_shot", 0.5, 0.4), at_least=0.6)
    assert "found on the dev rows that it was picked by" in " ".join(why(replace(made, pick=pick(made))))
    plain = ladder(found, at_least=0.6)
    assert "dev rows that" not in " ".join(why(replace(plain, pick=pick(plain))))


def test_what_gets_nowhere_is_not_within_the_doubt():
    made = ladder(rung("zero", 0.0, 0.0), rung("lora", 0.04, 0.0, seconds=100), volume=0)
    assert pick(made).rung == "lora"
    assert pick(ladder(rung("zero", 0.0, 0.0), rung("lora", 0.0, 0.0, seconds=100), volume=0)).rung == "zero"


def test_a_metric_that_should_fall():
    task = replace(TASK, metric="bits_per_byte")
    good = rung("good", 1.5, 1.4, high=1.6, seconds=9, metric="bits_per_byte")
    doubtful = rung("doubtful", 1.6, 1.5, high=1.8, metric="bits_per_byte")
    made = Ladder(task, (BASE,), Bar("bits_per_byte", at_least=1.7), (doubtful, good))
    assert pick(made).rung == "good"
    assert confirmed(pick(made), made) is True
    assert pick(replace(made, bar=Bar("bits_per_byte", at_least=1.0))).rung == "good"


@pytest.mark.parametrize("results", [(), (Result(Rung("lora", "b", ()), None, Cost(), failure="it broke"),)])
def test_no_rung_measured_no_pick(results):
    assert pick(ladder(*results, at_least=0.5)) is None
