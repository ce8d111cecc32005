"""Answers that a rule can check: what is JSON."""

from __future__ import annotations

import pytest

from tuneladder.errors import BadInput
from tuneladder.train.checks import is_json, schema_given

PERSON = {"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}}, "required": ["name"]}


@pytest.mark.parametrize(
    ("text", "plain", "held"),
    [
        ('{"name": "Ana", "age": 3}', True, True), ('{"name": "Ana", "age": "3"}', True, False), ('{"age": 3}', True, False),
        ('["Ana"]', True, False), ('"Ana"', False, False), ("3", False, False), ('{"name": "Ana"} ok', False, False),
        ('{"name": NaN}', False, False), ("{name: 1}", False, False), ("[" * 10**5, False, False), ("", False, False),
    ],
)  # fmt: skip
def test_the_whole_is_json_and_fits_its_schema(text: str, plain: bool, held: bool) -> None:
    assert (is_json(text, None), is_json(text, PERSON)) == (plain, held)


def test_settings_of_the_reward_json() -> None:
    assert schema_given({}) is None
    assert schema_given({"schema": PERSON}) == PERSON
    with pytest.raises(BadInput, match="no setting of the reward json 'shema': did you mean 'schema'"):
        schema_given({"shema": PERSON})
    with pytest.raises(BadInput, match="there is no schema gone"):
        schema_given({"schema": "gone.json"})
