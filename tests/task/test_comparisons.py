"""Comparisons from the shapes that people's preferences have."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tuneladder.errors import BadInput
from tuneladder.task.comparisons import Compared, prompt_of, read_comparisons, rows_of
from tuneladder.types import Comparison, Turn

Rows = Sequence[Mapping[str, Any]]


@pytest.fixture
def read(tmp_path: Path) -> Any:
    def call(*rows: Mapping[str, Any]) -> Compared:
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
        return read_comparisons(str(path))

    return call


def test_prompt_chosen_and_rejected_with_what_stands_beside_them(read: Any) -> None:
    row = {"prompt": "Hi", "chosen": "Hello!", "rejected": "What?"}
    found = read(row, row | {"weight": 0.5, "margin": 2, "source": "q7"})
    plain, weighed = found.comparisons
    assert plain == Comparison("1", (Turn("user", "Hi"),), "Hello!", "What?")
    assert (weighed.weight, weighed.margin, weighed.source) == (0.5, 2.0, "q7")
    assert (found.format, found.alike, found.dropped) == ("preference", 0, 0)
    for bad in ({"weight": -1}, {"margin": "much"}, {"weight": "inf"}):
        with pytest.raises(BadInput, match=rf"row 1: its {next(iter(bad))} is"):
            read(row | bad)


def test_two_sides_that_are_the_same_or_empty_are_counted_and_left_out(read: Any) -> None:
    row = {"prompt": "Hi", "chosen": "Hello!", "rejected": "What?"}
    found = read(row, row | {"rejected": " Hello!"}, row | {"chosen": ""})
    assert (len(found.comparisons), found.alike, found.dropped) == (1, 1, 1)
    with pytest.raises(BadInput, match="in every row chosen and rejected are the same"):
        read(row | {"chosen": "What?"})
    with pytest.raises(BadInput, match="no row of 1 has two answers to one prompt"):
        read(row | {"chosen": ""})


def test_conversations_that_are_the_same_but_for_their_last_turn(read: Any) -> None:
    start = "\n\nHuman: Hi\n\nAssistant: Hello!\n\nHuman: Where is it?\n\nAssistant:"
    found = read(
        {"chosen": f"{start} Here.", "rejected": f"{start} No idea."},
        {"chosen": f"{start} Here.", "rejected": "\n\nHuman: Else?\n\nAssistant: No."},
        {"chosen": f"{start} Here.", "rejected": start},
    )
    (one,) = found.comparisons
    assert one.turns == (Turn("user", "Hi"), Turn("assistant", "Hello!"), Turn("user", "Where is it?"))
    assert (one.chosen, one.rejected, found.dropped) == ("Here.", "No idea.", 2)
    asked = [{"role": "user", "content": "Hi"}]
    said = [{"role": "assistant", "content": text} for text in ("Hello!", "What?")]
    (one,) = read({"chosen": [*asked, said[0]], "rejected": [*asked, said[1]]}).comparisons
    assert (one.turns, one.chosen, one.rejected) == ((Turn("user", "Hi"),), "Hello!", "What?")
    with pytest.raises(BadInput, match="row 1: its two sides have no prompt before them: 'Hello!'"):
        read({"chosen": "Hello!", "rejected": "What?"})


def test_good_and_bad_answers_of_one_prompt_are_paired(read: Any) -> None:
    def answer(text: str, label: bool, prompt: str = "Hi") -> dict[str, Any]:
        return {"prompt": prompt, "completion": text, "label": label}

    rows = [answer("Hello!", True), answer("Hey", True), answer("What?", False), answer("Alone", True, "Who?")]
    found = read(*rows, {**answer("No word of it was judged", True), "label": None})
    assert found.format == "kto"
    assert {(each.chosen, each.rejected, each.source) for each in found.comparisons} == {
        ("Hello!", "What?", "1"),
        ("Hey", "What?", "2"),
    }
    assert found.dropped == 1
    with pytest.raises(BadInput, match="no row of 2 has two answers to one prompt"):
        read(answer("Hello!", True), answer("What?", False, "Who?"))


def test_rows_that_are_no_preferences_are_refused(read: Any) -> None:
    with pytest.raises(BadInput, match="holds no preferences: its columns are text, label"):
        read({"text": "a", "label": "b"})


def test_rows_read_back_as_what_they_were_written_from(read: Any) -> None:
    own = [
        Comparison("1", (Turn("user", "Hi"),), "Hello!", "What?", 0.5, 2.0, "q"),
        Comparison("2", (Turn("system", "Be kind."), Turn("user", "Hi")), "Hello!", "What?"),
    ]
    assert list(read(*rows_of(own)).comparisons) == own
    assert prompt_of(own[0].turns) == "Hi"
    assert prompt_of((Turn("assistant", "Hi"),)) == [{"role": "assistant", "content": "Hi"}]


@pytest.mark.parametrize(("name", "count"), [("dpo_en_demo.jsonl", 300), ("kto_en_demo.jsonl", 1), ("hh_harmless/val.jsonl", 199)])
def test_published_sets_are_read(shared: Path, name: str, count: int) -> None:
    path = shared / "data" / "preference" / name
    if not path.is_file():
        pytest.skip(f"no {path}")
    found = read_comparisons(str(path))
    assert len(found.comparisons) >= count
    assert all(each.turns[-1].role == "user" for each in found.comparisons)
