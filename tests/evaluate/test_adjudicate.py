"""Rulings come back as references, or are refused by line and value."""

from __future__ import annotations

from pathlib import Path

import pytest

from tuneladder.errors import BadInput
from tuneladder.evaluate.adjudicate import changed, corrected, read_adjudicated, rulings
from tuneladder.types import Answer, Marked

LABELS = ("sport", "money", "a|b")
ANSWERS = tuple(
    Marked(str(n), "text", "sport", Answer(said), said == "sport") for n, said in enumerate(("sport", "money", "money", "money"))
)


def read(path: Path, text: str) -> dict[str, tuple[str, ...]]:
    path.write_text(text, "utf-8")
    return read_adjudicated(path, ANSWERS, LABELS)


def test_rulings_are_the_new_references(tmp_path: Path) -> None:
    file = tmp_path / "r.csv"
    ruled = read(file, 'id,right,input\n1,money,"two\nlines"\n2, sport | money ,x\n3,,x\n0,sport,x\n')
    assert ruled == {"1": ("money",), "2": ("sport", "money"), "0": ("sport",)}
    assert changed(ANSWERS, ruled) == 2
    anew = corrected(ANSWERS, ruled)
    assert [(own.reference, own.others, own.correct) for own in anew] == [
        ("sport", (), True),
        ("money", (), True),
        ("sport", ("money",), True),
        ("sport", (), False),
    ]
    assert read(file, "﻿id;right\n1;money\n") == {"1": ("money",)}  # as a spreadsheet may save it
    assert read(file, "id,right\n1,a|b\n") == {"1": ("a|b",)}  # a label that holds the mark


def test_the_score_before_and_after(tmp_path: Path) -> None:
    ruled = read(tmp_path / "r.csv", "id,right\n1,money\n2,money\n")
    (accuracy,) = rulings(ANSWERS, corrected(ANSWERS, ruled), ["accuracy"], LABELS, seed=0)
    assert (accuracy.metric, accuracy.before.value, accuracy.after.value) == ("accuracy", 0.25, 0.75)
    assert accuracy.after.low < 0.75 < accuracy.after.high
    assert accuracy.before.count == accuracy.after.count == 4


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,right\n9,money\n", "line 2: the variant answered no item '9'"),
        ("id,right\n1,sport\n9,\n", "line 3: the variant answered no item '9'"),
        ("id,right\n1,mony\n", "line 2: 'mony': did you mean 'money'?"),
        ("id,right\n1,sport|mony\n", "line 2: 'mony'"),
        ("id,right\n1,sport|\n", "names a label that is empty"),
        ("id,right\n1,sport\n2,money\n1,money\n", "lines 2 and 4 both rule on item 1"),
        ("id,right\n1,sport\n1,sport\n", "lines 2 and 3 both rule on item 1"),
        ("id,right\n1,\n2, \n", "rules on no row"),
        ("", "no column `id`"),
        ("id,wrong\n1,money\n", "no column `right`"),
    ],
)
def test_rulings_that_cannot_be(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput) as refused:
        read(tmp_path / "r.csv", text)
    assert said in str(refused.value)
    assert refused.value.hint


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="there is no file"):
        read_adjudicated(tmp_path / "nowhere.csv", ANSWERS, LABELS)
    (tmp_path / "r.csv").write_bytes(b"id,right\n1,\xff\xfe\n")
    with pytest.raises(BadInput, match="cannot be read"):
        read_adjudicated(tmp_path / "r.csv", ANSWERS, LABELS)
    with pytest.raises(BadInput, match="cannot be read"):
        read_adjudicated(tmp_path, ANSWERS, LABELS)
