"""Answers that a rule can check: which number a text comes to, and what is JSON."""

from __future__ import annotations

from fractions import Fraction

import pytest

from tuneladder.errors import BadInput
from tuneladder.train.checks import is_json, number_in, schema_given

PERSON = {"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}}, "required": ["name"]}


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("5 and 7 are 12", "12"), ("so 1,013.50 dollars.", "1013.5"), ("it is -0.5", "-0.5"), ("\u22122", "-2"), ("10-3", "3"),
        ("x = -3", "-3"), (".25", "0.25"), ("1e3", "1000"), ("2.5e-2 of it", "0.025"), ("1, 2, 3", "3"), ("3/4", "3/4"),
        ("It is 3/4.", "3/4"), ("-1 / 2", "-1/2"), (r"\frac{3}{4}", "3/4"), (r"\dfrac{-3}{4}", "-3/4"), ("on 3/4/2024", "2024"),
        ("6 * 7 = 42\n#### 42", "42"), ("#### 1,000 eggs, of 12 hens", "12"), (r"\boxed{7} and 9", "7"), ("50 %", "50"),
        (r"\boxed{\frac{1}{2}}", "1/2"), (r"\boxed{1} no, \boxed{2}", "2"), ("3.", "3"),
    ],
)  # fmt: skip
def test_the_number_that_a_text_comes_to(text: str, number: str) -> None:
    assert number_in(text) == Fraction(number)


@pytest.mark.parametrize("text", ["", "none", "4/8", "12/4", "5/1", "1/0", "3 #### none", r"\boxed{}", "9" * 5000])
def test_a_text_that_comes_to_none(text: str) -> None:
    assert number_in(text) is None


def test_a_reference_may_be_written_as_it_is() -> None:
    assert number_in("12/4", lowest=False) == 3
    assert number_in("1/0", lowest=False) is None


def test_tenths_are_exact() -> None:
    assert number_in("0.1") + number_in("0.2") == number_in("0.30")  # type: ignore[operator]


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
