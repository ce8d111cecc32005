"""Reasons that contradict their answer or name what is not there, by rules; answers that are not in their context."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tuneladder.errors import BadInput
from tuneladder.evaluate.explanations import conclusion, explanations
from tuneladder.evaluate.facts import numbers_in, strays, value_of
from tuneladder.evaluate.find import find_metric
from tuneladder.evaluate.gold import check_gold
from tuneladder.evaluate.measure import mark
from tuneladder.types import Answer, Example, Marked, Split, Task, Turn

LABELS = ("sport", "business", "world news", "yes")
ROW = 'Maria Keane scored three goals in 1,200 seconds, and the coach of Ajax said "nobody saw it coming".'


@pytest.mark.parametrize(
    ("reason", "answer", "want"),
    [
        ("It is about a match, so it is sport.", "sport", ""),
        ("It is about a match, so it is sport.", "business", "sport"),
        ("Sport was my first thought. But shares fell: business.", "sport", "business"),
        ("It is business rather than sport.", "business", ""),
        ("It is business rather than sport.", "sport", "business"),
        ("This is not sport.", "sport", "not sport"),
        ("This isn't about sport", "sport", "not sport"),
        ("This is not sport.", "business", ""),
        ("It could be sport or business.", "business", ""),
        ("The transport firm grew.", "business", ""),
        ("WORLD NEWS, plainly.", "business", "world news"),
        ("Yes, a firm grew. It is business.", "business", ""),
        ("Yes, the firm grew, as I said", "business", ""),
        ("The answer is yes.", "business", "yes"),
        ("", "business", ""),
    ],
)
def test_the_last_sentence_that_names_a_label_decides(reason: str, answer: str, want: str) -> None:
    assert conclusion(reason, LABELS, answer) == want


@pytest.mark.parametrize(
    ("reason", "want"),
    [
        ("Keane scored 3 goals.", ()),
        ("She scored 4 goals in 1200 seconds.", ("4",)),
        ("The coach of Ajax praised Messi's pace.", ("Messi's",)),
        ("Messi scored.", ()),  # begins a sentence: the rule cannot tell
        ('The text says "Nobody  saw it" and “she won the cup”.', ("she won the cup",)),
        ("1. Keane scored.\n2. Ajax lost. Step 9 follows.", ()),
        ("I think I'm right, and so is NASA. NASA knows.", ("NASA",)),
        ("Ajax's coach said so; Keane-like play.", ("Keane-like",)),
        ("It costs 2.50 or 2.5.", ("2.50", "2.5")),
    ],
)
def test_strays_are_what_the_row_does_not_name(reason: str, want: tuple[str, ...]) -> None:
    assert strays(reason, ROW) == want


def test_numbers_are_compared_by_value() -> None:
    assert value_of("1,000") == value_of("1000") == value_of("1000.0")
    assert value_of("2,5") == value_of("2.50")
    assert numbers_in("twelve of 1,200 on 3.4.2021") == {"12", "1200", "3.4.2021"}


def marked(id: str, answer: str, reason: str, reference: str = "sport") -> Marked:
    return Marked(id, ROW, reference, Answer(answer, reason=reason), answer == reference)


def test_the_faults_are_counted_with_their_intervals() -> None:
    answers = [
        marked("1", "sport", "Keane scored: sport."),
        marked("2", "business", "Goals were scored, which is sport."),
        marked("3", "sport", "It was seen by 70,000 people."),
        marked("4", "sport", ""),
    ]
    found = explanations(answers, LABELS)
    assert found is not None
    assert [own.concluded for own in found.reasons] == ["", "sport", ""]
    assert [own.invented for own in found.reasons] == [(), (), ("70,000",)]
    assert found.contradicting is not None
    for score in (found.contradicting, found.inventing):
        assert (score.value, score.count, score.interval) == (pytest.approx(1 / 3), 3, "wilson")
        assert 0 < score.low < score.value < score.high < 1
    assert explanations(answers[3:], LABELS) is None
    plain = explanations(answers)
    assert plain is not None
    assert plain.contradicting is None
    asked = explanations(answers, LABELS, asked="A stadium holds 70,000.")
    assert asked is not None
    assert asked.inventing.value == 0


def test_a_reason_may_name_the_options_of_its_row() -> None:
    why = "The capital is Paris, and Lyon is only the third city."
    row = Marked("1", "What is the capital of France?", "Paris", Answer("Paris", reason=why), True)
    found = explanations([row, replace(row, options=("Paris", "Lyon"))])
    assert found is not None
    assert [own.invented for own in found.reasons] == [("Lyon",), ()]


def test_numbers_that_are_worked_out_are_no_invention() -> None:
    found = explanations([marked("1", "36", "Three times 12 is 36, and Bob has 7 more.", reference="1,043")])
    assert found is not None
    assert found.reasons[0].invented == ("Bob",)


# ---- answers that are not in their context ----

CONTEXT = "The river Tay, 188 km long, is Scotland's longest. Salmon are fished there.\n\nHow long is the Tay?"


def ungrounded(*answers: str) -> list[str]:
    metric = find_metric("ungrounded")
    rows = [Example(str(n), (Turn("user", CONTEXT),), ("188 km",)) for n in range(len(answers))]
    assert metric.outcomes is not None
    return list(metric.outcomes(rows, [Answer(answer) for answer in answers]))


def test_an_answer_is_grounded_in_the_words_and_numbers_of_its_row() -> None:
    said = ungrounded(
        "188 km", "It is 188.0 km long.", "193 km", "Fishing for salmon", "In Wales", "", "longest-fished", "a rivers' 12"
    )
    assert said == ["", "", "193", "", "wales", "", "", "12"]


def test_ungrounded_is_a_share_of_answers() -> None:
    rows = tuple(Example(str(n), (Turn("user", CONTEXT),), ("188 km",), source=str(n)) for n in range(4))
    task = Task("qa", "choose", examples=Split(test=rows), metric="ungrounded")
    found = mark(
        task, rows, [Answer(text) for text in ("188 km", "193 km", "in Wales", "the Tay")], seconds=1.0, engine="x", seed=0
    )
    score = found.quality["ungrounded"]
    assert (score.value, score.count, score.interval) == (0.5, 4, "wilson")
    assert find_metric("ungrounded").better == "lower"
    check_gold("ungrounded", task)
    strange = tuple(Example("1", (Turn("user", CONTEXT),), ("about a hundred miles",), source="1") for _ in range(2))
    with pytest.raises(BadInput, match="ungrounded scores the gold answers of qa 1, not less"):
        check_gold("ungrounded", Task("qa", "generate", examples=Split(test=strange), metric="ungrounded"))
