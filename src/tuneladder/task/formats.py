"""The shapes that people's rows have, recognised by their columns, and how a row of each becomes an Example or a Comparison."""

from __future__ import annotations

import ast
import contextlib
import datetime
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jinja2
import jinja2.meta
import jinja2.sandbox

from tuneladder.errors import BadInput, unknown
from tuneladder.task.read import Row, columns_of, headless
from tuneladder.types import Comparison, Example, Kind, Turn, Turns

_ROLES = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user",
    "assistant": "assistant", "gpt": "assistant", "model": "assistant", "chatgpt": "assistant", "function_call": "assistant",
    "tool": "tool", "function": "tool", "observation": "tool", "function_response": "tool",
}  # fmt: skip
_ALPACA = "{{ %s }}{%% if %s %%}\n\n{{ %s }}{%% endif %%}"
# where data sets keep the words of a row and a tag for each, and where labelling tools keep the spans of a text
_WORDS = ("tokens", "words")
_TAGS = ("ner_tags", "tags", "ner", "labels", "upos", "pos_tags", "pos", "chunk_tags")
_SPANS = ("entities", "spans", "label", "labels")
_BLANKS = re.compile(r"[ \t\r\n]+")
_jinja = jinja2.sandbox.SandboxedEnvironment(autoescape=False, keep_trailing_newline=True)


@dataclass(frozen=True)
class Format:
    """Where a row keeps what is read and what is learned: each a column's name or Jinja over the columns.

    `turns` is the column of a conversation; `kind` the kind of task that the format suggests.
    """

    name: str
    kind: Kind
    input: str = ""
    target: str = ""
    turns: str = ""


def recognise(columns: Sequence[str], rows: Sequence[Row]) -> Format | None:
    """The format that these columns mean, whatever their case; None when the columns do not say."""
    has = {column.casefold(): column for column in reversed(columns)}
    talk = has.get("messages") or has.get("conversations") or ""
    if "chosen" in has and "rejected" in has and (talk or "prompt" in has):
        return Format("preference", "chat" if talk else "generate", has.get("prompt", ""), has["chosen"], talk)
    if "label" in has and _truths(row.get(has["label"]) for row in rows[:100]):
        if talk:
            return Format("kto", "chat", turns=talk)
        if "prompt" in has and "completion" in has:
            return Format("kto", "generate", has["prompt"], has["completion"])
    if talk:
        return Format("messages" if talk.casefold() == "messages" else "sharegpt", "chat", turns=talk)
    if "instruction" in has and "output" in has:
        task, more = has["instruction"], has.get("input")
        return Format("alpaca", "generate", _ALPACA % (task, more, more) if more else task, has["output"])
    if "prompt" in has and "completion" in has:
        return Format("prompt/completion", "generate", has["prompt"], has["completion"])
    if tagged := _tagged(has, rows[:100]):
        return tagged
    if "text" in has and "label" in has:
        return Format("text/label", "classify", has["text"], has["label"])
    if "text" in has and len(has) == 1:
        return Format("text", "text", has["text"])
    return None


def to_example(format: Format, row: Row, id: str, *, references: tuple[str, ...] | None = None) -> Example | None:
    """The row as an Example, or None when it has nothing to read or nothing to learn, or of KTO nobody said whether it was wanted.

    Of a conversation, all turns before the last of the assistant's are read and that one is learned. A target that is a list
    of texts gives several references; where they are given, they stay as they are, even none. KTO rows keep their `label` in
    `meta`. Raises BadInput, naming the row, for what cannot be understood.
    """
    given = references
    if format.turns:
        turns = conversation_in(row, format.turns, id)
        if format.target:
            references = references_of(row.get(format.target), id)
        else:
            last = max((n for n, turn in enumerate(turns) if turn.role == "assistant"), default=-1)
            turns, references = turns[: max(last, 0)], (turns[last].text,) if last >= 0 else ()
    else:
        turns = _turns(value_of(format.input, row, id), id, row if format.name == "alpaca" else {})
        references = references_of(value_of(format.target, row, id), id)
    references = tuple(text for text in references if text.strip()) if given is None else given
    if (given is None and not references) or not any(turn.text.strip() for turn in turns if turn.role != "system"):
        return None
    meta = {}
    if format.name == "kto":
        wanted = _wanted(_get(row, "label"), id)
        if wanted is None:
            return None
        meta["label"] = wanted
    return Example(id=id, turns=turns, references=references, meta=meta)


