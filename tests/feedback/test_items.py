"""What is judged, from a file or sampled."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tuneladder.errors import BadInput
from tuneladder.feedback.items import Item, item_row, read_items, sampled
from tuneladder.types import Decoding, Turn, Turns

ROW = {"item": "1", "prompt": "Hi", "answers": {"a": "Hello!", "b": "What?"}}


def read(folder: Path, *rows: dict[str, Any]) -> tuple[Item, ...]:
    path = folder / "items.json"
    path.write_text(json.dumps(rows), "utf-8")
    return read_items(str(path))


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


class Says:
    """An engine that says its name, the ask and which sample it is; of two samples the second is the first again."""

    def __init__(self, name: str) -> None:
        self.name = name

    def generate(self, asks: Sequence[Turns], decoding: Decoding) -> list[list[str]]:
        return [[f"{self.name} on {ask[0].text} {n % 2}" for n in range(decoding.samples)] for ask in asks]

    def score(self, asks: Sequence[Turns], endings: Sequence[Sequence[str]]) -> list[list[float]]:
        raise AssertionError


def test_answers_are_sampled_from_every_engine_and_what_one_says_again_stands_once() -> None:
    asks = {"1": (Turn("user", "Hi"),), "2": (Turn("user", "Why?"),)}
    engines = {"lora": Says("l"), "org/base": Says("b")}
    first, second = sampled(asks, engines, Decoding(samples=3, temperature=1.0))
    assert first.answers == {"lora 1": "l on Hi 0", "lora 2": "l on Hi 1", "org/base 1": "b on Hi 0", "org/base 2": "b on Hi 1"}
    assert (second.id, second.turns, second.answers["lora 1"]) == ("2", asks["2"], "l on Why? 0")
    assert sampled(asks, engines, Decoding())[0].answers == {"lora": "l on Hi 0", "org/base": "b on Hi 0"}
