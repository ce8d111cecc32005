"""What is judged, from a file or as variants write it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tuneladder.errors import BadInput
from tuneladder.feedback.items import Item, gathered, item_row, read_items, read_prompts, write_items
from tuneladder.types import Turn

ROW = {"item": "1", "prompt": "Hi", "answers": {"a": "Hello!", "b": "What?"}}


def write(folder: Path, *rows: dict[str, Any]) -> str:
    path = folder / "items.json"
    path.write_text(json.dumps(rows), "utf-8")
    return str(path)


def read(folder: Path, *rows: dict[str, Any]) -> tuple[Item, ...]:
    return read_items(write(folder, *rows))


def test_items_read_back_as_they_were_written(tmp_path: Path) -> None:
    talk = {
        "item": 2,
        "prompt": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}],
        "answers": {"a": "Yes"},
    }
    one, two = read(tmp_path, ROW, talk)
    assert one == Item("1", (Turn("user", "Hi"),), {"a": "Hello!", "b": "What?"})
    assert (two.id, two.turns) == ("2", (Turn("system", "Be kind."), Turn("user", "Hi")))
    assert read(tmp_path, item_row(one), item_row(two)) == (one, two)


@pytest.mark.parametrize(
    ("rows", "word"),
    [
        ([{"item": "1", "prompt": "Hi"}], "no column `answers`"),
        ([ROW, ROW], "row 2: item 1 is given twice"),
        ([ROW | {"item": " "}], "row 1: item is empty"),
        ([ROW | {"answers": ["Hello!"]}], "the answers of item 1 have no names"),
        ([ROW | {"answers": {}}], "the answers of item 1 have no names"),
        ([ROW | {"answers": {"tie": "x"}}], "is called 'tie'"),
        ([ROW | {"prompt": ""}], "item 1 asks nothing"),
    ],
)
def test_what_is_no_item_is_refused(tmp_path: Path, rows: list[dict[str, Any]], word: str) -> None:
    with pytest.raises(BadInput) as refused:
        read(tmp_path, *rows)
    assert word in str(refused.value)


def test_prompts_of_a_file(tmp_path: Path) -> None:
    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}, {"role": "user", "content": "Why?"}]
    named = write(tmp_path, {"item": "q1", "prompt": "Hi"}, {"item": "q2", "prompt": talk})
    assert read_prompts(named) == {"q1": (Turn("user", "Hi"),), "q2": tuple(Turn(each["role"], each["content"]) for each in talk)}
    assert list(read_prompts(write(tmp_path, {"prompt": "Hi"}, {"prompt": "Hi"}))) == ["1", "2"]


@pytest.mark.parametrize(
    ("rows", "word"),
    [
        ([{"question": "Hi"}], "no column `prompt`: its columns are question"),
        ([{"prompt": "Hi", "item": "a"}] * 2, "row 2: item a is given twice"),
        ([{"prompt": "Hi", "item": ""}], "row 1: item is empty"),
        ([{"prompt": "  "}], "item 1 asks nothing"),
    ],
)
def test_what_is_no_prompt_is_refused(tmp_path: Path, rows: list[dict[str, Any]], word: str) -> None:
    with pytest.raises(BadInput) as refused:
        read_prompts(write(tmp_path, *rows))
    assert word in str(refused.value)


def test_what_one_says_again_stands_once(tmp_path: Path) -> None:
    prompts = {"1": (Turn("user", "Hi"),), "2": (Turn("user", "Why?"),)}
    first, second = gathered(prompts, {"lora": [["a", "b", "a"], ["c", "c", "c"]], "org/base": [["a"], ["d"]]})
    assert first.answers == {"lora 1": "a", "lora 2": "b", "org/base": "a"}
    assert (second.id, second.turns, second.answers) == ("2", prompts["2"], {"lora 1": "c", "org/base": "d"})
    path = tmp_path / "new" / "items.jsonl"
    assert write_items(path, (first, second)) == 2
    assert read_items(str(path)) == (first, second)
