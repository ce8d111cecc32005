"""A JSON schema of an object: read from a recipe, guessed from values, and held against them.

What is checked of a value: type, enum, const, properties, required, additionalProperties, items, anyOf, minItems, maxItems,
minLength, maxLength, pattern, minimum and maximum. Other keywords are passed on to whoever constrains the writing, and not checked
here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tuneladder.errors import BadInput, unknown
from tuneladder.task.read import expand

Schema = Mapping[str, Any]

_TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "null": type(None),
}
_COUNTS = ("minItems", "maxItems", "minLength", "maxLength")
_BOUNDS = ("minimum", "maximum")
_EXAMPLE = "schema: {type: object, properties: {name: {type: string}, age: {type: integer}}, required: [name]}"


def read_schema(given: Any) -> dict[str, Any]:
    """The schema that a recipe gives, or the path of its file. Raises BadInput for what is no schema of an object."""
    if isinstance(given, str):
        path = Path(expand(given))
        try:
            given = yaml.safe_load(path.read_text("utf-8"))  # YAML reads JSON too
        except FileNotFoundError as error:
            raise BadInput(f"there is no schema {path}", "a JSON file, or the schema itself") from error
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise BadInput(f"the schema {path} cannot be read: {str(error).splitlines()[0]}", "a JSON file") from error
    if not isinstance(given, dict):
        raise BadInput(f"schema is {given!r}", _EXAMPLE)
    if "$ref" in json.dumps(given, default=str):
        raise BadInput("the schema holds a $ref", "write what it refers to in its place")
    if given.get("type") != "object" or not isinstance(given.get("properties"), dict) or not given["properties"]:
        raise BadInput(f"the schema is of {given.get('type')!r}, and not of an object with properties", _EXAMPLE)
    _check(given, "schema")
    return given


def compact(schema: Schema) -> str:
    """The schema as a prompt shows it and an engine is told it."""
    return json.dumps(schema, ensure_ascii=False, separators=(",", ":"))


def misfit(value: Any, schema: Schema, at: str = "") -> str:
    """What is wrong with a value, by its path; nothing where it fits."""
    name = at or "it"
    if "anyOf" in schema and all(misfit(value, each, at) for each in schema["anyOf"]):
        return f"{name} is {value!r}, and fits none of anyOf"
    if "enum" in schema and value not in schema["enum"]:
        return f"{name} is {value!r}, and is none of {schema['enum']}"
    if "const" in schema and value != schema["const"]:
        return f"{name} is {value!r}, not {schema['const']!r}"
    types = _types(schema)
    if types and not any(_is(value, each) for each in types):
        return f"{name} is {value!r}, not of type {' or '.join(types)}"
    if isinstance(value, dict):
        return _misfit_object(value, schema, at)
    if isinstance(value, list):
        return _misfit_list(value, schema, at)
    if isinstance(value, str):
        short, long = schema.get("minLength", 0), schema.get("maxLength", len(value))
        if not short <= len(value) <= long:
            return f"{name} has {len(value)} characters, not {short} to {long}"
        if "pattern" in schema and not re.search(schema["pattern"], value):
            return f"{name} is {value!r}, which {schema['pattern']!r} does not match"
    if isinstance(value, int | float) and not isinstance(value, bool):
        low, high = schema.get("minimum", value), schema.get("maximum", value)
        if not low <= value <= high:
            return f"{name} is {value}, not {low} to {high}"
    return ""


def guessed(values: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The narrowest schema of types that fits all the objects; a field is required where all have it, and there are no others."""
    fields = list(dict.fromkeys(key for value in values for key in value))
    made: dict[str, Any] = {
        "type": "object",
        "properties": {field: _guessed([value[field] for value in values if field in value]) for field in fields},
    }
    if required := [field for field in fields if all(field in value for value in values)]:
        made["required"] = required
    return made | {"additionalProperties": False}


def is_strict(schema: Schema) -> bool:
    """Whether every object in it has all of its properties and no others, as endpoints want of a schema that they guarantee."""
    inside = [*schema.get("properties", {}).values(), *schema.get("anyOf", ())]
    inside += [schema["items"]] if isinstance(schema.get("items"), dict) else []
    whole = set(schema.get("required", ())) == set(schema.get("properties", {})) and schema.get("additionalProperties") is False
    return (whole or "object" not in _types(schema)) and all(is_strict(each) for each in inside)


