"""Answers kept as lines of a file: whole after a kill, shared by processes, and nothing for whoever holds another key."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tuneladder.errors import BadInput
from tuneladder.model.kept import Kept, Paid
from tuneladder.store import Store

ONE, TWO = Paid(["yes"], 3, 1, 0.5), Paid(-1.25, None, None, 0.1)


def test_what_is_kept_is_found_again(tmp_path: Path) -> None:
    kept = Kept(Store(tmp_path), "answers")
    kept.keep("a", ONE)
    kept.keep("b", TWO)
    again = Kept(Store(tmp_path), "answers")
    assert (again.find("a"), again.find("b"), again.find("c")) == (ONE, TWO, None)
    assert Kept(Store(tmp_path), "others").find("a") is None


def test_what_another_process_keeps_is_seen(tmp_path: Path) -> None:
    ours, theirs = Kept(Store(tmp_path), "answers"), Kept(Store(tmp_path), "answers")
    assert ours.find("a") is None
    theirs.keep("a", ONE)
    assert ours.find("a") == ONE
    ours.keep("b", TWO)
    assert theirs.find("b") == TWO


@pytest.mark.parametrize("torn", ['{"key": "b", "reply": ["n', '{"key": "b"}', "[1]", '{"reply": 1}', "\x00\x00"])
def test_a_line_that_a_kill_tore_costs_no_other(tmp_path: Path, torn: str) -> None:
    Kept(Store(tmp_path), "answers").keep("a", ONE)
    with (tmp_path / "answers.jsonl").open("a") as file:
        file.write(torn)
    Kept(Store(tmp_path), "answers").keep("c", TWO)
    again = Kept(Store(tmp_path), "answers")
    assert (again.find("a"), again.find("b"), again.find("c")) == (ONE, None, TWO)


def test_without_a_store_answers_live_as_long_as_they_are_asked_for() -> None:
    kept = Kept(None, "answers")
    kept.keep("a", ONE)
    assert kept.find("a") == ONE
    assert kept.find("b") is None


def test_a_lone_surrogate_is_kept(tmp_path: Path) -> None:
    Kept(Store(tmp_path), "answers").keep("a", Paid(["\ud800"], 1, 1, 0.0))
    assert json.loads((tmp_path / "answers.jsonl").read_text().strip())["reply"] == ["\ud800"]


def test_a_store_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    kept = Kept(Store(tmp_path / "store"), "answers")
    (tmp_path / "store").rmdir()
    with pytest.raises(BadInput, match="cannot write"):
        kept.keep("a", ONE)
