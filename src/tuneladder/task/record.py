"""Answers that are JSON objects (kind `extract` with a schema): how a row's becomes text, and how a model's text becomes one.

A text is parsed; if it is no JSON object it is repaired, once: what stands around the outermost object goes (fences, talk), and the
object is read with single or missing quotes, quotes inside quotes, trailing commas, Python's words, and ends that were never
written. One that was cut off, and for that lacks what its schema requires, is none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from tuneladder.errors import BadInput
from tuneladder.task.formats import Format, text_of, to_example, value_of
from tuneladder.task.read import Row
from tuneladder.task.schema import Schema, coerced, misfit
from tuneladder.types import Example

_WORDS: Mapping[str, Any] = {"true": True, "false": False, "null": None, "none": None}
_QUOTES = {'"': '"', "'": "'", "\u201c": "\u201d", "\u2018": "\u2019", "`": "`"}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?")
_AFTER = re.compile(r"\s*(?:[,}\]:]|$)")
_BARE = re.compile(r"[^,}\]\n]*")
_KEY = re.compile(r"[^:,}\]\n]*")
_DEEPEST = 50


def record_in(cell: Any) -> dict[str, Any] | None:
    """The object in a cell, which may be written out as JSON; None where there is none."""
    return dict(cell) if isinstance(cell, dict) else _parsed(cell) if isinstance(cell, str) else None


def record_of(row: Row, target: str | Sequence[str], id: str) -> dict[str, Any] | None:
    """What is to be extracted from a row: the object in its target, or one of several columns, which leaves empty cells out. None
    where the row has nothing."""
    if not isinstance(target, str):
        cells = {column: row.get(column) for column in target}
        return {column: cell for column, cell in cells.items() if text_of(cell, id).strip()} or None
    value = value_of(target, row, id)
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    record = record_in(value)
    if record is None:
        said = f"row {id}: {target!r} is {text_of(value)[:80]!r}, not a JSON object"
        raise BadInput(said, "a column of objects, or a list of columns; without a `schema` a text may be extracted")
    return record


def to_record(format: Format, row: Row, id: str, target: str | Sequence[str], schema: Schema) -> Example | None:
    """The row as an example whose reference is its object, with the schema's fields in order. Raises BadInput for an object that
    does not fit the schema."""
    record = record_of(row, target, id)
    if record is None:
        return None
    if not isinstance(target, str):
        fields = schema["properties"]
        record = {key: coerced(cell, fields.get(key, {})) if isinstance(cell, str) else cell for key, cell in record.items()}
    if said := misfit(record, schema):
        raise BadInput(
            f"row {id} does not fit the schema: {said}", "mend the row, or the schema; left out, it is made from the rows"
        )
    return to_example(format, row, id, references=(written(record, schema),))


def written(record: Mapping[str, Any], schema: Schema) -> str:
    """An object as it is learned and compared: the schema's fields first and in their order, in objects inside it too."""
    return text_of(json.dumps(_ordered(record, schema), ensure_ascii=False))


def read_record(text: str, schema: Schema) -> str:
    """The object in a model's text, as `written`; "" where there is none, repairing it made none, or what was made of one that was
    cut off does not fit the schema."""
    record = _parsed(text)
    if record is None:
        record = repaired(text)
        if record is not None and cut_off(text) and misfit(record, schema):
            return ""
    return "" if record is None else written(record, schema)


def repaired(text: str) -> dict[str, Any] | None:
    """The first object that a text holds, as well as it can be read; None where no field of any can."""
    start = text.find("{")
    if start < 0:
        return None
    try:
        return _Reader(text, start).object(0)
    except _Broken:
        return None


def cut_off(text: str) -> bool:
    """Whether a text ends before the object that it begins: what `max_new_tokens` cuts has no end, even where a schema held it."""
    start = text.find("{")
    if start < 0 or _parsed(text) is not None:
        return False
    reader = _Reader(text, start)
    with suppress(_Broken):
        reader.object(0)
    return reader.short


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text, parse_constant=refuse_constant)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def refuse_constant(word: str) -> Any:
    """For json.loads, which would read NaN and Infinity."""
    raise ValueError(f"{word} is no JSON")


def _ordered(value: Any, schema: Any) -> Any:
    schema = schema if isinstance(schema, Mapping) else {}
    if isinstance(value, Mapping):
        fields = schema.get("properties", {})
        keys = [key for key in fields if key in value] + [key for key in value if key not in fields]
        return {key: _ordered(value[key], fields.get(key)) for key in keys}
    if isinstance(value, list):
        return [_ordered(each, schema.get("items")) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


class _Broken(Exception):
    pass


@dataclass
class _Reader:
    """Reads JSON from `at` on that was not written quite as it should be; `short` once the text has ended before what it opened."""

    text: str
    at: int
    short: bool = False

    def object(self, depth: int) -> dict[str, Any]:
        """An object, its end or the text's reached; a field without a value is left out."""
        found: dict[str, Any] = {}
        self.at += 1
        while not self._ends("}"):
            before = self.at
            key = self._string() if self._next() in _QUOTES else self._word(_KEY)
            if self._next() == ":":
                self.at += 1
                if self._next() not in (",", "}", ""):
                    found[str(key)] = self._value(depth + 1)
            if self._next() == ",":
                self.at += 1
            elif self.at == before or self._next() == "]":
                raise _Broken
        if not found and depth == 0 and "}" not in self.text[self.at - 1 : self.at]:
            raise _Broken
        return found

    def _list(self, depth: int) -> list[Any]:
        found = []
        self.at += 1
        while not self._ends("]"):
            before = self.at
            found.append(self._value(depth + 1))
            if self._next() == ",":
                self.at += 1
            elif self.at == before or self._next() in ("}", ":"):
                raise _Broken
        return found

    def _value(self, depth: int) -> Any:
        if depth > _DEEPEST:
            raise _Broken
        mark = self._next()
        if mark == "{":
            return self.object(depth)
        if mark == "[":
            return self._list(depth)
        if mark in _QUOTES:
            return self._string()
        word = self._word(_BARE)
        if word.casefold() in _WORDS:
            return _WORDS[word.casefold()]
        return json.loads(word) if _NUMBER.fullmatch(word) else word

    def _string(self) -> str:
        """A text in quotes: one that is not followed by what follows a text is part of it."""
        end, said = _QUOTES[self.text[self.at]], ""
        self.at += 1
        while self.at < len(self.text):
            mark = self.text[self.at]
            self.at += 1
            if mark == "\\" and self.at < len(self.text):
                said += self._escaped()
            elif mark == end and _AFTER.match(self.text, self.at):
                return said
            else:
                said += mark
        return said

    def _escaped(self) -> str:
        mark = self.text[self.at]
        self.at += 1
        if mark == "u" and re.fullmatch(r"[0-9a-fA-F]{4}", code := self.text[self.at : self.at + 4]):
            self.at += 4
            return chr(int(code, 16))
        return _ESCAPES.get(mark, mark)

    def _word(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.at)
        assert match  # it may be empty
        self.at = match.end()
        return match[0].strip()

    def _next(self) -> str:
        """The next mark that is no blank; "" at the end."""
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1
        return self.text[self.at : self.at + 1]

    def _ends(self, mark: str) -> bool:
        """Whether the end is here, which is passed."""
        here = self._next()
        self.at += here == mark
        self.short |= not here
        return here in (mark, "")
