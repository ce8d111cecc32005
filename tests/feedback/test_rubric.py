"""Rubrics: every value said in words, every word of them a version, and nothing judged that they do not define."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tuneladder.errors import BadInput
from tuneladder.feedback.rubric import as_asked, check_judgement, criterion_of, keep, of_version, read_rubric, rubric_of, stamp
from tuneladder.types import Judgement

CORRECT = {"name": "correct", "asks": "score", "means": "Is it true?", "values": {0: "no word is", 1: "some is", 2: "all is"}}
TONE = {"name": "tone", "asks": "label", "values": {"warm": "as to a friend", "cold": "as to nobody"}}
BETTER = {"name": "better", "asks": "choose", "means": "Which helps more?"}
ORDER = {"name": "order", "asks": "rank", "means": "The most helpful first."}
EXAMPLE = {"text": "Paris is in France.", "value": 2, "why": "it is"}
GUIDE = {"name": "help", "criteria": [CORRECT | {"examples": [EXAMPLE]}, TONE, BETTER, ORDER]}


def said(value: Any, criterion: str = "correct") -> Judgement:
    return Judgement("i1", "ann", criterion, value, "")


def test_a_rubric_is_read_and_its_version_is_what_it_says(tmp_path: Path) -> None:
    path = tmp_path / "guide.yaml"
    path.write_text(yaml.safe_dump(GUIDE, sort_keys=False))
    rubric = read_rubric(path)
    assert (rubric.name, [each.name for each in rubric.criteria]) == ("help", ["correct", "tone", "better", "order"])
    correct = rubric.criteria[0]
    assert correct.values == {0: "no word is", 1: "some is", 2: "all is"}
    assert (correct.examples[0].value, correct.examples[0].why) == (2, "it is")
    assert rubric_of(GUIDE).version == rubric.version
    for changed in (
        CORRECT,
        CORRECT | {"means": "Is it false?"},
        CORRECT | {"values": CORRECT["values"] | {1: "half is"}},
        CORRECT | {"examples": [EXAMPLE | {"why": "look"}]},
    ):
        assert rubric_of(GUIDE | {"criteria": [changed, TONE, BETTER, ORDER]}).version != rubric.version
    assert rubric_of({"criteria": [TONE]}, name="mine").name == "mine"
    assert stamp(rubric, "tone") == f"tone@{rubric.version}"


def test_a_kept_rubric_reads_back_as_the_same_version_and_is_not_written_over(tmp_path: Path) -> None:
    rubric = rubric_of(GUIDE)
    path = keep(rubric, tmp_path / "kept")
    assert rubric.version in path.name
    assert read_rubric(path) == rubric
    path.write_text("somebody's own")
    assert keep(rubric, tmp_path / "kept").read_text() == "somebody's own"


@pytest.mark.parametrize(
    ("criterion", "value"),
    [
        ("correct", 2),
        ("correct", 1.0),
        ("tone", "warm"),
        ("better", "tie"),
        ("better", "fail"),
        ("better", "any"),
        ("order", ["a", "b"]),
    ],
)
def test_what_a_rubric_defines_may_be_said(criterion: str, value: Any) -> None:
    check_judgement(rubric_of(GUIDE), said(value, criterion))


@pytest.mark.parametrize(
    ("criterion", "value", "word"),
    [
        ("correct", 3, "no value of correct .*'3'"),
        ("tone", "warn", "did you mean 'warm'?"),
        ("order", ["a", "a"], "'a' is ranked twice"),
        ("tome", "warm", "did you mean 'tone'?"),
        ("", 1, "no criterion in help ''"),
    ],
)
def test_what_it_does_not_define_is_refused(criterion: str, value: Any, word: str) -> None:
    with pytest.raises(BadInput, match=word):
        check_judgement(rubric_of(GUIDE), said(value, criterion))


def test_choices_of_named_values_are_those_a_tie_or_a_failure() -> None:
    rubric = rubric_of({"criteria": [BETTER | {"values": {"A": "the left", "B": "the right"}}]})
    for value in ("A", "B", "tie", "fail"):
        check_judgement(rubric, said(value, ""))  # one criterion need not be named
    with pytest.raises(BadInput, match="'C'"):
        check_judgement(rubric, said("C", ""))


def test_a_judgement_is_held_to_the_version_it_was_made_under() -> None:
    old, new = rubric_of(GUIDE), rubric_of({"name": "help", "criteria": [TONE | {"values": {"warm": "kind", "hot": "too kind"}}]})
    before, after = said("cold", stamp(old, "tone")), said("hot", stamp(new, "tone"))
    for each in (before, after):
        check_judgement(of_version([old, new], each), each)
    assert of_version([old, new], said("warm", "tone")) is new  # the last, where a judgement does not say
    assert criterion_of(old, before).name == "tone"
    with pytest.raises(BadInput, match=f"under version {old.version} of a rubric, and help is {new.version}"):
        check_judgement(of_version([new], before), before)


@pytest.mark.parametrize(
    ("guide", "word"),
    [
        ({}, "has no criteria"),
        ({"criteria": []}, "has no criteria"),
        ({"criteria": "correct"}, "has no criteria"),
        ({"criteria": [CORRECT, CORRECT]}, "two criteria called 'correct'"),
        ({"criteria": [CORRECT], "titel": "x"}, "no key for .*'titel'"),
        ({"criteria": ["correct"]}, "not a mapping"),
        ({"criteria": [CORRECT | {"ask": "score"}]}, "did you mean 'asks'?"),
        ({"criteria": [CORRECT | {"asks": "scores"}]}, "did you mean 'score'?"),
        ({"criteria": [CORRECT | {"name": "a@b"}]}, "called 'a@b'"),
        ({"criteria": [CORRECT | {"name": ""}]}, "called ''"),
        ({"criteria": [CORRECT | {"values": None}]}, "defines no values"),
        ({"criteria": [CORRECT | {"values": {1: "yes"}}]}, "defines 1 values"),
        ({"criteria": [CORRECT | {"values": {0: "bad", "one": "good"}}]}, "scores by 'one'"),
        ({"criteria": [CORRECT | {"values": {0: "bad", 1: " "}}]}, "does not say what 1 means"),
        ({"criteria": [TONE | {"values": {True: "warm", False: "cold"}}]}, "bare yes, no"),
        ({"criteria": [BETTER | {"means": ""}]}, "says nothing of how to decide"),
        ({"criteria": [CORRECT | {"examples": [EXAMPLE | {"value": 7}]}]}, "no value of correct .*'7'"),
        ({"criteria": [CORRECT | {"examples": [EXAMPLE | {"value": True}]}]}, "bare yes, no"),
        ({"criteria": [CORRECT | {"examples": [{"text": "x"}]}]}, "no text or no value"),
        ({"criteria": [CORRECT | {"examples": [EXAMPLE | {"because": "x"}]}]}, "'because'"),
    ],
)
def test_a_rubric_that_leaves_something_undefined_is_refused(guide: dict[str, Any], word: str) -> None:
    with pytest.raises(BadInput, match=word):
        rubric_of(guide)


@pytest.mark.parametrize(
    ("text", "word"),
    [("", "is empty"), ("- a\n- b\n", "holds no keys"), ("a: [", "cannot be read as a rubric"), (None, "there is no rubric")],
)
def test_a_file_that_is_no_rubric_is_refused(tmp_path: Path, text: str | None, word: str) -> None:
    path = tmp_path / "guide.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(BadInput, match=word):
        read_rubric(path)


def test_a_label_is_a_word_though_it_be_called_1() -> None:
    rubric = rubric_of({"criteria": [{"name": "topic", "asks": "label", "values": {1: "sports", 2: "politics"}}, CORRECT]})
    assert as_asked(rubric, said(1.0, "topic")).value == "1"
    chosen = rubric_of({"criteria": [BETTER]})
    assert as_asked(chosen, said(1.0, "better")).value == "1"
    assert as_asked(chosen, said(["1", "2"], "better")).value == ["1", "2"]  # a ranking says more than a choice
    assert as_asked(rubric, said(1, "correct")).value == 1