def to_comparison(format: Format, row: Row, id: str) -> Comparison | None:
    """A preference row as a Comparison, or None when a side is empty. `weight`, `margin` and `source` are read where they stand
    beside it. Raises BadInput for a weight or a margin that is no number from 0 up."""
    turns = conversation_in(row, format.turns, id) if format.turns else _turns(value_of(format.input, row, id), id, {})
    chosen, rejected = ("".join(references_of(_get(row, side), id)[:1]) for side in ("chosen", "rejected"))
    if not (chosen.strip() and rejected.strip() and turns):
        return None
    weight, margin = (_amount(row, name, default, id) for name, default in (("weight", 1.0), ("margin", 0.0)))
    return Comparison(id, turns, chosen, rejected, weight, margin, text_of(_get(row, "source"), id))


def text_of(value: Any, id: str = "") -> str:
    """A cell as text. 2.0 and 2 are both "2", so that a column that a spreadsheet widened still matches its labels; None is ""."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:  # half of a pair of surrogates, which JSON can spell and no tokenizer can read
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return "" if value != value else str(int(value)) if value.is_integer() else str(value)
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise BadInput(
                f"row {id}: a cell holds {len(value):,} bytes that are not text",
                "name the columns of text with `input` and `target`",
            ) from error
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, list | tuple | dict):
        return text_of(json.dumps(value, ensure_ascii=False, default=str), id)
    return str(value)


def messages_of(messages: Sequence[Any], id: str) -> Turns:
    """A list of messages as turns. Raises BadInput, naming the row, for what is none."""
    return conversation_in({"messages": list(messages)}, "messages", id)


def references_of(value: Any, id: str) -> tuple[str, ...]:
    """The answers that a target cell holds: a text, a list of texts, a message, or a list of messages (its last)."""
    if isinstance(value, dict) and ("content" in value or "value" in value):
        return (_message(value, id).text,)
    if isinstance(value, list | tuple) and value:
        if all(isinstance(item, dict) for item in value):
            return references_of(value[-1], id)
        return tuple(text_of(item, id) for item in value)
    return (text_of(value, id),)


def value_of(expression: str, row: Row, id: str) -> Any:
    """What a column's name or a Jinja template gives for a row. In Jinja, `row["a name"]` reaches columns with odd names."""
    if expression in row or not is_template(expression):
        return row.get(expression)
    cells = {k: v if isinstance(v, list | dict) else text_of(v, id) for k, v in row.items()}
    try:
        return compiled(expression).render({**cells, "row": cells})
    except Exception as error:  # a template runs code: it may raise anything
        raise BadInput(f"row {id}: the template {expression!r} fails: {error}", "it is Jinja over the row's columns") from error


def holds(expression: str, row: Row, id: str) -> bool:
    """Whether a row satisfies a Jinja expression over its columns."""
    try:
        return bool(_condition(expression)(**{**row, "row": row}))
    except Exception as error:  # an expression runs code: it may raise anything
        raise BadInput(f"row {id}: where {expression!r} fails: {error}", "it is Jinja over the row's columns") from error


@lru_cache(maxsize=64)
def _condition(expression: str) -> Callable[..., Any]:
    return _jinja.compile_expression(expression, undefined_to_none=False)


def list_of(cell: Any) -> list[Any] | None:
    """The list in a cell, which may be written out as JSON or Python; None where there is none."""
    if isinstance(cell, str) and cell.lstrip().startswith("["):
        for read in (json.loads, ast.literal_eval):
            with contextlib.suppress(ValueError, SyntaxError, RecursionError, MemoryError):
                found = read(cell)
                if isinstance(found, list | tuple):
                    return list(found)
    return list(cell) if isinstance(cell, list | tuple) else None


def listed(cell: Any) -> list[Any]:
    """A cell that holds several things: a list, one written out, or words with blanks between."""
    if (found := list_of(cell)) is not None:
        return found
    if isinstance(cell, str):
        return [word for word in _BLANKS.split(cell) if word]
    return [] if cell is None else [cell]


