"""Rows that compare answers become a task of comparisons; what compares nothing is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tuneladder import recipe
from tuneladder.errors import BadInput
from tuneladder.task.build import Findings
from tuneladder.task.comparing import contests, one_by_one, told_apart, unit_of
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


def test_pairs_of_equal_scores_say_nothing_of_which_is_better(tmp_path: Path) -> None:
    rows = [row | {"score_chosen": 2, "score_rejected": 2 - (at % 4 > 0)} for at, row in enumerate(many(SHAPES["prompt"], 40))]
    task, found = built(tmp_path, rows)
    level = [own for own in task.comparisons.train if own.scores[0] == own.scores[1]]
    assert any(note.startswith("10 pairs have the same score twice") for note in found.notes)
    assert level
    assert len(told_apart(task.comparisons.train)) == len(task.comparisons.train) - len(level)
    assert len(one_by_one(level)) == 2 * len(level)  # scores are learned all the same
    assert all(a.scores[0] > a.scores[1] for a, _ in contests(task.comparisons.train))
    for row in rows:
        row["score_rejected"] = 2
    with pytest.raises(BadInput, match="rows hold no two answers of which one is better"):
        built(tmp_path, rows)


def test_a_chosen_answer_of_the_lower_score_is_noted(tmp_path: Path) -> None:
    rows = [row | {"score_chosen": 1 + at % 2, "score_rejected": 2 - at % 2} for at, row in enumerate(many(SHAPES["prompt"], 20))]
    assert "in 10 of 20 pairs the chosen answer has the lower score" in " ".join(built(tmp_path, rows)[1].notes)


def test_ties_that_leave_too_few_pairs_are_told(tmp_path: Path) -> None:
    rows = [row | {"rejected": row["chosen"]} for row in many(SHAPES["prompt"], 20)]
    with pytest.raises(BadInput) as caught:
        built(tmp_path, [*rows, *many(SHAPES["prompt"], 1)])
    assert "20 pairs were dropped, for chosen equals rejected; " in caught.value.hint


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
        ([{"prompt": "Hi", "completion": "Hello", "label": True}] * 4, "every answer of .* is wanted: nothing is better"),
        ([{"prompt": "Hi", "completion": "Hello", "label": False}] * 4, "every answer of .* is unwanted: nothing is better"),
        ([{"prompt": "Hi", "completion": "Hello", "score": 2}] * 4, "every answer of .* has the score 2: nothing is better"),
        ([{"prompt": "Hi", "completion": "Hello", "label": "maybe"}] * 4, "holds no comparisons: a label is 'maybe'"),
        ([{"prompt": "Hi", "completion": "Hello", "label": None}] * 4, "holds no comparisons: a label is ''"),
        ([{"prompt": "Hi", "completion": "Hello", "score": None}] * 4, "no row of .* compares answers"),
        ([{"prompt": "Hi", "completion": "Hello", "score": "good"}] * 4, "row 1: score is 'good', not a number"),
        (
            [{"prompt": "Hi", "completion": "Hey", "label": True}] * 101
            + [{"prompt": "Hi", "completion": "Hey", "label": "unsure"}],
            "row 102: label is 'unsure'",
        ),
        ([{"chosen": "Good", "rejected": "Bad"}] * 4, "row 1: nothing says what 'Good' answers"),
        ([{"prompt": "Hi", "chosen": "", "rejected": "Bad"}] * 4, "no row of .* compares answers"),
    ],
)
def test_what_compares_nothing(rows: list[dict[str, Any]], says: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=says) as error:
        built(tmp_path, rows)
    assert error.value.hint


ALONE: dict[str, dict[str, Any]] = {
    "kto": {"prompt": "Hello {n}", "completion": "Good {n}", "label": True},
    "talks": {"messages": [*TALK, {"role": "assistant", "content": "Good {n}"}], "label": True},
}


@pytest.mark.parametrize("shape", ALONE)
def test_answers_that_were_judged_one_by_one(shape: str, tmp_path: Path) -> None:
    rows = [row | {"label": at % 3 == 0} for at, row in enumerate(many(ALONE[shape], 18))]
    task, found = built(tmp_path, [*rows, rows[0] | {"label": None}], rows={"dev": 3, "test": 6})
    assert any(note.startswith("1 rows were dropped: nothing to read") for note in found.notes)  # nobody said
    assert "read as kto: 6 wanted and 12 unwanted answers" in found.notes
    for part in (task.comparisons.dev, task.comparisons.test):
        assert {bool(own.chosen) for own in part} == {True, False}  # each split has both
        assert all(bool(own.chosen) != bool(own.rejected) for own in part)
    # what learns from examples learns the wanted answers alone
    assert [own.references[0] for own in task.examples.train] == [own.chosen for own in task.comparisons.train if own.chosen]
    pairs = contests(task.comparisons.test)
    assert len(pairs) == max(sum(map(bool, (own.chosen for own in task.comparisons.test))), 4)
    assert all(better.chosen and worse.rejected for better, worse in pairs)


def test_answers_with_scores(tmp_path: Path) -> None:
    """As `tuneladder pairs` exports them: two answers a prompt, one of them the better."""
    rows = [
        {"prompt": f"Hello number {n}", "completion": f"{word} {n}", "score": score + n % 2, "count": 3, "spread": 0.5}
        for n in range(12)
        for word, score in (("Good", 3.5), ("Bad", 1.0))
    ]
    task, found = built(tmp_path, rows, rows={"dev": 4, "test": 4})
    assert "read as answers with scores: 24 answers with a score" in found.notes
    assert task.examples.train == ()
    assert {own.source for own in task.comparisons.test}.isdisjoint(own.source for own in task.comparisons.train)
    for better, worse in contests(task.comparisons.test):
        assert better.turns == worse.turns
        assert (better.chosen[:4], worse.chosen[:3]) == ("Good", "Bad")
    unit = unit_of(task.comparisons.train)
    scores = [unit.normal(own.scores[0]) for own in task.comparisons.train if own.scores]
    assert sum(scores) / len(scores) == pytest.approx(0, abs=1e-9)
    assert sum(score * score for score in scores) / len(scores) == pytest.approx(1)
    one_each = [row for row in rows if row["completion"][0] == "G"]  # no prompt has two: neighbours whose scores differ
    task, _ = built(tmp_path, one_each, rows={"dev": 4, "test": 4})
    assert all(better.scores[0] > worse.scores[0] for better, worse in contests(task.comparisons.test))


def test_splits_that_can_be_measured(tmp_path: Path) -> None:
    rows = [row | {"label": at == 0} for at, row in enumerate(many(ALONE["kto"], 18))]
    with pytest.raises(BadInput, match="test rows hold no two answers of which one is better") as error:
        built(tmp_path, rows, rows={"dev": 3, "test": 6})
    assert error.value.hint


def test_published_answers_are_read(shared: Path) -> None:
    place = shared / "data" / "preference" / "kto_en_demo.jsonl"
    if not place.is_file():
        pytest.skip(f"no {place}")
    task, _ = build_preferences(name="kto", data=str(place))
    assert len({bool(own.chosen) for own in task.comparisons.dev}) == 2


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
