"""What a screen asks, what its answers mean, and that the words which differ are marked and never interpreted."""

from __future__ import annotations

from typing import Any

import pytest

from tuneladder.errors import BadInput
from tuneladder.feedback.items import Item
from tuneladder.feedback.rubric import rubric_of
from tuneladder.studio.differences import LONGEST, marked
from tuneladder.studio.questions import KEYS, Question, questions, said_of, value_of, worded
from tuneladder.types import Turn

ITEM = Item("q", (Turn("user", "Which?"),), {"x": "one", "y": "two", "z": "three"})
LETTERS = {"A": "z", "B": "x", "C": "y"}


def asked(**criterion: Any) -> tuple[Question, ...]:
    return questions(rubric_of({"criteria": [{"name": "c", "means": "So?", **criterion}]}), ITEM, LETTERS)


def test_scores_are_asked_of_each_answer_in_the_order_of_the_letters() -> None:
    found = asked(asks="score", values={0: "bad", 2: "good"})
    assert [(each.letter, each.subject) for each in found] == [("A", "q/z"), ("B", "q/x"), ("C", "q/y")]
    assert [(option.key, option.word, option.means) for option in found[0].options] == [("0", "0", "bad"), ("2", "2", "good")]
    assert [option.key for option in asked(asks="score", values={0.5: "a", 1: "b"})[0].options] == ["a", "1"]
    assert [option.key for option in asked(asks="score", values=dict.fromkeys(range(11), "as told"))[0].options] == [
        *"0123456789",
        "a",
    ]
    assert [option.key for option in asked(asks="score", values=dict.fromkeys(range(-2, 3), "as told"))[0].options] == [*"ac012"]
    assert value_of(found[0], 1, LETTERS) == 2
    assert said_of(found[0], 2, LETTERS) == 1
    assert said_of(found[0], 1, LETTERS) is None  # an earlier version of the rubric may have had it


def test_a_choice_is_made_in_letters() -> None:
    (found,) = asked(asks="choose")
    assert [option.word for option in found.options] == ["A", "B", "C", "no difference", "none will do"]
    assert [value_of(found, n, LETTERS) for n in range(5)] == ["z", "x", "y", "tie", "fail"]
    assert [said_of(found, value, LETTERS) for value in ("z", "fail")] == [0, 4]
    assert worded(found, "x", LETTERS) == "B"


@pytest.mark.parametrize(
    ("said", "value", "words"),
    [
        ({"A": 2, "B": 1, "C": 3}, ["x", "z", "y"], "B > A > C"),
        ({"A": 1, "B": 1, "C": 2}, [["z", "x"], "y"], "A = B > C"),
        ({"A": 0, "B": 1, "C": 0}, {"ranked": ["x"], "failed": ["z", "y"]}, "B; A, C will not do"),
    ],
)
def test_a_ranking_is_made_of_places(said: dict[str, int], value: Any, words: str) -> None:
    (found,) = asked(asks="rank")
    assert [option.key for option in found.options] == ["1", "2", "3", "0"]
    assert value_of(found, said, LETTERS) == value
    again = said_of(found, value, LETTERS)
    assert value_of(found, again, LETTERS) == value
    assert worded(found, value, LETTERS) == words


@pytest.mark.parametrize("said", [{"A": 1}, {"A": 1, "B": 2, "C": 4}, {"A": 1, "B": 2, "C": -1}, {"A": 1, "B": 2, "D": 1}, 1])
def test_what_places_no_answers_is_refused(said: Any) -> None:
    (found,) = asked(asks="rank")
    with pytest.raises(BadInput, match="does not place every answer"):
        value_of(found, said, LETTERS)


@pytest.mark.parametrize("said", [-1, 5, True, "A", {"A": 1}])
def test_what_is_no_option_is_refused(said: Any) -> None:
    (found,) = asked(asks="choose")
    with pytest.raises(BadInput, match="is no option"):
        value_of(found, said, LETTERS)


def test_many_labels_have_keys_that_no_command_has() -> None:
    found = asked(asks="label", values={f"v{n}": "so" for n in range(40)})[0]
    keys = [option.key for option in found.options]
    assert len({key for key in keys if key}) == len(KEYS) == 40 - keys.count("")
    assert not {"u", "r", "b", "d"} & set(keys)


def test_words_that_differ_are_marked() -> None:
    one, other = marked(("It comes on Monday, at nine.", "It comes on Friday, at nine."))
    assert (one, other) == ("It comes on <mark>Monday</mark>, at nine.", "It comes on <mark>Friday</mark>, at nine.")
    three = marked(("a b c d", "a b c e", "a b c d"))
    assert three == ("a b c <mark>d</mark>", "a b c <mark>e</mark>", "a b c <mark>d</mark>")
    assert marked(("the same", "the same")) == ("the same", "the same")
    assert marked(("nothing of it", "is in common, here")) == ("nothing of it", "is in common, here")
    long = "word " * LONGEST
    assert marked((f"{long}a", f"{long}b")) == (f"{long}a", f"{long}b")
    assert marked(("", "x")) == ("", "x")


def test_what_a_model_wrote_is_never_html() -> None:
    for text in marked(("say <b>this</b> & <script>alert(1)</script>", "say <i>this</i> & <script>alert(2)</script>")):
        assert text.replace("<mark>", "").replace("</mark>", "").count("<") == 0


def test_marks_outlive_an_answer_that_is_like_no_other() -> None:
    two = ("Your parcel is late by a day, we are sorry.", "Your parcel is late by a week, we are sorry.")
    first, second, odd = marked((*two, "It <depends>."))
    assert first == "Your parcel is late by a <mark>day</mark>, we are sorry."
    assert second == "Your parcel is late by a <mark>week</mark>, we are sorry."
    assert odd == "It &lt;depends&gt;."
    assert marked((two[0], "It depends.")) == (two[0], "It depends.")
