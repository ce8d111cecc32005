"""Answers that a rule can check: a number against a reference's, exactly, and JSON against its schema."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from tuneladder.errors import unknown
from tuneladder.task.record import refuse_constant
from tuneladder.task.schema import Schema, misfit, read_schema

_BOXED = re.compile(r"\\boxed\{((?:[^{}]|\{[^{}]*\})*)\}")
_FRAC = re.compile(r"\\[dt]?frac\{\s*(-?\d+)\s*\}\{\s*(\d+)\s*\}")
_MARK = "####"  # before the answers of GSM8K (arXiv:2110.14168)
# a sign that takes something away is none of a number's, and a date is no fraction
_NUMBER = re.compile(
    r"(?:(?<![\w)\].])(?P<sign>[-\u2212]))?(?:"
    r"(?<![\d/.])(?P<above>\d+)\s?/\s?(?P<below>\d+)(?!\d|/|\.\d)|"
    r"(?P<plain>(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|(?<!\d)\.\d+)(?:[eE][-+]?\d{1,3}(?!\w))?))"
)


def number_in(text: str, *, lowest: bool = True) -> Fraction | None:
    """The number that a text comes to, None where it comes to none: what stands in its last `\\boxed{}`, or after its last `####`,
    or its last number. 1,000, -0.5, 1e3, 3/4 and `\\frac{3}{4}` are numbers; a fraction is one in its `lowest` terms alone, or 12/4
    would answer what 12/4 is."""
    if boxed := _BOXED.findall(text):
        text = boxed[-1]
    elif _MARK in text:
        text = text.rpartition(_MARK)[2]
    *_, last = (None, *_NUMBER.finditer(_FRAC.sub(r"\1/\2", text)))
    return _value(last, lowest=lowest) if last else None


def _value(match: re.Match[str], *, lowest: bool) -> Fraction | None:
    sign = -1 if match["sign"] else 1
    try:
        if match["plain"]:
            return sign * Fraction(match["plain"].replace(",", ""))
        above, below = int(match["above"]), int(match["below"])
    except ValueError:  # more digits than Python reads
        return None
    if below == 0 or (lowest and (below == 1 or math.gcd(above, below) > 1)):
        return None
    return Fraction(sign * above, below)


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
