from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from tuneladder import load
from tuneladder.errors import BadInput
from tuneladder.task.build import Findings, build
from tuneladder.task.encode import Coder
from tuneladder.task.lint import Piece, lint, tables
from tuneladder.task.pairs import PairCoder
from tuneladder.task.passages import TextCoder
from tuneladder.types import Base, Decoding, Task, Turn


@pytest.fixture(scope="module")
def tokenizer(tiny_folder: Path) -> object:
    return AutoTokenizer.from_pretrained(tiny_folder)


@pytest.fixture
def made(tmp_path: Path) -> tuple[Task, Findings]:
    rows = [
        {"text": f"the parcel number {n} " + "is lost " * (60 if n % 5 == 0 else n % 7), "label": ["lost", "ünfound"][n % 10 == 3]}
        for n in range(80)
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return build(name="t", kind="classify", data=str(path))


def test_without_a_base(made: tuple[Task, Findings]) -> None:
    report = lint(*made, None)
    assert report.row == ()
    assert report.balance["train"]["lost"] == sum(e.references == ("lost",) for e in made[0].examples.train)
    assert any("test has 16 rows" in warning for warning in report.warnings)
    assert any("of the training rows are 'lost'" in warning for warning in report.warnings)
    assert report.facts[0].startswith("train 5")


def test_an_answer_that_is_read_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text,label\n" + "".join(f"parcel {n} is here,{('NaN', 'found')[n % 2]}\n" for n in range(80)))
    said = lint(*build(name="t", kind="classify", data=str(path), input="{{ text }} ({{ label }})", target="label"), None)
    assert any("of 54 training rows the answer itself stands" in warning for warning in said.warnings), said.warnings
    assert any(warning.startswith("'NaN' is a label here, of ") for warning in said.warnings)
    plain = lint(*build(name="t", kind="classify", data=str(path), input="text", target="label"), None)
    assert not any("the answer itself" in warning for warning in plain.warnings)


def test_with_a_base_the_row_is_shown_and_cuts_are_counted(made: tuple[Task, Findings], tokenizer: object) -> None:
    coder = Coder(tokenizer, 100)
    report = lint(*made, coder, asked=lambda e: (Turn("user", f"Where?\n\n{e.turns[0].text}"),))
    first = made[0].examples.train[0]
    assert [piece.learned for piece in report.row] == [False, True]
    assert report.row[1].text.strip().startswith(first.references[0])
    assert "".join(piece.text for piece in report.row).startswith("Where?\n\nthe parcel")
    tally = report.tallies["train"]
    assert tally.kept == len(made[0].examples.train)
    assert 0 < tally.cut < tally.kept
    assert any("of the train rows are cut to fit 100 tokens" in warning for warning in report.warnings)
    counts = {line.split()[0]: line.split()[1:] for line in tables(report) if line}
    assert counts["label"] == ["train", "dev", "test"]
    assert "ünfound" in counts
    assert counts[first.references[0]] == [str(report.balance[split][first.references[0]]) for split in report.balance]


def test_nothing_learnable_is_an_error_that_shows_a_row(made: tuple[Task, Findings], tokenizer: object) -> None:
    with pytest.raises(BadInput, match="the parcel"):
        lint(*made, Coder(tokenizer, 3))


def test_an_encoder_reads_a_row_and_learns_its_label(made: tuple[Task, Findings], tiny_encoder: Base) -> None:
    coder = TextCoder(AutoTokenizer.from_pretrained(tiny_encoder.location), tiny_encoder.context)
    report = lint(*made, coder)
    tally = report.tallies["train"]
    assert (tally.kept, tally.dropped, tally.learned) == (len(made[0].examples.train), 0, 0)
    assert 0 < tally.cut < tally.kept  # every fifth row is longer than the context
    *read, label = report.row
    assert "the parcel number" in "".join(piece.text for piece in read)
    assert not any(piece.learned for piece in read)
    assert label == Piece(made[0].examples.train[0].references[0], True)


def test_a_seq2seqs_row_is_read_and_its_answer_learned(made: tuple[Task, Findings], tiny_seq2seq: Base) -> None:
    coder = PairCoder(AutoTokenizer.from_pretrained(tiny_seq2seq.location), tiny_seq2seq.context, start=0)
    report = lint(*made, coder)
    read, learned = report.row
    example = made[0].examples.train[0]
    assert (read.learned, learned.learned) == (False, True)
    assert example.references[0] in learned.text
    assert read.text.startswith("the parcel number 0")
    assert report.tallies["train"].learned > 0


@pytest.mark.parametrize("seq2seq", [False, True])
def test_references_longer_than_an_answer_may_be_are_counted(tmp_path: Path, tokenizer: object, seq2seq: bool) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"q": f"what of {n}?", "a": f"{n} " + "and on " * 50}) + "\n" for n in range(80)))
    coder = PairCoder(tokenizer, 400, start=0) if seq2seq else Coder(tokenizer, 400)

    def warned(decoding: Decoding) -> list[str]:
        task, findings = build(name="t", kind="generate", data=str(path), input="q", target="a", decoding=decoding)
        return [said for said in lint(task, findings, coder).warnings if "an answer may have" in said]

    assert warned(Decoding(max_new_tokens=300)) == []
    [said] = warned(Decoding(max_new_tokens=20))
    longest = max(len(tokenizer(f" {n} " + "and on " * 50, add_special_tokens=False)["input_ids"]) for n in range(80))
    assert said.startswith("100% of the dev and test references are longer than the 20 tokens")
    pairs = [{"prompt": f"what of {n}?", "chosen": "and on " * 50, "rejected": "and off " * 50} for n in range(80)]
    path.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    compared = load({"name": "t", "task": {"kind": "prefer", "data": str(path)}, "base": "pocket-decoder"}).task
    assert not any("an answer may have" in said for said in lint(compared, Findings("pairs", {}), coder).warnings)
    assert int(said.partition("the longest has ")[2].partition(":")[0]) == pytest.approx(longest, abs=2)
