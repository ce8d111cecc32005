"""Which of the answer and the reference to doubt, by witnesses that had no part in either."""

from __future__ import annotations

import numpy as np
import pytest

from tuneladder.errors import BadInput
from tuneladder.evaluate.disagreements import Neighbour, View, disagreements, suspicion, together, witnesses
from tuneladder.types import Answer, Marked

LABELS = ("sport", "money", "rain")


def row(item: str, reference: str, said: str, *others: str) -> Marked:
    return Marked(item, f"text {item}", reference, Answer(said), said in (reference, *others), others)


def view(*probabilities: tuple[float, float, float], near: str = "") -> View:
    nearest = tuple(Neighbour(f"near {label}", label, 0.5) for label in near.split())
    return View("words", np.array(probabilities), (nearest,) * len(probabilities))


def sort_of(marked: Marked, *shares: float) -> str:
    return disagreements([marked], [View("words", np.array([shares]), ((),))], {}, LABELS)[0].sort


def test_the_sort_is_what_the_witnesses_say() -> None:
    wrong = row("0", "sport", "money")
    # without neighbours the second witness gives all labels alike, so that a share p counts as (p + 1/3) / 2
    assert sort_of(wrong, 0.02, 0.98, 0.0) == "reference questionable"
    assert sort_of(wrong, 0.35, 0.60, 0.05) == "ambiguous"
    assert sort_of(wrong, 0.60, 0.35, 0.05) == "model wrong"
    assert sort_of(wrong, 0.0, 0.0, 1.0) == "other"
    assert sort_of(row("0", "sport", "nonsense"), 0.9, 0.1, 0.0) == "model wrong"
    assert sort_of(row("0", "sport", "nonsense"), 0.3, 0.4, 0.3) == "other"


def test_right_answers_are_no_disagreements_and_the_most_doubted_come_first() -> None:
    rows = [row("a", "sport", "sport"), row("b", "sport", "money"), row("c", "sport", "money"), row("d", "rain", "money", "money")]
    seen = view((1, 0, 0), (0.2, 0.8, 0), (0, 1, 0), (0, 0, 1), near="money money")
    found = disagreements(rows, [seen], {}, LABELS)
    assert [each.marked.id for each in found] == ["c", "b"]
    assert found[0].reference < found[1].reference
    assert [own.name for own in found[0].witnesses] == ["words", "nearest by words"]
    assert found[0].label == "money"
    assert found[0].nearest[0].label == "money"


def test_neighbours_speak_with_the_doubt_of_their_number() -> None:
    spoken = witnesses([view((1 / 3, 1 / 3, 1 / 3), near="money money")], LABELS)
    assert spoken["nearest by words"][0] == pytest.approx([1 / 5, 3 / 5, 1 / 5])


def test_only_rungs_that_know_more_than_the_commonest_label_are_heard() -> None:
    answers = [row("a", "sport", "money"), row("b", "money", "money"), row("c", "rain", "rain")]
    able = [row("a", "sport", "money"), row("b", "money", "money"), row("c", "rain", "rain")]
    rote = [row("a", "sport", "sport"), row("b", "money", "sport"), row("c", "rain", "sport")]
    found = disagreements(answers, [], {"able": able, "rote": rote}, LABELS)
    assert [own.name for own in found[0].witnesses] == ["the other rung"]
    assert found[0].witnesses[0].answer == pytest.approx(2 / 4)
    assert found[0].witnesses[0].reference == pytest.approx(1 / 4)
    assert disagreements(answers, [], {"able": able, "again": able}, LABELS)[0].witnesses[0].name == "2 other rungs"
    assert disagreements(answers, [], {"rote": rote}, LABELS)[0].witnesses == ()


def test_of_several_references_the_likeliest_stands_for_all() -> None:
    found = disagreements([row("a", "sport", "money", "rain")], [view((0, 0, 1.0))], {}, LABELS)
    assert found[0].sort == "model wrong"
    assert found[0].reference == pytest.approx((1 + 1 / 3) / 2)


def test_suspicion_is_what_the_given_label_lacks() -> None:
    seen = view((0.9, 0.1, 0), (0.1, 0.9, 0))
    doubt = suspicion([seen], ["sport", "sport"], LABELS)
    assert doubt == pytest.approx([1 - (0.9 + 1 / 3) / 2, 1 - (0.1 + 1 / 3) / 2])


def test_no_witness_and_no_row() -> None:
    assert together([], (2, 4)) == pytest.approx(np.full((2, 4), 0.25))
    assert disagreements([], [], {}, LABELS) == ()
    assert disagreements([row("a", "sport", "money")], [], {}, LABELS)[0].sort == "model wrong"  # no evidence against the label
    with pytest.raises(BadInput, match="'snow' is not one of the labels"):
        disagreements([row("a", "snow", "money")], [], {}, LABELS)