def is_span(value: Any) -> bool:
    """Whether this is a labelled stretch of a text: {start, end, label}, as tools name them, or [start, end, label]."""
    if isinstance(value, dict):
        return ("start" in value and "end" in value) or ("start_offset" in value and "end_offset" in value)
    return isinstance(value, list | tuple) and len(value) == 3 and isinstance(value[0], int) and isinstance(value[1], int)


def columns_of_line(line: str) -> list[str]:
    """The columns of a line of a CoNLL file: divided by tabs, or else by blanks."""
    line = line.strip(" \r")
    return [cell.strip() for cell in line.split("\t")] if "\t" in line else [cell for cell in _BLANKS.split(line) if cell]


def is_template(expression: str) -> bool:
    return "{{" in expression or "{%" in expression


@lru_cache(maxsize=64)
def compiled(template: str) -> jinja2.Template:
    """The template, compiled once; its syntax errors are BadInput."""
    try:
        return _jinja.from_string(template)
    except jinja2.TemplateSyntaxError as error:
        raise BadInput(
            f"the template {template!r} is not Jinja: {error.message}", 'for example "{{ title }}. {{ text }}"'
        ) from error


def variables(template: str) -> set[str]:
    """The names a template looks up that are not Jinja's own."""
    compiled(template)
    return jinja2.meta.find_undeclared_variables(_jinja.parse(template)) - set(_jinja.globals)


def check_columns(expression: str, rows: Sequence[Row], location: str) -> None:
    """Every column that the expression needs is there, or it is an error that names the nearest one."""
    columns = columns_of(rows)
    needed = variables(expression) - {"row"} if is_template(expression) and expression not in columns else {expression}
    for name in sorted(needed - set(columns)):
        shown = ", ".join(columns)
        has = f"{location} has: {shown[:300]}{'...' if len(shown) > 300 else ''}"
        raise unknown("column", name, columns, hint=without_header(rows, location) or has)


def without_header(rows: Sequence[Row], location: str) -> str:
    """What to do about a table that seems to have no header, "" where nothing says so."""
    if not (first := headless(location, rows)):
        return ""
    return f"the first line of {location} was taken for its columns' names, and reads like a row: {first}; put a header above it"


def _turns(value: Any, id: str, row: Mapping[str, Any]) -> Turns:
    """One user turn, or the messages of a prompt that is a conversation; Alpaca rows may bring `system` and `history`."""
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        return tuple(_message(item, id) for item in value)
    turns = [Turn("system", text)] if (text := text_of(row.get("system"), id).strip()) else []
    history = row.get("history")
    for asked, answered in (
        (pair for pair in history if isinstance(pair, list) and len(pair) == 2) if isinstance(history, list) else ()
    ):
        turns += [Turn("user", text_of(asked, id)), Turn("assistant", text_of(answered, id))]
    return (*turns, Turn("user", text_of(value, id)))


def conversation_in(row: Row, column: str, id: str) -> Turns:
    value = row.get(column)
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise BadInput(f"row {id}: `{column}` holds broken JSON: {error}", "it is a list of {role, content}") from error
    if value is None or value == "":
        return ()
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise BadInput(
            f"row {id}: `{column}` is {text_of(value, id)[:80]!r}, not a list of messages",
            'for example [{"role": "user", "content": "Hi"}]',
        )
    turns = tuple(_message(item, id) for item in value)
    system, tools = text_of(row.get("system"), id).strip(), text_of(row.get("tools"), id).strip()
    opening = "\n\n".join(part for part in (system, f"Tools:\n{tools}" if tools not in ("", "[]") else "") if part)
    if not opening:
        return turns
    if turns and turns[0].role == "system":
        return (Turn("system", f"{turns[0].text}\n\n{opening}"), *turns[1:])
    return (Turn("system", opening), *turns)


