"""Held-out pairs: what a variant puts first, how far, and against which reference."""

from __future__ import annotations

import math

import pytest

from tuneladder.errors import BadInput
from tuneladder.evaluate.intervals import wilson
from tuneladder.evaluate.metrics import preference
from tuneladder.evaluate.preference import Weighed, judged, weigh_pairs
from tuneladder.model.fake import FakeEngine
from tuneladder.task.comparing import contests
from tuneladder.types import Comparison, Prompt, Turn

PAIRS = tuple(Comparison(str(n), (Turn("user", "Hi"),), "x" * (n + 1), "y" * 2 * (n + 1)) for n in range(4))


def test_a_tie_counts_a_half():
    assert preference.items(["chosen", "rejected", "tie"], [("chosen",)] * 3, ()) == [1.0, 0.0, 0.5]


def test_a_language_model_is_measured_beside_the_base():
    base = Weighed(((-5.0, -1.0), (-5.0, -1.0), None, (-2.0, -2.0)), 1.0, "local")
    own = Weighed(((-4.0, -1.0), (-6.0, -1.0), (-1.0, -1.0), (-2.0, -2.0)), 3.0, "local")
    found = judged(PAIRS, own, base, seed=0)
    assert [row.answer.text for row in found.answers] == ["chosen", "rejected", "tie"]  # the third did not fit
    assert [row.correct for row in found.answers] == [True, False, None]
    assert found.quality["preference"].value == pytest.approx(0.5)
    assert found.quality["margin"].value == pytest.approx(0.0)
    assert found.quality["chosen_log_probability"].value == pytest.approx(-4.0)
    assert all(row.answer.confidence is None for row in found.answers)
    assert found.per_answer.seconds == pytest.approx(3.0 / 6)
    itself = judged(PAIRS, base, base, seed=0)  # to itself it prefers nothing
    assert itself.quality["preference"].value == 0.5


def test_a_reward_says_how_sure_it_is_and_whether_it_likes_length():
    own = Weighed(tuple((-float(len(pair.chosen)), -float(len(pair.rejected))) for pair in PAIRS), 1.0, "reward")
    found = judged(PAIRS, own, None, seed=0)
    assert found.quality["preference"].value == 1.0
    assert found.quality["length_bias"].value == pytest.approx(-1.0)
    assert found.answers[1].answer.confidence == pytest.approx(1 / (1 + math.exp(-2)))
    assert "chosen_log_probability" not in found.quality


def test_what_cannot_weigh_and_what_leaves_nothing():
    with pytest.raises(BadInput, match="cannot say what an answer is worth"):
        weigh_pairs(FakeEngine({}), Prompt(), PAIRS)

    class Mute:
        name = "mute"

        def weigh(self, asks, answers):
            return [None] * len(asks)

    with pytest.raises(BadInput, match="none of the pairs fits"):
        weigh_pairs(Mute(), Prompt(), PAIRS)
    with pytest.raises(BadInput, match="no pairs to measure"):
        weigh_pairs(Mute(), Prompt(), [Comparison("1", PAIRS[0].turns, "a", "a")])
    whole, none = Weighed(((-1.0, -1.0),) * 4, 1.0, "a"), Weighed((None,) * 4, 1.0, "b")
    with pytest.raises(BadInput, match="no pair fits in the context both here"):
        judged(PAIRS, whole, none, seed=0)


def test_contests_of_one_prompt_are_no_evidence_of_their_own():
    """Every other prompt has its six answers in the right order, the rest have them in the wrong one: as sure as 40 coins are."""
    answers = tuple(
        Comparison(f"{prompt}/{at}", (Turn("user", str(prompt)),), "x" * (at + 1), "", source=str(prompt), scores=(float(at), 0.0))
        for prompt in range(40)
        for at in range(6)
    )
    pairs = contests(answers)
    liked = {own.id: (own.scores[0] - 2.5) * (1 if int(own.source) % 2 else -1) for own in answers}
    own = Weighed(tuple((liked[better.id], liked[worse.id]) for better, worse in pairs), 1.0, "reward")
    found = judged(answers, own, None, seed=0).quality
    share = found["preference"]
    assert (share.value, share.count, share.interval) == (0.5, 600, "bootstrap over prompts")
    assert share.high - share.low == pytest.approx(2 * 1.96 * 0.5 / math.sqrt(40), rel=0.1)  # of 600 coins it is 0.08
    for name in ("margin", "score_correlation", "score_slope"):
        assert found[name].value == pytest.approx(0.0, abs=1e-9)
        assert found[name].high - found[name].low > 0.5
        assert found[name].interval == "bootstrap over prompts"


def test_prompts_that_are_all_told_apart_are_as_many_as_they_are():
    own = tuple(Comparison(f"{at}", PAIRS[0].turns, f"good {at}", f"bad {at}", source=str(at % 10)) for at in range(60))
    found = judged(own, Weighed(((1.0, 0.0),) * 60, 1.0, "reward"), None, seed=0).quality["preference"]
    assert (found.value, found.count) == (1.0, 60)
    assert (found.low, found.high) == pytest.approx(wilson(10, 10))


def test_an_answer_that_goes_round_is_drawn_with_its_contests():
    alone = [Comparison(f"{at}", PAIRS[0].turns, "" if at else "good", "bad" if at else "", source=str(at)) for at in range(31)]
    found = judged(alone, Weighed(((1.0, 0.0),) * 30, 1.0, "reward"), None, seed=0).quality["preference"]
    assert (found.low, found.high) == pytest.approx(wilson(1, 1))  # one good answer won 30 times