def coerced(cell: str, schema: Schema) -> Any:
    """A cell of text as the schema would have it: a number, yes or no, a list; None for an empty cell where that is allowed. What
    cannot be read so comes back as it is."""
    types = _types(schema)
    if not cell.strip() and "null" in types:
        return None
    if "string" in types or not types:
        return cell
    try:
        read = json.loads(cell.strip().lower() if "boolean" in types else cell)
    except (ValueError, RecursionError):
        return cell
    return int(read) if "integer" in types and isinstance(read, float) and read.is_integer() else read


def _check(schema: Any, at: str) -> None:
    """Raises BadInput for a part that can mean nothing."""
    if not isinstance(schema, dict):
        raise BadInput(f"{at} is {schema!r}, not a schema", "for example {type: string}")
    for each in _types(schema):
        if not isinstance(each, str) or each not in _TYPES:
            raise unknown(f"type of JSON in {at}", str(each), _TYPES)
    if "pattern" in schema:
        try:
            re.compile(schema["pattern"])
        except (re.error, TypeError) as error:
            raise BadInput(f"{at}: the pattern {schema['pattern']!r} cannot be read: {error}", "a regular expression") from error
    for key in _COUNTS:
        if not isinstance(count := schema.get(key, 0), int) or isinstance(count, bool) or count < 0:
            raise BadInput(f"{at}: {key} is {count!r}", "a whole number from 0 up")
    for key in _BOUNDS:
        if not _is(bound := schema.get(key, 0), "number"):
            raise BadInput(f"{at}: {key} is {bound!r}", "a number")
    if not isinstance(schema.get("anyOf", []), list):
        raise BadInput(f"{at}: anyOf is {schema['anyOf']!r}", "a list of schemas")
    if "enum" in schema and not (isinstance(schema["enum"], list) and schema["enum"]):
        raise BadInput(f"{at}: enum is {schema['enum']!r}", "a list of the values that may stand there")
    properties = schema.get("properties", {})
    if not isinstance(properties, dict):
        raise BadInput(f"{at}: properties is {properties!r}", "field: schema")
    for name, each in properties.items():
        _check(each, f"{at}.{name}")
    required = schema.get("required", [])
    if isinstance(required, list) and (odd := next((name for name in required if not isinstance(name, str)), None)) is not None:
        raise BadInput(f"{at} requires {odd!r}, which is no field's name", "required: [field, other]")
    if not isinstance(required, list) or (properties and (stray := next((n for n in required if n not in properties), None))):
        stray = stray if isinstance(required, list) else required
        raise BadInput(f"{at} requires {stray!r}, which is none of its properties", f"properties: {', '.join(properties)}")
    if "items" in schema:
        _check(schema["items"], f"{at}[]")
    for each in schema.get("anyOf", ()):
        _check(each, f"{at} (anyOf)")


def _misfit_object(value: Mapping[str, Any], schema: Schema, at: str) -> str:
    properties = schema.get("properties", {})
    if missing := next((name for name in schema.get("required", ()) if name not in value), None):
        return f"{at or 'it'} has no {missing!r}"
    more = schema.get("additionalProperties", True)
    for name, each in value.items():
        if name not in properties and more is False:
            return f"{at or 'it'} has {name!r}, which the schema does not know"
        own = properties.get(name, more if isinstance(more, dict) else {})
        if said := misfit(each, own, f"{at}.{name}" if at else name):
            return said
    return ""


def _misfit_list(value: Sequence[Any], schema: Schema, at: str) -> str:
    least, most = schema.get("minItems", 0), schema.get("maxItems", len(value))
    if not least <= len(value) <= most:
        return f"{at or 'it'} has {len(value)} items, not {least} to {most}"
    each = schema.get("items")
    found = (misfit(item, each, f"{at}[{n}]") for n, item in enumerate(value)) if isinstance(each, dict) else iter(())
    return next(filter(None, found), "")


def _types(schema: Schema) -> list[str]:
    given = schema.get("type", [])
    return list(given) if isinstance(given, list) else [given]


def _is(value: Any, name: str) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    if name == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES[name])


def _guessed(values: Sequence[Any]) -> dict[str, Any]:
    names = [name for name in _TYPES if any(_is(value, name) for value in values)]
    if "number" in names and "integer" in names:
        names.remove("number" if all(_is(v, "integer") for v in values if _is(v, "number")) else "integer")
    made: dict[str, Any] = {"type": names[0] if len(names) == 1 else names} if names else {}
    if objects := [value for value in values if isinstance(value, dict)]:
        own = guessed(objects)
        made |= {key: own[key] for key in ("properties", "required", "additionalProperties") if key in own}
    if items := [item for value in values if isinstance(value, list) for item in value]:
        made["items"] = _guessed(items)
    return made