def _message(message: Mapping[str, Any], id: str) -> Turn:
    """A message of OpenAI's or ShareGPT's shape; calls of tools become lines of JSON in the assistant's text."""
    named = message.get("role") or message.get("from") or ""
    if str(named) not in _ROLES:
        raise BadInput(f"row {id}: {unknown('role', str(named), _ROLES).message}", f"known: {', '.join(sorted(_ROLES))}")
    content = message.get("content", message.get("value"))
    if isinstance(content, list):
        for part in content:
            if not isinstance(part, dict) or not isinstance(part.get("text"), str):
                raise BadInput(
                    f"row {id}: a message holds something other than text: {text_of(part, id)[:80]}",
                    "only text can be learned here",
                )
        content = "\n".join(part["text"] for part in content)
    parts = [text_of(content, id)] if content else []
    calls = message.get("tool_calls") or ([message["function_call"]] if message.get("function_call") else [])
    parts += [_call(call, id) for call in (calls if isinstance(calls, list) else [calls])]
    return Turn(_ROLES[str(named)], "\n".join(parts))


def _call(call: Any, id: str) -> str:
    inner = call.get("function", call) if isinstance(call, dict) else call
    if not isinstance(inner, dict) or "name" not in inner:
        raise BadInput(
            f"row {id}: a tool call without a name: {text_of(call, id)[:80]}",
            'for example {"name": "search", "arguments": {"q": "x"}}',
        )
    arguments = inner.get("arguments", {})
    if isinstance(arguments, str):
        with contextlib.suppress(ValueError, RecursionError):  # what the model wrote is kept as it was
            arguments = json.loads(arguments)
    return text_of({"name": inner["name"], "arguments": arguments}, id)


def _tagged(has: Mapping[str, str], rows: Sequence[Row]) -> Format | None:
    """The format of rows that have a tag for each word; None where these have not."""
    for words, tags in ((has[a], has[b]) for b in _TAGS if b in has for a in _WORDS if a in has):
        counts = [(len(listed(row.get(words))), len(listed(row.get(tags)))) for row in rows]
        if 2 * sum(one == two for one, two in counts) > len(counts) and any(one == two > 1 for one, two in counts):
            return Format("words/tags", "tag", words, tags)
    if "text" not in has:
        return None
    for column in (has[name] for name in _SPANS if name in has):
        cells = [row.get(column) for row in rows]
        lists = [listed(cell) for cell in cells if isinstance(cell, list) or (isinstance(cell, str) and cell.startswith("["))]
        if (
            len(lists) == sum(cell is not None for cell in cells)
            and any(lists)
            and all(is_span(one) for own in lists for one in own)
        ):
            return Format("text/spans", "tag", has["text"], column)
    return Format("conll", "tag", has["text"], has["text"]) if len(has) == 1 and _is_conll(rows, has["text"]) else None


def _is_conll(rows: Sequence[Row], column: str) -> bool:
    """Whether paragraphs are tables, all of as many columns, whose last holds few different values, none of them the end of a
    sentence: prose is neither."""
    lines = [columns_of_line(line) for row in rows for line in text_of(row.get(column)).split("\n") if not line.startswith("#")]
    widths, last = {len(cells) for cells in lines}, {cells[-1] for cells in lines if cells}
    said = any(cell[1:] and cell[-1] in ".!?" for cell in last)
    return len(widths) == 1 and min(widths) > 1 and len(lines) >= 4 and len(last) <= len(lines) / 2 and not said


def _amount(row: Row, name: str, default: float, id: str) -> float:
    text = text_of(_get(row, name), id).strip()
    try:
        value = float(text) if text else default
    except ValueError:
        value = -1.0
    if not 0 <= value < math.inf:
        raise BadInput(f"row {id}: its {name} is {text!r}", "a number from 0 up")
    return value


def _get(row: Row, name: str) -> Any:
    return next((value for column, value in row.items() if column.casefold() == name), None)


def _wanted(cell: Any, id: str) -> bool | None:
    """What people said of an answer; None where they said nothing. Raises BadInput for anything but true and false."""
    said = text_of(cell, id).strip().casefold()
    if said in ("true", "1", "1.0"):
        return True
    if said in ("false", "0", "0.0"):
        return False
    if said:
        raise BadInput(f"row {id}: label is {said[:80]!r}", "true or false: whether people wanted the answer")
    return None


def _truths(values: Iterable[Any]) -> bool:
    found = {text_of(value).casefold() for value in values if value is not None}
    return bool(found) and found <= {"true", "false"}
