"""Items in dispute, with everybody's reasons, and what becomes of those that a person settled."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from tuneladder.errors import BadInput
from tuneladder.feedback.accord import others
from tuneladder.feedback.calibration import calibrate
from tuneladder.feedback.disputes import Dispute, disputes, read_settled, write_disputes
from tuneladder.feedback.table import table_of
from tuneladder.types import Judgement


def said(*values: str | float, item: str = "1") -> list[Judgement]:
    return [Judgement(item, f"w{at}", "", value, "", why=f"because {at}") for at, value in enumerate(values)]


def found(judgements: list[Judgement], leave_out: tuple[str, ...] = ()) -> dict[str, Dispute]:
    table = table_of(judgements)
    heard = others(table, scored=table.number is not None)
    return {each.item: each for each in disputes(table, heard, judgements, leave_out)}


SPLIT = [*said(*"xxyyz", item="a"), *said(*"xxxyy", item="b"), *said(*"xxxxy", item="c"), *said("x", item="d")]


def test_items_without_a_clear_majority_are_in_dispute_the_most_disputed_first() -> None:
    by_item = found(SPLIT)
    assert {item: each.doubt for item, each in by_item.items()} == {"a": pytest.approx(0.6), "b": pytest.approx(0.4)}
    assert list(by_item) == ["a", "b"]
    assert by_item["b"].said == tuple(said(*"xxxyy", item="b"))  # all voices, with their reasons


def test_who_is_left_out_is_heard_and_makes_no_dispute() -> None:
    by_item = found(SPLIT, ("w4",))
    assert list(by_item) == ["a"]
    assert len(by_item["a"].said) == 5
    assert found(SPLIT, ("w0", "w1", "w2", "w3", "w4")) == {}


def test_scores_are_in_dispute_that_lie_as_far_apart_as_those_of_any_items() -> None:
    near = [each for n in range(8) for each in said(n, n + 0.2, n - 0.2, item=f"i{n}")]
    by_item = found([*near, *said(1, 7, 4, item="far"), *said(3, item="one")])
    assert list(by_item) == ["far"]
    assert by_item["far"].doubt > 1
    everybody = ("w0", "w1", "w2")
    assert found([*near, *said(1, 7, 4, item="far")], everybody) == {}


def test_what_is_said_again_is_no_second_voice() -> None:
    again = [*said(*"xxxyy"), Judgement("1", "w4", "", "x", ""), *said(*"xxxxx", item="2")]
    assert [each.value for each in found(again)["1"].said] == [*"xxxyy"]


def test_a_settled_dispute_is_an_item_to_calibrate_by(tmp_path: Path) -> None:
    path = tmp_path / "new" / "disputes.csv"
    assert write_disputes(path, {"tone@1": [*found(SPLIT).values()], "order": []}) == 2
    rows = list(csv.DictReader(path.open(encoding="utf-8", newline="")))
    assert [(row["rubric"], row["item"], row["right"], row["doubt"]) for row in rows] == [
        ("tone@1", "a", "", "0.60"),
        ("tone@1", "b", "", "0.40"),
    ]
    assert rows[1]["said"].splitlines()[4] == "w4: y (because 4)"
    with pytest.raises(BadInput, match="settles nothing"):
        read_settled(str(path))
    rows[0] |= {"right": "x", "why": "the second line says so"}
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    settled = read_settled(str(path))
    assert {criterion: {item: each.value for item, each in own.items()} for criterion, own in settled.items()} == {
        "tone": {"a": "x"}
    }
    marked = calibrate(said(*"xy", item="a"), settled["tone"])
    assert (marked["w0"].passed, marked["w1"].passed) == (True, False)
    assert marked["w1"].told == ("a: you said y, right is x: the second line says so",)


@pytest.mark.parametrize(
    ("text", "word"),
    [("item,right\n1,x\n", "no column `rubric`"), ("rubric,item,right,why\nt,1,x,\nt,1,y,\n", "settles item 1 twice")],
)
def test_what_settles_nothing_is_refused(tmp_path: Path, text: str, word: str) -> None:
    path = tmp_path / "settled.csv"
    path.write_text(text)
    with pytest.raises(BadInput, match=word):
        read_settled(str(path))
