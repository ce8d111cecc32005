from __future__ import annotations

import bz2
import contextlib
import gzip
import json
import lzma
import math
import os
import random
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from tuneladder.errors import BadInput
from tuneladder.task.read import columns_of, hub_splits, read_rows

ROWS = [{"text": "Grüße, 世界 🎉", "label": "a"}, {"text": 'said "no",\nthen left', "label": "b"}]


def put(folder: Path, name: str, content: str | bytes) -> str:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


CSV = 'text,label\n"Grüße, 世界 🎉",a\n"said ""no"",\nthen left",b\n'
JSONL = "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS) + "\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", CSV),
        ("bom.csv", b"\xef\xbb\xbf" + CSV.encode()),
        ("wide.csv", CSV.encode("utf-16")),
        ("crlf.csv", CSV.replace("\n", "\r\n").replace(",\r\nthen", ",\nthen")),
        ("semicolon.csv", CSV.replace("text,label", "text;label").replace('",a', '";a').replace('",b', '";b')),
        ("a.tsv", CSV.replace("text,label", "text\tlabel").replace('",a', '"\ta').replace('",b', '"\tb')),
        ("a.jsonl", JSONL),
        ("bom.jsonl", b"\xef\xbb\xbf" + JSONL.encode()),
        ("blank.jsonl", "\n" + JSONL.replace("\n", "\n\n")),
        ("a.json", json.dumps(ROWS)),
        ("pretty.jsonl", json.dumps(ROWS, indent=2)),
        ("lines.json", JSONL),
        ("inside.json", json.dumps({"version": 1, "data": ROWS}, indent=1)),
        ("a.csv.gz", gzip.compress(CSV.encode(), mtime=0)),
        ("a.jsonl.xz", lzma.compress(JSONL.encode())),
        ("a.jsonl.bz2", bz2.compress(JSONL.encode())),
    ],
)
def test_every_format_gives_the_same_rows(tmp_path: Path, name: str, content: str | bytes) -> None:
    assert read_rows(put(tmp_path, name, content)) == ROWS


@pytest.mark.parametrize(("suffix", "pack"), [("", bytes), (".gz", gzip.compress), (".xz", lzma.compress), (".bz2", bz2.compress)])
def test_json_lines_are_read_in_little_more_than_their_rows_take(tmp_path: Path, suffix: str, pack: Any) -> None:
    row = json.dumps({"text": "the heron waits " * 2_000}) + "\n"
    path = put(tmp_path, f"a.jsonl{suffix}", pack(row.encode() * 900))
    tracemalloc.start()
    rows = read_rows(path)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(rows) == 900
    assert peak < held + 10_000_000  # what xz keeps to look back into


def test_parquet_and_xlsx(tmp_path: Path) -> None:
    import openpyxl
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    assert read_rows(str(tmp_path / "a.parquet")) == ROWS
    book = openpyxl.Workbook()
    assert book.active is not None
    for cells in (["text", "label", None], ["Grüße, 世界 🎉", 1, None], ["", None, None], ["x", 2.5, None]):
        book.active.append(cells)
    book.save(tmp_path / "a.xlsx")
    assert read_rows(str(tmp_path / "a.xlsx")) == [{"text": "Grüße, 世界 🎉", "label": 1}, {"text": "x", "label": 2.5}]


def test_paragraphs(tmp_path: Path) -> None:
    assert read_rows(put(tmp_path, "a.txt", "One\ntwo.\n \n\nThree.\n")) == [{"text": "One\ntwo."}, {"text": "Three."}]


def test_nan_in_json_is_an_empty_cell(tmp_path: Path) -> None:
    rows = [{"text": None, "spans": [None, 1.5], "far": -math.inf}, {"text": "NaN"}]
    lines = '{"text": NaN, "spans": [NaN, 1.5], "far": -Infinity}\n{"text": "NaN"}\n'
    assert read_rows(put(tmp_path, "a.jsonl", lines)) == rows
    assert read_rows(put(tmp_path, "a.json", f"[{lines.strip().replace(chr(10), ',')}]")) == rows


def test_line_separators_inside_json_strings_end_no_row(tmp_path: Path) -> None:
    row = {"text": "a\u2028b\u0085c"}
    assert read_rows(put(tmp_path, "a.jsonl", f"{json.dumps(row, ensure_ascii=False)}\n" * 2)) == [row, row]


def test_fields_of_more_than_pythons_limit(tmp_path: Path) -> None:
    long = "word " * 60_000
    assert read_rows(put(tmp_path, "a.csv", f"text,label\n{long},a\n")) == [{"text": long, "label": "a"}]


def test_bare_quotes_in_tsv_swallow_nothing(tmp_path: Path) -> None:
    rows = read_rows(put(tmp_path, "a.tsv", 'text\tlabel\n"Open quote\ta\nnext\tb\n'))
    assert rows == [{"text": '"Open quote', "label": "a"}, {"text": "next", "label": "b"}]


def test_short_lines_are_filled_and_columns_are_joined(tmp_path: Path) -> None:
    assert read_rows(put(tmp_path, "a.csv", "text,label\nx\n\n")) == [{"text": "x", "label": ""}]
    assert columns_of(read_rows(put(tmp_path, "a.jsonl", '{"a": 1}\n{"b": 2, "a": 3}\n'))) == ("a", "b")


