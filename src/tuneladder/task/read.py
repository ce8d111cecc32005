"""Rows from wherever they lie: CSV, TSV, XLSX, JSON, JSONL, Parquet, plain text, or a data set of the Hugging Face hub.

Whatever a file holds, this gives rows or a BadInput: never another exception.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import os
import re
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Literal, cast

from tuneladder.errors import BadInput, unknown

Row = dict[str, Any]

_PACKINGS = (".gz", ".xz", ".bz2")
_HUB = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
# what no data set of the hub is called, and we read no rows from
_FILE = re.compile(
    r".*\.(pdf|xls|ods|docx?|html?|xml|ya?ml|zip|tar|pkl|npy|npz|arrow|feather|db|sqlite|text|dat|log)", re.IGNORECASE
)
_DELIMITERS = (",", "\t", ";", "|")
_TABLES = (".csv", ".tsv", ".xlsx")
_NUMBER = re.compile(r"[+-]?[\d.,]*\d")
UNREADABLE = (OSError, lzma.LZMAError, zlib.error, EOFError, ValueError)
LONGEST = 1_000_000  # characters of a paragraph: text without a blank line is not one row
_JSON = json.JSONDecoder(parse_constant=lambda word: None if word == "NaN" else float(word))  # pandas writes empty cells as NaN
HEADER = "give every column a name of its own; where the first line is a row, put a line with names above it"


def read_rows(location: str, *, subset: str = "", revision: str = "", split: str = "train") -> list[Row]:
    """The rows of a file or of one split of a hub data set, as dicts by column; at least one.

    Environment variables and `~` in the location expand. CSV cells are strings; the other formats keep their types.
    Raises BadInput for a file that is not there, empty, broken, or not what its name says.
    """
    return list(stream_rows(location, subset=subset, revision=revision, split=split))


def stream_rows(location: str, *, subset: str = "", revision: str = "", split: str = "train") -> Iterator[Row]:
    """As `read_rows`, row by row: of JSON lines and of plain text, packed or not, no more than a row is held at once."""
    place = expand(location)
    path = Path(place)
    found: Iterable[Row]
    if not path.exists() and not _suffix(path) and _HUB.fullmatch(place) and not _FILE.fullmatch(place):
        found = _hub(place, subset, revision, split)
    else:
        if not path.exists():
            raise BadInput(f"there is no file {place}", f"paths are looked up from {Path.cwd()}")
        if path.is_dir():
            inside = ", ".join(sorted(p.name for p in path.iterdir())[:8]) or "nothing"
            raise BadInput(
                f"{place or repr(location)} is a folder (it holds {inside})", "name one file, or {train: FILE, test: FILE}"
            )
        found = _file(path)
    empty = True
    for row in found:
        empty = False
        yield row
    if empty:
        raise BadInput(f"{location} has no rows", "it needs one row per example, under a header or as JSON objects")


def columns_of(rows: Sequence[Row]) -> tuple[str, ...]:
    """Every column that any row has, in the order they first appear."""
    return tuple(dict.fromkeys(column for row in rows for column in row))


def headless(location: str, rows: Sequence[Row]) -> str:
    """The first line of a table that seems to have no header, "" where nothing says so: of what was taken for the columns' names
    one is a number, says four words or more, or stands below itself again."""
    columns = columns_of(rows)
    if _suffix(Path(location)) not in _TABLES:
        return ""
    again = {name for row in rows[:1000] for name, cell in row.items() if str(cell).strip() == name}
    if any(name in again or len(name.split()) > 3 or _NUMBER.fullmatch(name) for name in columns):
        return _clip(", ".join(columns))
    return ""


def line_in(location: str, row: int, line: int) -> str:
    """` (line 7 of FILE)` for a line of a row that is a paragraph, both counted from 1; "" where rows are none."""
    path = Path(expand(location))
    if _FORMATS.get(_suffix(path)) is not _paragraphs:
        return ""
    with _open(path) as file:
        text = _text(file.read(), str(path))
    if any(len(part) >= LONGEST for part in re.split(r"\n\s*\n", text)):  # which was cut into several rows
        return ""
    lines = text.split("\n")
    begins = [number for number, own in enumerate(lines, 1) if own.strip() and (number == 1 or not lines[number - 2].strip())]
    return f" (line {begins[row - 1] + line - 1:,} of {path})"


def check_file(location: str) -> None:
    """Raises BadInput where there is no such file: what can be nothing else is not looked for on the hub."""
    if not Path(place := expand(location)).exists():
        raise BadInput(f"there is no file {place}", f"paths are looked up from {Path.cwd()}")


def expand(location: str) -> str:
    """The location with `$NAME`, `${NAME}` and a leading `~` replaced; a variable that is not set is an error that names it."""

    def value(match: re.Match[str]) -> str:
        name = match.group(1) or match.group(2)
        if name not in os.environ:
            raise BadInput(
                f"{location} needs the environment variable {name}, which is not set", f"export {name}=..., or write the path out"
            )
        return os.environ[name]

    return os.path.expanduser(re.sub(r"\$(?:\{(\w+)\}|(\w+))", value, location))


def hub_splits(location: str, *, subset: str = "", revision: str = "") -> tuple[str, ...]:
    """The names of a hub data set's splits."""
    import datasets

    token = os.environ.get("HF_TOKEN")
    return tuple(
        _asking(
            location, lambda: datasets.get_dataset_split_names(location, subset or None, revision=revision or None, token=token)
        )
    )


