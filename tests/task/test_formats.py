from __future__ import annotations

import datetime
import json
from typing import Any

import pytest

from tuneladder.errors import BadInput
from tuneladder.task.formats import Format, check_columns, recognise, text_of, to_comparison, to_example, value_of
from tuneladder.types import Turn

TALK = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]
SHARE = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello!"}]


def known(row: dict[str, Any]) -> Format:
    format = recognise(list(row), [row])
    assert format is not None
    return format


@pytest.mark.parametrize(
    ("row", "name", "kind"),
    [
        ({"instruction": "Add.", "input": "1 1", "output": "2"}, "alpaca", "generate"),
        ({"Instruction": "Add.", "Output": "2"}, "alpaca", "generate"),
        ({"messages": TALK}, "messages", "chat"),
        ({"conversations": SHARE, "tools": "[]"}, "sharegpt", "chat"),
        ({"prompt": "a", "completion": "b"}, "prompt/completion", "generate"),
        ({"prompt": "a", "chosen": "b", "rejected": "c"}, "preference", "generate"),
        ({"conversations": SHARE[:1], "chosen": SHARE[1], "rejected": SHARE[1]}, "preference", "chat"),
        ({"prompt": "a", "completion": "b", "label": True}, "kto", "generate"),
        ({"messages": TALK, "label": "false"}, "kto", "chat"),
        ({"text": "a", "label": 3, "id": 1}, "text/label", "classify"),
        ({"text": "a"}, "text", "text"),
    ],
)
def test_columns_tell_the_format(row: dict[str, Any], name: str, kind: str) -> None:
    format = known(row)
    assert (format.name, format.kind) == (name, kind)


def test_unknown_columns_are_no_format() -> None:
    assert recognise(["message", "desk"], [{"message": "a", "desk": "b"}]) is None


@pytest.mark.parametrize(
    ("row", "turns", "answer"),
    [
        ({"instruction": "Add.", "input": "1 1", "output": 2}, (Turn("user", "Add.\n\n1 1"),), "2"),
        ({"instruction": "Say hi.", "input": "", "output": "Hi"}, (Turn("user", "Say hi."),), "Hi"),
        (
            {"instruction": "C", "input": "", "output": "D", "system": "S", "history": [["A", "B"]]},
            (Turn("system", "S"), Turn("user", "A"), Turn("assistant", "B"), Turn("user", "C")),
            "D",
        ),
        ({"messages": TALK}, (Turn("user", "Hi"),), "Hello!"),
        ({"messages": json.dumps(TALK)}, (Turn("user", "Hi"),), "Hello!"),
        ({"messages": [*TALK, {"role": "user", "content": "Bye"}]}, (Turn("user", "Hi"),), "Hello!"),
        ({"conversations": SHARE, "system": "Be kind."}, (Turn("system", "Be kind."), Turn("user", "Hi")), "Hello!"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}, TALK[1]]}, (Turn("user", "Hi"),), "Hello!"),
        ({"prompt": TALK[:1], "completion": TALK[1:]}, (Turn("user", "Hi"),), "Hello!"),
        ({"conversations": SHARE[:1], "chosen": SHARE[1], "rejected": SHARE[0]}, (Turn("user", "Hi"),), "Hello!"),
    ],
)
def test_rows_become_turns_and_an_answer(row: dict[str, Any], turns: tuple[Turn, ...], answer: str) -> None:
    example = to_example(known(row), row, "1")
    assert example is not None
    assert (example.turns, example.references) == (turns, (answer,))


def test_tool_calls_stay_as_json_and_the_tools_role_is_kept() -> None:
    call = {"id": "1", "function": {"name": "find", "arguments": '{"q": "é"}'}}
    talk = [
        {"role": "user", "content": "Find é"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "found"},
        {"role": "assistant", "content": "There."},
    ]
    row = {"messages": talk, "tools": '[{"name": "find"}]'}
    example = to_example(known(row), row, "1")
    assert example is not None
    assert example.turns == (
        Turn("system", 'Tools:\n[{"name": "find"}]'),
        Turn("user", "Find é"),
        Turn("assistant", '{"name": "find", "arguments": {"q": "é"}}'),
        Turn("tool", "found"),
    )
    share = [SHARE[0], {"from": "function_call", "value": "{}"}, {"from": "observation", "value": "3"}, SHARE[1]]
    example = to_example(Format("sharegpt", "chat", turns="c"), {"c": share}, "1")
    assert example is not None
    assert [turn.role for turn in example.turns] == ["user", "assistant", "tool"]


