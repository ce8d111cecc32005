"""Numbers in texts, exactly: the one that a text comes to, and how it is written so that equal ones are the same text."""

from __future__ import annotations

import math
import re
from fractions import Fraction

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


def as_number(text: str, *, lowest: bool = True) -> str:
    """The number that a text comes to, in one way of writing it, "" where it comes to none: $1,800.00 is 1800, 2.50 is 2.5, 1/3 is
    1/3 and 3/4 is 0.75. What is so written comes to itself."""
    found = number_in(text.replace("$", ""), lowest=lowest)
    try:
        return "" if found is None else _written(found)
    except ValueError:  # more digits than Python writes
        return ""


def is_numeral(text: str) -> bool:
    """Whether a text is a number and nothing else, but for a currency's sign."""
    return bool(_NUMBER.fullmatch(text.replace("$", "").strip()))


def _written(number: Fraction) -> str:
    places = next((n for n in range(number.denominator.bit_length()) if 10**n % number.denominator == 0), None)
    if places is None:  # its decimals never end
        return str(number)
    digits = str(abs(number.numerator) * 10**places // number.denominator).rjust(places + 1, "0")
    whole = digits[: len(digits) - places]
    return ("-" if number < 0 else "") + whole + (f".{digits[len(whole) :]}" if places else "")


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
