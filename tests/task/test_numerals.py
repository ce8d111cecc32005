"""Which number a text comes to, and how it is written."""

from __future__ import annotations

from fractions import Fraction

import pytest

from tuneladder.task.numerals import as_number, is_numeral, number_in


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
    ("text", "number"),
    [
        ("18", "18"), ("18.", "18"), ("$18", "18"), ("The answer is 18", "18"), ("18.00", "18"), ("$18.00", "18"), ("3-5", "5"),
        ("$3-$5", "5"), ("-$5", "-5"), ("1,234,567.50", "1234567.5"), ("0.050", "0.05"), ("-.5", "-0.5"), ("-0", "0"),
        ("3/4", "0.75"), ("1/3", "1/3"), ("-2/3", "-2/3"), ("1e3", "1000"), ("2.5e-3", "0.0025"), ("6/12", ""), ("none", ""),
        ("9" * 4000 + "e999", ""),
    ],
)  # fmt: skip
def test_equal_numbers_are_one_text(text: str, number: str) -> None:
    assert as_number(text) == number
    assert as_number(number) == number


def test_a_text_that_is_a_number() -> None:
    assert all(map(is_numeral, ("18", " $1,800.00 ", "-3", "3/4", "1e3")))
    assert not any(map(is_numeral, ("", "$", "18 eggs", "3-5", "A7")))
