"""The round before the work: what is marked right, who may go on, and what the others are told."""

from __future__ import annotations

from typing import Any

import pytest

from tuneladder.errors import BadInput
from tuneladder.feedback.calibration import calibrate, share_right
from tuneladder.feedback.rubric import Worked
from tuneladder.types import Judgement

KNOWN = {"1": Worked("Is it?", "yes", "it is"), "2": Worked("And this?", "no"), "3": Worked("How much?", 4)}


def said(labeler: str, *values: Any) -> list[Judgement]:
    return [Judgement(str(at), labeler, "", value, "") for at, value in enumerate(values, start=1)]


def test_who_is_right_often_enough_passes_and_is_told_what_was_wrong() -> None:
    found = calibrate([*said("ann", "yes", "no", 4), *said("ben", "no", "no", 3)], KNOWN, at_least=0.6)
    assert (found["ann"].right, found["ann"].passed, found["ann"].told) == (1.0, True, ())
    assert found["ben"].right == pytest.approx(1 / 3)
    assert not found["ben"].passed
    assert found["ben"].told == ("1: you said no, right is yes: it is", "3: you said 3, right is 4")
    assert calibrate(said("ben", "no", "no", 3), KNOWN, within=1.0)["ben"].right == pytest.approx(2 / 3)
    assert calibrate(said("ben", "no", "no", 3), KNOWN, at_least=1 / 3)["ben"].passed


def test_the_round_may_be_taken_again_and_other_items_do_not_count() -> None:
    again = [*said("ann", "no", "yes", 1), Judgement("9", "ann", "", "yes", ""), *said("ann", "yes", "no", 4)]
    found = calibrate(again, KNOWN)["ann"]
    assert (found.right, found.count, found.passed) == (1.0, 3, True)


def test_of_a_ranking_as_many_pairs_are_right_as_are_said_alike() -> None:
    right = ["a", "b", "c"]
    assert share_right(["a", "b", "c"], right) == 1
    assert share_right(["b", "a", "c"], right) == pytest.approx(2 / 3)
    assert share_right([["a", "b"], "c"], right) == pytest.approx(2 / 3)
    assert share_right({"ranked": ["a"], "failed": ["b", "c"]}, right) == pytest.approx(2 / 3)  # of two failures nothing is said
    assert share_right(["c", "b", "a"], right) == 0
    assert [share_right(choice, ["a", "b"]) for choice in ("a", "b", "c", "tie", "fail")] == [1, 0, 0, 0, 0]
    assert share_right("tie", [["a", "b"]]) == 1
    found = calibrate([Judgement("r", "ann", "", ["b", "a", "c"], "")], {"r": Worked("", right)}, at_least=0.6)["ann"]
    assert found.passed
    assert found.told == ('r: you said ["b", "a", "c"], right is ["a", "b", "c"]',)


def test_what_cannot_be_calibrated_is_refused() -> None:
    with pytest.raises(BadInput, match="ann did not judge item 3"):
        calibrate(said("ann", "yes", "no"), KNOWN)
    with pytest.raises(BadInput, match="no known item"):
        calibrate(said("ann", "yes"), {})
    for setting, word in (({"at_least": 2.0}, "at_least is 2"), ({"within": -1.0}, "within is -1")):
        with pytest.raises(BadInput, match=word):
            calibrate(said("ann", "yes", "no", 4), KNOWN, **setting)
