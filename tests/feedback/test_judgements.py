"""Judgements from files: ours, Argilla's and Label Studio's."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tuneladder.errors import BadInput
from tuneladder.feedback.judgements import JudgementFile, last_versions, one_criterion, read_judgements
from tuneladder.types import Judgement

Read = Callable[..., JudgementFile]
PLAIN = {"item": "1", "labeler": "ann", "value": "x"}


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def call(*rows: dict[str, Any], **options: Any) -> JudgementFile:
        path = tmp_path / "said.json"
        path.write_text(json.dumps(rows), "utf-8")
        return read_judgements(str(path), **options)

    return call


def brief(read: JudgementFile) -> list[tuple[Any, ...]]:
    return [(each.item, each.labeler, each.rubric, each.value) for each in read.judgements]


def test_plain_rows_with_all_that_may_stand_beside_a_value(read: Read) -> None:
    row = PLAIN | {"rubric": "tone@1", "at": "2026-05-01T09:30:00", "gold": "y", "why": " so it is ", "page": 3}
    found = read(row, PLAIN | {"item": "2", "rubric": "tone@1", "value": None})
    assert found.judgements == (Judgement("1", "ann", "tone@1", "x", "2026-05-01T09:30:00", "so it is"),)
    assert (found.gold, found.empty, found.unread, found.tool) == ({"tone@1": {"1": "y"}}, 1, ("page",), "")


def test_columns_called_otherwise(read: Read) -> None:
    row = {"unit": 7, "worker": "ann", "response": 1}
    found = read(row, columns={"item": "unit", "labeler": "worker", "value": "response"})
    assert brief(found) == [("7", "ann", "", 1.0)]
    for columns, word in (
        ({}, "no column 'item'"),
        ({"item": "unti"}, "did you mean 'unit'?"),
        ({"who": "worker"}, "no column of judgements 'who'"),
    ):
        with pytest.raises(BadInput, match=word):
            read(row, columns=columns)


def test_a_csvs_cells_are_numbers_words_or_rankings(tmp_path: Path) -> None:
    path = tmp_path / "said.csv"
    lines = ("1,ann,3,score", "2,ann,4.5,score", '1,ann,"[""b"", [""a"", ""c""]]",order', "1,ann,4,tone", "2,ann,warm,tone")
    path.write_text("\n".join(("item,labeler,value,rubric", *lines)) + "\n")
    assert [each[3] for each in brief(read_judgements(str(path)))] == [3.0, 4.5, ["b", ["a", "c"]], "4", "warm"]


@pytest.mark.parametrize(
    ("rows", "word"),
    [
        ([PLAIN | {"item": ""}], "row 1: item is empty"),
        ([PLAIN | {"labeler": None}], "row 1: labeler is empty"),
        ([PLAIN | {"rubric": "a"}, PLAIN | {"rubric": " "}], "row 2: rubric is empty"),
        ([PLAIN | {"value": ""}], "holds no judgement: value is empty in all 1 rows"),
        ([PLAIN | {"gold": "x"}, PLAIN | {"gold": "y"}], "row 2: item 1 is y by gold, and was x"),
        ([PLAIN | {"value": 1, "gold": "one"}], "row 1: gold is 'one', and what was said are numbers"),
        ([PLAIN | {"at": "noon"}], "'noon' is no time"),
        ([PLAIN | {"rubrik": "a"}], "did you mean 'rubric'?"),
    ],
)
def test_files_that_hold_no_judgements_are_refused(read: Read, rows: list[dict[str, Any]], word: str) -> None:
    with pytest.raises(BadInput) as refused:
        read(*rows)
    assert word in str(refused.value)


def test_two_rubrics_may_have_different_right_values_of_one_item(read: Read) -> None:
    found = read(PLAIN | {"rubric": "a", "gold": "x"}, PLAIN | {"rubric": "b", "gold": "y"})
    assert found.gold == {"a": {"1": "x"}, "b": {"1": "y"}}


def test_argillas_records(read: Read) -> None:
    record = {
        "id": "r1",
        "fields": {"prompt": "Hi"},
        "responses": {
            "tone": [{"value": "warm", "user_id": "ann"}, {"value": "cold", "user_id": "ben", "status": "draft"}],
            "stars": [{"value": 4, "user_id": "ann", "inserted_at": "2026-05-01T09:30:00"}, {"value": None, "user_id": "ben"}],
            "order": [
                {"value": [{"value": "b", "rank": 1}, {"value": "a", "rank": 2}, {"value": "c", "rank": 2}], "user_id": "ann"}
            ],
            "about": [{"value": ["parcels", "money"], "user_id": "ann"}],
        },
    }
    found = read(record)
    assert found.tool == "Argilla"
    assert brief(found) == [
        ("r1", "ann", "tone", "warm"),
        ("r1", "ann", "stars", 4.0),
        ("r1", "ann", "order", [["b"], ["a", "c"]]),
        ("r1", "ann", "about", "money + parcels"),
    ]
    assert found.judgements[1].at == "2026-05-01T09:30:00"


def test_argillas_first_edition_and_its_flat_rows(read: Read) -> None:
    answer = {"user_id": "ann", "status": "submitted", "values": {"tone": {"value": "warm"}, "stars": {"value": 3}}}
    found = read({"external_id": "e1", "fields": {}, "responses": [answer, answer | {"user_id": "ben", "status": "discarded"}]})
    assert brief(found) == [("e1", "ann", "tone", "warm"), ("e1", "ann", "stars", 3.0)]
    flat = {"id": "f1", "tone.responses": ["warm", "cold", "cold"], "tone.responses.users": ["ann", "ben", None]}
    found = read(flat | {"tone.responses.status": ["submitted", "draft", "submitted"]})
    assert (found.tool, brief(found)) == ("Argilla", [("f1", "ann", "tone", "warm"), ("f1", "unnamed 1.3", "tone", "cold")])


def test_label_studios_tasks(read: Read) -> None:
    regions = [
        {"type": "choices", "from_name": "tone", "value": {"choices": ["warm"]}},
        {"type": "choices", "from_name": "about", "value": {"choices": ["parcels", "money"]}},
        {"type": "rating", "from_name": "stars", "value": {"rating": 4}},
        {"type": "pairwise", "from_name": "better", "value": {"selected": "left"}},
        {"type": "ranker", "from_name": "order", "value": {"ranker": {"rank": ["b", "a"]}}},
        {"type": "rectanglelabels", "from_name": "box", "value": {"x": 1}},
    ]
    done = {"completed_by": {"id": 3, "email": "ann@x"}, "created_at": "2026-05-01T09:30:00Z", "result": regions}
    found = read(
        {"id": 5, "data": {"text": "Hi"}, "annotations": [done, {"completed_by": 4, "was_cancelled": True, "result": regions}]}
    )
    assert found.tool == "Label Studio"
    assert brief(found) == [
        ("5", "ann@x", "tone", "warm"),
        ("5", "ann@x", "about", "money + parcels"),
        ("5", "ann@x", "stars", 4.0),
        ("5", "ann@x", "better", "left"),
        ("5", "ann@x", "order", ["b", "a"]),
    ]


def test_whom_an_export_does_not_name_is_somebody_of_their_own(read: Read) -> None:
    tone = [{"type": "choices", "from_name": "tone", "value": {"choices": ["warm"]}}]
    tasks = [{"id": id, "data": {}, "annotations": [{"result": tone}, {"result": tone}]} for id in (0, 1)]
    found = read(*tasks)
    named = {each.labeler for each in found.judgements}
    assert len(named) == 4
    assert found.unnamed == named
    assert {each.item for each in found.judgements} == {"0", "1"}  # an id of 0 is one
    answers = [{"value": "warm"}, {"value": "cold", "user_id": "ann"}]
    for records in (
        [{"id": n, "fields": {}, "responses": {"tone": answers}} for n in (0, 1)],
        [
            {"id": n, "fields": {}, "responses": [{"values": {"tone": "warm"}}, {"values": {"tone": "cold"}, "user_id": "ann"}]}
            for n in (0, 1)
        ],
        [{"id": n, "tone.responses": ["warm", "cold"], "tone.responses.users": [None, "ann"]} for n in (0, 1)],
    ):
        found = read(*records)
        assert brief(found) == [
            ("0", "unnamed 1.1", "tone", "warm"),
            ("0", "ann", "tone", "cold"),
            ("1", "unnamed 2.1", "tone", "warm"),
            ("1", "ann", "tone", "cold"),
        ]
        assert (found.unnamed, found.unread) == ({"unnamed 1.1", "unnamed 2.1"}, ())


@pytest.mark.parametrize(
    "row",
    [
        {"id": 5, "data": {}, "annotations": []},
        {"id": 5, "data": {}, "annotations": ["x"]},
        {"id": "r1", "fields": {}, "responses": []},
        {"id": "r1", "fields": {}, "responses": ["x"]},
        {"id": "r1", "fields": {}, "responses": {"tone": None}},
    ],
)
def test_an_export_in_which_nobody_judged_is_refused(read: Read, row: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=r"nobody judged anything in this export from (Argilla|Label Studio)"):
        read(row)


def test_what_was_judged_anew_under_a_new_version_counts() -> None:
    old = [Judgement(item, "ann", "tone@1", "x", at) for item, at in (("1", "3"), ("2", "1"))]
    new = [Judgement("1", "ann", "tone@2", value, at) for value, at in (("y", "5"), ("z", "6"))]
    ben = Judgement("1", "ben", "tone@1", "x", "2")
    assert last_versions([*new, *old, ben]) == [*new, old[1], ben]  # by time; a repeat under one version stays one
    assert last_versions([replace(each, at="") for each in (*old, *new)])[0].item == "2"


def test_the_judgements_under_one_criterion() -> None:
    said = [Judgement("1", who, rubric, "x", "") for who in ("ann", "ben") for rubric in ("tone@1", "tone@2", "order@1")]
    assert {each.rubric for each in one_criterion(said, "tone")} == {"tone@1", "tone@2"}
    assert {each.labeler for each in one_criterion(said, "order", ["ann"])} == {"ben"}
    assert one_criterion(said[:2]) == said[:2]
    for criterion, out, word in (
        ("", (), "under 2 criteria: order, tone"),
        ("tome", (), "did you mean 'tone'?"),
        ("tone", ("bob",), "no labeler 'bob'"),
        ("tone", ("ann", "ben"), "all judgements are by labelers who are left out"),
    ):
        with pytest.raises(BadInput) as refused:
            one_criterion(said, criterion, out)
        assert word in str(refused.value)
