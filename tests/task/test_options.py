"""Rows that bring their own options: where they stand, which is right, and what is wrong with some."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tuneladder.errors import BadInput
from tuneladder.task.build import build
from tuneladder.task.guess import guess
from tuneladder.task.leaks import read_text
from tuneladder.task.options import options_in
from tuneladder.types import Task

THINGS = ("river", "heron", "bridge", "mill", "parcel", "minister", "market")
THINGS += ("goal", "battery", "phone", "order", "vote", "chip", "refund")


def questions(make: Any, count: int = 42) -> list[dict[str, Any]]:
    return [make(n, f"Number {n}: the {THINGS[n % 14]} and the {THINGS[n * 5 % 13]} {n * n}") for n in range(count)]


def table(folder: Path, rows: list[dict[str, Any]]) -> str:
    path = folder / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return str(path)


def made(folder: Path, rows: list[dict[str, Any]], **keys: Any) -> Task:
    return build(name="t", kind="choose", data=table(folder, rows), **keys)[0]


SHAPES: dict[str, Any] = {  # as HellaSwag, ARC, ARC's raw rows, OpenBookQA, WinoGrande, MMLU, COPA, MedMCQA and SocialIQA have them
    "hellaswag": lambda n, q: {"ctx": q, "label": str(n % 4), "endings": [f"end {n} {k}" for k in range(4)]},
    "arc": lambda n, q: {
        "question": q,
        "choices": {"text": [f"end {n} {k}" for k in range(4)], "label": ["1", "2", "3", "4"]},
        "answerKey": str(n % 4 + 1),
    },
    "raw": lambda n, q: {
        "stem": q,
        "choices": [{"text": f"end {n} {k}", "label": "ABCD"[k]} for k in range(4)],
        "answerKey": "ABCD"[n % 4],
    },
    "openbookqa": lambda n, q: {"q": q, "choices": [f"end {n} {k}" for k in range(4)], "answer": n % 4},
    "winogrande": lambda n, q: {"sentence": q, "option1": f"end {n} 0", "option2": f"end {n} 1", "answer": str(n % 2 + 1)},
    "mmlu": lambda n, q: {"question": q, **{"ABCD"[k]: f"end {n} {k}" for k in range(4)}, "answer": "ABCD"[n % 4]},
    "copa": lambda n, q: {"premise": q, "choice1": f"end {n} 0", "choice2": f"end {n} 1", "label": n % 2},
    "medmcqa": lambda n, q: {"question": q, **{f"op{'abcd'[k]}": f"end {n} {k}" for k in range(4)}, "cop": n % 4 + 1},
    "siqa": lambda n, q: {"question": q, **{f"answer{'ABC'[k]}": f"end {n} {k}" for k in range(3)}, "label": str(n % 3 + 1)},
    "text": lambda n, q: {"question": q, "options": f"end {n} 0 | end {n} 1", "answer": f"end {n} {n % 2}"},
}
COUNTS = {"winogrande": 2, "copa": 2, "siqa": 3, "text": 2}


@pytest.mark.parametrize("shape", SHAPES)
def test_known_shapes_are_seen_and_read(shape: str, tmp_path: Path) -> None:
    rows = questions(SHAPES[shape])
    recipe, why = guess(table(tmp_path, rows))
    assert (recipe["task"]["kind"], recipe["task"]["metric"]) == ("choose", "accuracy")
    assert any("is right, after" in said for said in why)
    task = build(name="t", **recipe["task"])[0]
    for example in (*task.examples.train, *task.examples.dev, *task.examples.test):
        n, count = int(example.id) - 1, COUNTS.get(shape, 4)
        assert example.options == tuple(f"end {n} {k}" for k in range(count))
        assert example.references == (f"end {n} {n % count}",)
        assert f"Number {n}:" in example.turns[0].text
    del recipe["task"]["options"]  # the names alone say it too
    assert build(name="t", **recipe["task"])[0].examples == task.examples


def test_a_passage_is_read_before_its_question(tmp_path: Path) -> None:
    rows = questions(lambda n, q: {"context": f"Story {n}.", "question": q, "choices": ["yes", f"no {n}"], "label": n % 2})
    assert guess(table(tmp_path, rows))[0]["task"]["input"] == "{{ context }}\n{{ question }}"


def test_columns_that_are_named_are_taken(tmp_path: Path) -> None:
    rows = questions(lambda n, q: {"q": q, "good": f"right {n}", "bad": f"wrong {n}", "key": "A"})
    task = made(tmp_path, rows, input="q", target="key", options=["good", "bad"])
    assert task.examples.train[0].options[0].startswith("right")
    assert options_in(tuple(rows[0]), rows) == ()
    assert options_in(("a1", "a", "c"), [{}]) == ()  # of which one is missing


def test_questions_that_read_the_same_with_other_options_are_two(tmp_path: Path) -> None:
    rows = questions(lambda n, q: {"q": "Which of these is it?", "choices": [q, f"no {n} {q[::-1]}"], "answer": 0})
    task = made(tmp_path, rows, input="q", target="answer")
    assert sum(map(len, (task.examples.train, task.examples.dev, task.examples.test))) == len(rows)
    assert len({read_text(example) for example in task.examples.train}) == len(task.examples.train)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"answer": "purple"}, "row 3: the answer 'purple' is none of its options"),
        ({"answer": 7}, "row 3: the answer '7' is none of its options"),
        ({"choices": ["one"]}, "row 3: `choices` is '[\"one\"]'"),
        ({"choices": ["one", "two", "one"]}, "row 3: two of its options are 'one'"),
        ({"choices": ["one", " "]}, "row 3: option 2 of 2 is empty"),
        ({"choices": None}, "row 3 has no options to choose from"),
        ({"choices": 5}, "row 3: `choices` is '5'"),
        ({"choices": {"text": ["one", "two"], "label": 3}}, "row 3: the labels of `choices` are 3"),
    ],
)
def test_what_is_wrong_with_a_row_is_said(changed: dict[str, Any], said: str, tmp_path: Path) -> None:
    rows = questions(lambda n, q: {"q": q, "choices": ["one", "two"], "answer": n % 2})
    rows[2] |= changed
    with pytest.raises(BadInput) as caught:
        made(tmp_path, rows, input="q", target="answer")
    assert said in caught.value.message
    assert caught.value.hint


def test_what_is_wrong_with_columns_is_said(tmp_path: Path) -> None:
    rows = questions(lambda n, q: {"q": q, "a": "one", "b": "two", "c": None, "answer": "A"})
    assert made(tmp_path, rows, input="q", target="answer").examples.train[0].options == ("one", "two")  # c is of no row
    rows[2] |= {"a": None, "b": "two"}
    with pytest.raises(BadInput, match="row 3: option 1 of 2 is empty"):
        made(tmp_path, rows, input="q", target="answer")
    rows[2] |= {"a": "one", "b": None}
    with pytest.raises(BadInput, match="row 3 has 1 of the options a, b, c"):
        made(tmp_path, rows, input="q", target="answer")
    for options, said in (
        ("d", "no column 'd'"),
        (["a"], "options is ['a']"),
        (["a", "a"], "names a column twice"),
        (["a", "answer"], "is an option and the target"),
    ):
        with pytest.raises(BadInput) as caught:
            made(tmp_path, rows, input="q", target="answer", options=options)
        assert said in caught.value.message
    with pytest.raises(BadInput, match="no length to normalise by 'words'"):
        made(tmp_path, rows, input="q", target="answer", normalise="words")
    with pytest.raises(BadInput, match="`labels` are the options of every row"):
        made(tmp_path, rows, input="q", target="answer", labels=["A", "B"], normalise="bytes")
    with pytest.raises(BadInput, match="this task is of kind classify"):
        build(name="t", kind="classify", data=table(tmp_path, rows), input="q", target="answer", normalise="bytes")
