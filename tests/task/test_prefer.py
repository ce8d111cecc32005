"""Rows that compare answers become a task of comparisons; what compares nothing is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tuneladder import recipe
from tuneladder.errors import BadInput
from tuneladder.task.build import Findings
from tuneladder.task.prefer import build_preferences
from tuneladder.types import Task, Turn

HH = "\n\nHuman: Hello {n}\n\nAssistant: Hi.\n\nHuman: And now?\n\nAssistant:"
TALK = [{"role": "user", "content": "Hello {n}"}]
SHAPES: dict[str, dict[str, Any]] = {
    "prompt": {"prompt": "Hello {n}", "chosen": "Good {n}", "rejected": "Bad {n}"},
    "transcripts": {"chosen": f"{HH} Good {{n}}", "rejected": f"{HH} Bad {{n}}"},
    "conversations": {"conversations": TALK, "chosen": {"value": "Good {n}", "from": "gpt"}, "rejected": "Bad {n}"},
    "messages": {
        "chosen": [*TALK, {"role": "assistant", "content": "Good {n}"}],
        "rejected": [*TALK, {"role": "assistant", "content": "Bad {n}"}],
    },
}


def built(folder: Path, given: list[dict[str, Any]], **settings: Any) -> tuple[Task, Findings]:
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, given)))
    return build_preferences(name="pairs", data=str(folder / "rows.jsonl"), **settings)


def many(shape: dict[str, Any], count: int = 12) -> list[dict[str, Any]]:
    return [json.loads(json.dumps(shape).replace("{n}", f"number {n} of many")) for n in range(count)]


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_of_pairs(shape: str, tmp_path: Path) -> None:
    task, found = built(tmp_path, many(SHAPES[shape]), rows={"dev": 2, "test": 3})
    assert found.rows == {"train": 7, "dev": 2, "test": 3}
    pair = task.comparisons.train[0]
    assert (pair.chosen[:4], pair.rejected[:4], pair.turns[-1].role) == ("Good", "Bad ", "user")
    if shape == "transcripts":
        assert [turn.role for turn in pair.turns] == ["user", "assistant", "user"]
        assert pair.turns[-1] == Turn("user", "And now?")
    # what learns from examples learns the better answers of the same rows
    assert [own.references for own in task.examples.train] == [(own.chosen,) for own in task.comparisons.train]
    assert [own.source for own in task.examples.train] == [own.source for own in task.comparisons.train]


def test_ties_and_rows_that_say_nothing_are_dropped_and_counted(tmp_path: Path) -> None:
    rows = many(SHAPES["transcripts"], 12)
    rows[3]["rejected"] = rows[3]["chosen"]
    rows[4]["rejected"] = rows[4]["rejected"].replace("Assistant: Hi.", "Assistant: Yes?")  # they differ before the last answer
    rows[5]["rejected"] = HH
    task, found = built(tmp_path, rows, rows={"dev": 1, "test": 1})
    assert len(task.comparisons.train) == 7
    assert "1 pairs were dropped: chosen equals rejected" in found.notes
    assert any(note.startswith("2 rows were dropped: nothing to read") for note in found.notes)
    for row in rows:
        row["rejected"] = row["chosen"]
    with pytest.raises(BadInput, match=r"every pair of .* is a tie: chosen equals rejected in all 12") as error:
        built(tmp_path, rows)
    assert "leave out ties" in error.value.hint


def test_weights_and_margins_are_read(tmp_path: Path) -> None:
    rows = [row | {"weight": 0.5, "margin": "1.5", "score_chosen": 3} for row in many(SHAPES["prompt"])]
    assert {own.scores for own in built(tmp_path, rows)[0].comparisons.train} == {None}
    rows = [row | {"score_rejected": "-1"} for row in rows]
    task, _ = built(tmp_path, rows)
    assert {(own.weight, own.margin, own.scores) for own in task.comparisons.train} == {(0.5, 1.5, (3.0, -1.0))}
    for column, value, says in (
        ("margin", "much", "'much', not a number"),
        ("score_chosen", "good", "'good', not a number"),
        ("margin", float("inf"), "inf"),
        ("weight", 0, "is 0"),
    ):
        with pytest.raises(BadInput, match=rf"row 1: {column} is .*{says.split()[-1]}"):
            built(tmp_path, [{**rows[0], column: value}, *rows[1:]])


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([{"text": "a", "label": "b"}] * 4, "holds no comparisons"),
        ([{"prompt": "Hi", "completion": "Hello", "label": True}] * 4, "compares it with no other"),
        ([{"chosen": "Good", "rejected": "Bad"}] * 4, "row 1: nothing says what 'Good' answers"),
        ([{"prompt": "Hi", "chosen": "", "rejected": "Bad"}] * 4, "no row of .* compares answers"),
    ],
)
def test_what_compares_nothing(rows: list[dict[str, Any]], says: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=says) as error:
        built(tmp_path, rows)
    assert error.value.hint


def test_a_recipe_of_comparisons(tmp_path: Path, tiny_folder: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, many(SHAPES["prompt"]))))
    task = {"kind": "prefer", "data": str(tmp_path / "rows.jsonl"), "rows": {"dev": 2, "test": 2}, "system": "Be kind."}
    given = {"task": task, "base": str(tiny_folder), "rungs": ["zero_shot", "dpo"]}
    read = recipe.load(given)
    assert (read.task.metric, read.task.prompt.system, len(read.task.comparisons.dev)) == ("preference", "Be kind.", 2)
    again = recipe.load({**given, "task": read.resolved["task"]})
    assert again.task == read.task
    for key, value in {"labels": ["a", "b"], "input": "prompt", "metric": "rouge_l"}.items():
        with pytest.raises(BadInput, match=f"{key}|{value}"):
            recipe.load({**given, "task": {**task, key: value}})
