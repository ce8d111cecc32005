"""Objects: read from rows, held to a schema, written as they are learned, and read from what a model wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuneladder.errors import BadInput
from tuneladder.task.build import build
from tuneladder.task.guess import guess
from tuneladder.task.record import read_record, repaired
from tuneladder.task.schema import coerced, guessed, is_strict, misfit, read_schema
from tuneladder.types import Task

PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}, "tags": {"type": "array", "items": {"type": "string"}}},
    "required": ["name"],
    "additionalProperties": False,
}
WORDS = ("river", "heron", "bridge", "mill", "parcel", "minister", "market")


def rows(**more: Any) -> list[dict[str, Any]]:
    return [
        {
            "text": f"{WORDS[n % 7]} {n * 7919} {WORDS[n % 5]}",
            "person": {"age": n, "name": f"Ann {n}"},
            "name": f"Ann {n}",
            "age": n,
            **more,
        }
        for n in range(40)
    ]


def table(folder: Path, found: list[dict[str, Any]]) -> str:
    path = folder / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, found)), encoding="utf-8")
    return str(path)


def made(folder: Path, found: list[dict[str, Any]], **keys: Any) -> Task:
    return build(name="t", kind="extract", data=table(folder, found), input="text", **keys)[0]


def test_a_column_of_objects_is_learned_in_the_schemas_order(tmp_path: Path) -> None:
    task = made(tmp_path, rows(), target="person", schema=PERSON)
    example = task.examples.train[0]
    n = int(example.id) - 1
    assert example.references == (f'{{"name": "Ann {n}", "age": {n}}}',)
    assert (task.metric, task.prompt.parse, json.loads(task.prompt.schema)) == ("entity_f1", "json", PERSON)
    assert task.prompt.decoding.max_new_tokens > 30
    as_text = [{**row, "person": json.dumps(row["person"])} for row in rows()]
    assert made(tmp_path, as_text, target="person", schema=PERSON).examples == task.examples
    (tmp_path / "person.json").write_text(json.dumps(PERSON))
    assert made(tmp_path, rows(), target="person", schema=str(tmp_path / "person.json")) == task


def test_columns_make_an_object_of_the_schemas_types(tmp_path: Path) -> None:
    found = [{**row, "age": str(row["age"]), "tags": '["a", "b"]' if n else ""} for n, row in enumerate(rows())]
    task = made(tmp_path, found, target=["age", "name", "tags"], schema=PERSON)
    records = {example.id: json.loads(example.references[0]) for example in (*task.examples.train, *task.examples.test)}
    n, record = next((int(id) - 1, record) for id, record in records.items() if id != "1")
    assert record == {"name": f"Ann {n}", "age": n, "tags": ["a", "b"]}
    assert records.get("1", {"name": "Ann 0", "age": 0}) == {"name": "Ann 0", "age": 0}  # an empty cell is no field


def test_a_schema_left_out_is_made_from_the_rows(tmp_path: Path) -> None:
    path = table(tmp_path, rows())
    task, findings = build(name="t", kind="extract", data=path, input="text", target="person")
    assert json.loads(task.prompt.schema) == {
        "type": "object",
        "properties": {"age": {"type": "integer"}, "name": {"type": "string"}},
        "required": ["age", "name"],
        "additionalProperties": False,
    }
    assert "the schema is made from the rows: age, name" in findings.notes
    assert "fields filled in train: age 100%, name 100%" in findings.notes
    plain = made(tmp_path, rows(), target="name")  # texts are extracted as they are
    assert (plain.prompt.schema, plain.metric) == ("", "exact_match")


def test_the_narrowest_types_are_guessed() -> None:
    found = guessed([{"a": 1, "b": [{"c": None}], "d": True}, {"a": 1.5, "b": [{"c": "x"}]}])
    assert found["properties"]["a"] == {"type": "number"}
    assert found["properties"]["b"]["items"]["properties"]["c"] == {"type": ["string", "null"]}
    assert found["required"] == ["a", "b"]
    assert is_strict(PERSON) is False
    assert is_strict({**PERSON, "required": ["name", "age", "tags"]})


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"person": {"name": "Ann", "age": "old"}}, "row 3 does not fit the schema: age is 'old', not of type integer"),
        ({"person": {"age": 3}}, "row 3 does not fit the schema: it has no 'name'"),
        ({"person": {"name": "Ann", "size": 3}}, "it has 'size', which the schema does not know"),
        ({"person": {"name": "Ann", "tags": ["a", 1]}}, "tags[1] is 1, not of type string"),
        ({"person": "Ann, who is three"}, "row 3: 'person' is 'Ann, who is three', not a JSON object"),
        ({"person": [1, 2]}, "row 3: 'person' is '[1, 2]', not a JSON object"),
    ],
)
def test_a_row_that_does_not_fit_is_named(changed: dict[str, Any], said: str, tmp_path: Path) -> None:
    found = rows()
    found[2] |= changed
    with pytest.raises(BadInput) as caught:
        made(tmp_path, found, target="person", schema=PERSON)
    assert said in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "array"}, "the schema is of 'array'"),
        ({"type": "object"}, "not of an object with properties"),
        ({"type": "object", "properties": {"a": {"type": "text"}}}, "no type of JSON in schema.a 'text'"),
        ({"type": "object", "properties": {"a": {}}, "required": ["b"]}, "requires 'b'"),
        ({"type": "object", "properties": {"a": {"pattern": "("}}}, "pattern '(' cannot be read"),
        ({"type": "object", "properties": {"a": {"enum": []}}}, "enum is []"),
        ({"type": "object", "properties": {"a": {"$ref": "#/x"}}}, "holds a $ref"),
        ({"type": "object", "properties": {"a": "string"}}, "schema.a is 'string'"),
        ({"type": "object", "properties": {"a": {"minimum": "a"}}}, "schema.a: minimum is 'a'"),
        ({"type": "object", "properties": {"a": {"type": "array", "maxItems": "3"}}}, "schema.a: maxItems is '3'"),
        ({"type": "object", "properties": {"a": {"minLength": -1}}}, "schema.a: minLength is -1"),
        ({"type": "object", "properties": {"a": {"type": ["integer", {"a": 1}]}}}, "no type of JSON in schema.a"),
        ({"type": "object", "properties": {"a": {"anyOf": "integer"}}}, "schema.a: anyOf is 'integer'"),
        ({"type": "object", "properties": {"a": {}}, "required": [["x"]]}, "schema requires ['x'], which is no field's name"),
        ("/nowhere/schema.json", "there is no schema /nowhere/schema.json"),
        (5, "schema is 5"),
    ],
)
def test_what_is_no_schema_is_said(schema: Any, said: str) -> None:
    with pytest.raises(BadInput) as caught:
        read_schema(schema)
    assert said in caught.value.message
    assert caught.value.hint


def test_what_a_schema_checks() -> None:
    for value, schema in (
        ("c", {"enum": ["a", "b"]}),
        (1, {"const": 2}),
        ("", {"minLength": 1}),
        ("xy", {"pattern": "^a"}),
        (11, {"maximum": 10}),
        ([1], {"minItems": 2}),
        (True, {"type": "integer"}),
        (1.5, {"anyOf": [{"type": "integer"}, {"type": "string"}]}),
    ):
        assert misfit(value, schema)
        assert not misfit(value, {})
    assert not misfit(2.0, {"type": "integer"})
    assert [coerced(cell, {"type": ["integer", "null"]}) for cell in ("3", " ", "three")] == [3, None, "three"]
    assert coerced("True", {"type": "boolean"}) is True


BROKEN = {
    '```json\n{"name": "Ann", "age": 3}\n```': {"name": "Ann", "age": 3},
    'Here it is: {"name": "Ann", "age": 3}. Is that right?': {"name": "Ann", "age": 3},
    "{'name': 'Ann', 'age': 3}": {"name": "Ann", "age": 3},
    "{'name': 'Ann's', 'age': 3}": {"name": "Ann's", "age": 3},
    '{"name": "Ann "the" one", "age": 3,}': {"name": 'Ann "the" one', "age": 3},
    "{name: Ann, age: 3, tags: [a, b,],}": {"name": "Ann", "age": 3, "tags": ["a", "b"]},
    '{"name": "Ann", "age": None}': {"name": "Ann", "age": None},
    '{"name": "Ann", "tags": ["a", "b': {"name": "Ann", "tags": ["a", "b"]},
    '{"name": "Ann", "age":': {"name": "Ann"},
    '{"name": "A\\u006en\\n"': {"name": "Ann\n"},
    '{"name": "Ann", "age": NaN}': {"name": "Ann", "age": "NaN"},
    "{“name”: “Ann”}": {"name": "Ann"},
    '{"name": "Ann"}{"name": "Bob"}': {"name": "Ann"},
    "Nothing: {}": {},
}


@pytest.mark.parametrize("text", BROKEN)
def test_what_is_nearly_an_object_is_repaired(text: str) -> None:
    assert json.loads(read_record(text, PERSON)) == BROKEN[text]


@pytest.mark.parametrize("text", ["", "Ann is three.", "[1, 2]", "{", "{]", "3", '{"a": ' * 200])
def test_what_is_no_object_is_a_failure(text: str) -> None:
    assert read_record(text, PERSON) == ""


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="{}[]:,'\"ab1 \\\n", max_size=30))
def test_no_text_breaks_the_repair(text: str) -> None:
    found = repaired("{" + text)
    assert found is None or json.loads(json.dumps(found)) == found


def test_an_object_is_written_as_its_schema_has_it() -> None:
    assert read_record('{"tags": ["b"], "age": 3.0, "name": "Zo\u00eb"}', PERSON) == '{"name": "Zoë", "age": 3, "tags": ["b"]}'


def test_init_sees_objects_and_languages(tmp_path: Path) -> None:
    found = [{"text": row["text"], "person": row["person"]} for row in rows()]
    recipe, why = guess(table(tmp_path, found))
    assert {key: recipe["task"][key] for key in ("kind", "input", "target", "metric")} == {
        "kind": "extract",
        "input": "text",
        "target": "person",
        "metric": "entity_f1",
    }
    assert any("objects of age, name" in said for said in why)
    assert build(name="t", **recipe["task"])[0].prompt.schema
    pairs = [{"de": f"Der Fluss {n}", "en": f"The river {n}"} for n in range(40)]
    recipe, why = guess(table(tmp_path, pairs))
    assert (recipe["task"]["input"], recipe["task"]["target"]) == ("de", "en")
    assert (recipe["task"]["metric"], recipe["task"]["also"]) == ("chrf", ["bleu"])
    assert recipe["task"]["instruction"] == "Translate from German into English."
    nested = [{"translation": pair} for pair in pairs]
    recipe, _ = guess(table(tmp_path, nested))
    assert build(name="t", **recipe["task"])[0].examples.train[0].turns[0].text.startswith("Der Fluss")