@pytest.mark.parametrize("row", [{"messages": TALK[:1]}, {"messages": []}, {"messages": None}, {"messages": TALK[1:]}])
def test_conversations_without_an_answer_or_a_question_are_dropped(row: dict[str, Any]) -> None:
    assert to_example(Format("messages", "chat", turns="messages"), row, "1") is None


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("hello", "not a list of messages"),
        (7, "not a list of messages"),
        ([1], "not a list of messages"),
        ("[{", "broken JSON"),
        ([{"role": "asistant", "content": "x"}], "did you mean 'assistant'"),
        ([{"content": "x"}], "no role"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "something other than text"),
        ([{"role": "assistant", "tool_calls": [{"id": 3}]}], "without a name"),
    ],
)
def test_bad_conversations_name_the_row(value: Any, says: str) -> None:
    with pytest.raises(BadInput, match=says) as caught:
        to_example(Format("messages", "chat", turns="messages"), {"messages": value}, "12")
    assert caught.value.message.startswith("row 12: ")
    assert caught.value.hint


def test_comparisons() -> None:
    row = {"prompt": "Hi", "chosen": [*TALK], "rejected": "No."}
    comparison = to_comparison(known(row), row, "1")
    assert comparison is not None
    assert (comparison.turns, comparison.chosen, comparison.rejected) == ((Turn("user", "Hi"),), "Hello!", "No.")
    assert to_comparison(known(row), {**row, "rejected": ""}, "1") is None


def test_kto_keeps_its_label() -> None:
    row = {"prompt": "Hi", "completion": "Go away", "label": False}
    example = to_example(known(row), row, "1")
    assert example is not None
    assert example.meta == {"label": False}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""), (2, "2"), (2.0, "2"), (2.5, "2.5"), (float("nan"), ""), (True, "true"), ("  a ", "  a "), (b"ab", "ab"),
        (datetime.date(2026, 1, 2), "2026-01-02"), (["é", 1], '["é", 1]'), ("a\ud800b", "a\ufffdb"), ("\ud83d\ude00", "😀"),
    ],
)  # fmt: skip
def test_cells_as_text(value: Any, text: str) -> None:
    assert text_of(value) == text
    text_of(value).encode()


def test_bytes_that_are_no_text() -> None:
    with pytest.raises(BadInput, match="row 4: a cell holds 2 bytes that are not text"):
        text_of(b"\xff\xfe", "4")


def test_jinja_reads_columns() -> None:
    row = {"title": "A", "odd name": 2.0, "body": None, "list": ["x", "y"]}
    assert value_of("title", row, "1") == "A"
    assert value_of("{{ title }}: {{ body }}{{ row['odd name'] }}{% for i in list %}-{{ i }}{% endfor %}", row, "1") == "A: 2-x-y"
    check_columns("{{ title }} {{ row['odd name'] }} {{ range(3) }}", [row], "f")
    with pytest.raises(BadInput, match="no column 'titel': did you mean 'title'") as caught:
        check_columns("{{ titel }}", [row], "news.csv")
    assert caught.value.hint == "news.csv has: title, odd name, body, list"
    with pytest.raises(BadInput, match="is not Jinja"):
        check_columns("{{ title", [row], "f")
    with pytest.raises(BadInput, match=r"row 9: the template .* fails"):
        value_of("{{ 1 / 0 }}", row, "9")
    with pytest.raises(BadInput, match="unsafe"):
        value_of("{{ title.__class__.__mro__ }}{{ ''.__class__.__subclasses__() }}", row, "9")
