"""Answers that a rule can check: JSON against its schema."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tuneladder.errors import unknown
from tuneladder.task.record import refuse_constant
from tuneladder.task.schema import Schema, misfit, read_schema


def schema_given(given: Mapping[str, Any]) -> Schema | None:
    """The schema among the settings of a reward for JSON; None where none is given. Raises BadInput for what is none."""
    if stray := next((key for key in given if key != "schema"), None):
        raise unknown("setting of the reward json", str(stray), ("schema",))
    return read_schema(given["schema"]) if given else None


def is_json(text: str, schema: Schema | None) -> bool:
    """Whether the whole of a text is a JSON object or list, one that fits the schema where there is one."""
    try:
        found = json.loads(text, parse_constant=refuse_constant)
        return isinstance(found, dict | list) and not (schema and misfit(found, schema))
    except (ValueError, RecursionError):
        return False