def test_environment_variables_expand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "a.csv", CSV)
    monkeypatch.setenv("ROWS_HERE", str(tmp_path))
    assert read_rows("${ROWS_HERE}/a.csv") == read_rows("$ROWS_HERE/a.csv") == ROWS
    monkeypatch.delenv("ROWS_HERE")
    with pytest.raises(BadInput, match="environment variable ROWS_HERE, which is not set"):
        read_rows("${ROWS_HERE}/a.csv")


NOISE = random.Random(0).randbytes(5_000)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.csv", b"", "is empty"),
        ("a.csv", b"\xef\xbb\xbf\n \n", "is empty"),
        ("a.csv", b"text,label\n", "has no rows"),
        ("a.csv", NOISE, "not UTF-8 text"),
        ("a.csv", b"text,label\nx\0y,a\n", "NUL"),
        ("a.csv", "text,label\nGrüße,a\n".encode("latin-1"), "byte 0xfc at position 13"),
        ("a.csv", 'text,label\n"open,a\nx,b\n', "never closed"),
        ("a.csv", "text,label\nx,a,more\n", "line 2: 3 fields, but the header has 2"),
        ("a.csv", "text,text\nx,y\n", "column 'text' more than once"),
        ("a.jsonl", b"", "is empty"),
        ("a.jsonl", NOISE, "not UTF-8 text"),
        ("a.jsonl", '{"text": "x"}\n{"text": \n', "line 2: broken JSON at column 10"),
        ("a.jsonl", '{"text": "x"}\n[1]\n', r"line 2: \[1\] is not an object"),
        ("a.jsonl", "1\n2\n", "line 1: 1 is not an object"),
        ("a.jsonl", "[1, 2]\n[3]\n", r"line 1: \[1, 2\] is not an object"),
        ("a.json", '[{"text": "x"},', "broken JSON at line 1, column 16"),
        ("a.json", '[{"text": "x"}, 3]', "item 2: 3 is not an object"),
        ("a.json", "[" * 200_000, "cannot be read"),
        ("a.json", '{"n": ' + "1" * 5_000 + "}", "cannot be read"),
        ("a.json", "[]", "has no rows"),
        ("a.json", "hello", "broken JSON"),
        ("a.parquet", NOISE, "cannot be read as Parquet"),
        ("a.parquet", b"PAR1" + NOISE + b"PAR1", "cannot be read as Parquet"),
        ("a.xlsx", NOISE, "cannot be read as XLSX"),
        ("a.txt", NOISE, "not UTF-8 text"),
        ("a.jsonl.xz", NOISE, "cannot read"),
        ("a.csv.gz", NOISE, "cannot read"),
        ("a.csv.gz", gzip.compress(CSV.encode(), mtime=0)[:-12], "cannot read"),
        ("a.csv.gz", gzip.compress(b"", mtime=0), "is empty"),
        ("a.xls", NOISE, "old format"),
        ("a.cvs", CSV, "did you mean '.csv'"),
        ("none", CSV, "no reader for files"),
    ],
)
def test_bad_files_are_sentences_with_hints(tmp_path: Path, name: str, content: str | bytes, says: str) -> None:
    with pytest.raises(BadInput, match=says) as caught:
        read_rows(put(tmp_path, name, content))
    assert caught.value.hint
    assert len(str(caught.value)) < 1_000


@pytest.mark.parametrize("suffix", ["csv", "tsv", "json", "jsonl", "xlsx", "parquet", "txt", "csv.gz", "jsonl.xz"])
def test_noise_of_many_kinds_never_escapes(tmp_path: Path, suffix: str) -> None:
    good = CSV.encode() if "csv" in suffix else JSONL.encode()
    for seed in range(30):
        rng = random.Random(seed)
        data = bytearray(good)
        for _ in range(4):
            data[rng.randrange(len(data))] = rng.randrange(256)
        for content in (rng.randbytes(rng.randrange(1, 300)), bytes(data), bytes(rng.choices(b'{}[]",:a1\n\t\\', k=60))):
            with contextlib.suppress(BadInput):
                assert read_rows(put(tmp_path, f"noise.{suffix}", content))


def test_places_that_are_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuneladder.task.read._hub", None)  # what looks like a file is not looked for there
    for name in ("gone.pdf", "rows.xls", "train.text", "data/gone.pdf"):
        with pytest.raises(BadInput, match=f"there is no file {name}"):
            read_rows(name)
    with pytest.raises(BadInput, match="there is no file"):
        read_rows(str(tmp_path / "gone.csv"))
    put(tmp_path, "train.csv", CSV)
    with pytest.raises(BadInput, match=r"is a folder \(it holds train.csv\)"):
        read_rows(str(tmp_path))


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = put(tmp_path, "a.csv", CSV)
    Path(path).chmod(0)
    with pytest.raises(BadInput, match="cannot read"):
        read_rows(path)


def test_the_hub_is_asked_with_subset_revision_and_token(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    asked: list[Any] = []

    def load(*args: Any, **options: Any) -> Any:
        asked.append((args, options))
        return datasets.Dataset.from_list(ROWS)

    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.setenv("HF_TOKEN", "secret")
    assert read_rows("someone/news", subset="en", revision="v2", split="test") == ROWS
    assert asked == [(("someone/news", "en"), {"revision": "v2", "split": "test", "token": "secret"})]


def test_a_hub_that_cannot_be_reached_is_a_sentence() -> None:
    for ask in (read_rows, hub_splits):
        with pytest.raises(BadInput, match="there is no file nobody/nothing_of_this_name here") as caught:
            ask("nobody/nothing_of_this_name")
        assert "HF_TOKEN" in caught.value.hint