def _hub(location: str, subset: str, revision: str, split: str) -> list[Row]:
    import datasets

    token = os.environ.get("HF_TOKEN")
    found = _asking(
        location, lambda: datasets.load_dataset(location, subset or None, revision=revision or None, split=split, token=token)
    )
    rows: list[Row] = found.to_list()
    return rows


def _asking(location: str, call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Exception as error:  # datasets raises its own, requests', pyarrow's and the scripts' exceptions
        why = _first_line(error)
        raise BadInput(
            f"there is no file {location} here, and the hub gave no data set of that name: {why}",
            "check the path or the id (owner/name), `subset` and `revision`; a private set needs HF_TOKEN, and the hub a network",
        ) from error


def _suffix(path: Path) -> str:
    """The suffix that names the format, before the one that names a packing; "" if none is known."""
    suffix = (path.with_suffix("") if path.suffix.lower() in _PACKINGS else path).suffix.lower()
    return suffix if suffix in _FORMATS else ""


def _file(path: Path) -> Iterable[Row]:
    suffix = _suffix(path)
    if not suffix:
        if path.suffix.lower() == ".xls":
            raise BadInput(f"{path} is in Excel's old format", "save it as .xlsx or .csv")
        raise unknown("reader for files that end in", "".join(path.suffixes[-2:]) or path.name, _FORMATS)
    if suffix in (".jsonl", ".ndjson") and _is_lines(path):
        return _json_lines(path)
    if suffix in (".txt", ".md") and _is_lines(path, json=False):
        return _paragraphs_of(path)
    try:
        with _open(path) as file:
            data = file.read()
    except UNREADABLE as error:
        raise _unreadable(path, error) from error
    if not data.strip(b"\xef\xbb\xbf \t\r\n"):
        raise BadInput(f"{path} is empty", "it needs one row per example, under a header or as JSON objects")
    return _FORMATS[suffix](data, str(path))


def _unreadable(path: Path, error: BaseException) -> BadInput:
    return BadInput(f"cannot read {path}: {_first_line(error)}", "is the file whole, and are you allowed to read it?")


def _open(path: Path) -> IO[bytes]:
    """The file's bytes, unpacked as they are read."""
    match path.suffix.lower():
        case ".gz":
            return cast(IO[bytes], gzip.open(path))
        case ".xz":
            return lzma.open(path)
        case ".bz2":
            return bz2.open(path)
        case _:
            return path.open("rb")


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Each line with its number from 1, its end included. Raises BadInput where the bytes are no UTF-8 text."""
    at = 0
    try:
        with _open(path) as lines:
            for number, line in enumerate(lines, 1):
                kept = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
                try:
                    text = kept.decode("utf-8")
                except UnicodeDecodeError as error:
                    raise _not_text(str(path), line[error.start + len(line) - len(kept)], at + error.start) from error
                if "\0" in text:
                    raise _holds_nul(str(path))
                at += len(line)
                yield number, text
    except UNREADABLE as error:
        raise _unreadable(path, error) from error


def _is_lines(path: Path, *, json: bool = True) -> bool:
    """Whether the file can be read line by line: it is UTF-8, and where it is to be `json`, an object stands in its first line and
    more in others. Of whatever else it is, broken too, reading it whole says what."""
    seen: list[bytes] = []
    try:
        with _open(path) as lines:
            for line in lines:
                if not seen and line.startswith((b"\xff\xfe", b"\xfe\xff")):
                    return False
                if line.strip(b"\xef\xbb\xbf \t\r\n"):
                    seen.append(line.removeprefix(b"\xef\xbb\xbf").strip())
                if len(seen) == 2 or (seen and not json):
                    return not json or (seen[0].startswith(b"{") and seen[0].endswith(b"}"))
    except UNREADABLE:
        pass
    return False


def _json_lines(path: Path) -> Iterator[Row]:
    for number, line in _lines(path):
        if line.strip():
            yield _object(_parse(line.rstrip("\n"), f"{path}, line {number}", number), f"{path}, line {number}")


def _paragraphs_of(path: Path) -> Iterator[Row]:
    """What stands between blank lines; a paragraph of LONGEST characters or more ends with the line that made it so."""
    part: list[str] = []
    size = 0
    for _, line in _lines(path):
        blank = not line.strip(" \t\r\n")
        if not blank:
            part.append(line)
            size += len(line)
        if blank or size >= LONGEST:
            if text := "".join(part).strip():
                yield {"text": text}
            part, size = [], 0
    if text := "".join(part).strip():
        yield {"text": text}


def _not_text(name: str, byte: int, at: int) -> BadInput:
    return BadInput(
        f"{name} is not UTF-8 text: byte 0x{byte:02x} at position {at:,}",
        f"if it is text, save it as UTF-8 (iconv -f WINDOWS-1252 -t UTF-8 {name})",
    )


def _holds_nul(name: str) -> BadInput:
    hint = "give CSV, TSV, XLSX, JSON, JSONL, Parquet or text, with the suffix that says so"
    return BadInput(f"{name} is not text: it holds NUL bytes", hint)


def _text(data: bytes, name: str) -> str:
    wide = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        text = data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise _not_text(name, data[error.start], error.start) from error
    if "\0" in text:
        raise _holds_nul(name)
    return text


def _csv(data: bytes, name: str, delimiter: str = "") -> list[Row]:
    csv.field_size_limit(2**31 - 1)  # Python's own limit is 131,072 characters a field
    text = _text(data, name)
    delimiter = delimiter or _delimiter(text)
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL
    try:
        deque(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True), maxlen=0)
    except csv.Error as error:
        if "unexpected end of data" in str(error):  # a lone quote would swallow the lines that follow
            if delimiter != "\t":
                raise BadInput(
                    f"{name}: a quote is opened and never closed", 'write a quote inside a quoted field as ""'
                ) from error
            quoting = csv.QUOTE_NONE  # tab-separated text often has bare quotes
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting)
    header: list[str] = []
    rows: list[Row] = []
    for cells in lines:
        if not any(cell.strip() for cell in cells):
            continue
        if not header:
            header = _header(cells, name)
            continue
        if any(cell.strip() for cell in cells[len(header) :]):
            raise BadInput(
                f"{name}, line {lines.line_num}: {len(cells)} fields, but the header has {len(header)}",
                f"put fields that hold {delimiter!r} in double quotes",
            )
        rows.append(dict(zip(header, cells + [""] * (len(header) - len(cells)), strict=False)))
    return rows


def _delimiter(text: str) -> str:
    """The delimiter that cuts most of the first records into as many fields as the header (csv.Sniffer guesses by letters)."""
    best, score = ",", 0.0
    for delimiter in _DELIMITERS:
        records = []
        for record in csv.reader(io.StringIO(text[:200_000], newline=""), delimiter=delimiter):
            if record:
                records.append(len(record))
            if len(records) == 200:
                break
        if records and records[0] > 1:
            agreed = sum(count == records[0] for count in records) / len(records)
            if agreed > score:
                best, score = delimiter, agreed
    return best


def _header(cells: list[Any], name: str) -> list[str]:
    header = [str(cell).strip() if cell is not None and str(cell).strip() else f"column {n}" for n, cell in enumerate(cells, 1)]
    twice = sorted({column for column in header if header.count(column) > 1})
    if twice:
        raise BadInput(f"{name} has the column '{_clip(twice[0])}' more than once", HEADER)
    return header


def _xlsx(data: bytes, name: str) -> list[Row]:
    import openpyxl

    try:
        book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True)
        cells = [list(row) for row in book.worksheets[0].iter_rows(values_only=True)]
        book.close()
    except Exception as error:  # openpyxl raises what zipfile, the XML parser and its own descriptors raise
        raise BadInput(
            f"{name} cannot be read as XLSX: {_first_line(error)}", "open it in a spreadsheet and save it again, or as CSV"
        ) from error
    filled = [row for row in cells if any(cell not in (None, "") for cell in row)]
    if not filled:
        return []
    width = max(n for row in filled for n, cell in enumerate(row, 1) if cell not in (None, ""))
    header = _header((filled[0] + [None] * width)[:width], name)
    return [dict(zip(header, (row + [None] * width)[:width], strict=True)) for row in filled[1:]]


def _tsv(data: bytes, name: str) -> list[Row]:
    return _csv(data, name, "\t")


def _json(data: bytes, name: str) -> list[Row]:
    """A list of objects, an object that holds one such list, or an object a line; the suffix does not decide, the text does."""
    text = _text(data, name)
    # not splitlines: JSON strings may hold U+2028 and other line ends
    lines = [(n, line) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    if len(lines) > 1 and _whole(lines[0][1].strip()):
        return [_object(_parse(line, f"{name}, line {n}", n), f"{name}, line {n}") for n, line in lines]
    value = _parse(text, name)
    rows = value if isinstance(value, list) else _list_in(value) or [value]
    return [_object(row, f"{name}, item {n}") for n, row in enumerate(rows, 1)]


def _whole(line: str) -> bool:
    """Whether a line is a row by itself, and not how a larger value begins: an object, a broken one too, or any other value."""
    if line.startswith("{") and line.endswith("}"):
        return True
    try:
        _JSON.decode(line)
    except (ValueError, RecursionError):
        return False
    return True


def _list_in(value: Any) -> list[Any] | None:
    """The one list of objects that an object such as {"version": 1, "data": [...]} holds."""
    lists = [v for v in value.values() if isinstance(v, list) and v and isinstance(v[0], dict)] if isinstance(value, dict) else []
    conversation = isinstance(value, dict) and {"messages", "conversations"} & set(value)
    return lists[0] if len(lists) == 1 and not conversation else None


def _parse(text: str, where: str, line: int = 0) -> Any:
    try:
        return _JSON.decode(text)
    except json.JSONDecodeError as error:
        at = f"column {error.colno}" if line else f"line {error.lineno}, column {error.colno}"
        there = _clip(text[max(0, error.pos - 20) : error.pos + 40].strip())
        raise BadInput(f"{where}: broken JSON at {at}: {error.msg}", f"the text there: {there!r}") from error
    except (ValueError, RecursionError) as error:
        raise BadInput(
            f"{where}: JSON that cannot be read: {_first_line(error)}", "rows are plain objects: {column: value, ...}"
        ) from error


def _object(value: Any, where: str) -> Row:
    if not isinstance(value, dict):
        raise BadInput(
            f"{where}: {_clip(json.dumps(value, ensure_ascii=False))} is not an object",
            "every row is an object: {column: value, ...}",
        )
    return value


def _parquet(data: bytes, name: str) -> list[Row]:
    import pyarrow
    import pyarrow.parquet

    try:
        rows: list[Row] = pyarrow.parquet.read_table(io.BytesIO(data)).to_pylist()
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise BadInput(f"{name} cannot be read as Parquet: {_first_line(error)}", "is the file whole?") from error
    return rows


def _paragraphs(data: bytes, name: str) -> list[Row]:
    return [{"text": part.strip()} for part in re.split(r"\n[ \t\r]*\n", _text(data, name)) if part.strip()]


def _first_line(error: BaseException) -> str:
    return _clip((str(error).strip() or type(error).__name__).splitlines()[0])


def _clip(text: str) -> str:
    return text if len(text) <= 160 else text[:160] + "..."


_FORMATS: dict[str, Callable[[bytes, str], list[Row]]] = {
    ".csv": _csv,
    ".tsv": _tsv,
    ".xlsx": _xlsx,
    ".json": _json,
    ".jsonl": _json,
    ".ndjson": _json,
    ".parquet": _parquet,
    ".txt": _paragraphs,
    ".md": _paragraphs,
    ".conll": _paragraphs,
    ".iob": _paragraphs,
    ".iob2": _paragraphs,
    ".bio": _paragraphs,
}
