"""Checks of style: each setting is heard, and what cannot be meant is refused."""

from __future__ import annotations

import pytest

from tuneladder.errors import BadInput
from tuneladder.evaluate.find import find_metric
from tuneladder.evaluate.gold import check_gold
from tuneladder.evaluate.measure import mark
from tuneladder.evaluate.metrics.reading_level import grade
from tuneladder.ladder import words
from tuneladder.types import Answer, Example, Split, Task, Turn


def marks(name: str, *answers: str) -> list[float]:
    items = find_metric(name).items
    assert items is not None
    return list(items(answers, [("",)] * len(answers), ()))


def test_length() -> None:
    said = ("", "one two", "one two three", "a\nb")
    assert marks("length {at_most: 2}", *said) == [1, 1, 0, 1]
    assert marks("length {at_least: 2, at_most: 2}", *said) == [0, 1, 0, 1]
    assert marks("length {at_least: 3}", *said) == [0, 0, 1, 0]
    assert marks("length {at_most: 3, unit: characters}", *said) == [1, 0, 0, 1]
    assert marks("length {at_most: 1, unit: lines}", *said) == [1, 1, 1, 0]


def test_format() -> None:
    said = ('{"a": 1}', "a line", "- one\n\n2. two", "- one\ntwo", "")
    assert marks("format {of: json}", *said) == [1, 0, 0, 0, 0]
    assert marks("format {of: line}", *said) == [1, 1, 0, 0, 0]
    assert marks("format {of: list}", *said) == [0, 0, 1, 0, 0]
    assert marks("format {pattern: 'a.*'}", *said, "b a line") == [0, 1, 0, 0, 0, 0]


def test_forbidden_words() -> None:
    name = "forbidden_words {words: [never, as an AI, c++]}"
    assert marks(name, "Never!", "nevertheless", "As  an\nai, I", "as an aid", "in C++.", "") == [0, 1, 0, 1, 0, 1]


def test_reading_level() -> None:
    # by hand: 6 words, 1 sentence, 6 syllables; 5 words, 2 sentences, 10 syllables
    assert grade("The cat sat on the mat.") == pytest.approx(0.39 * 6 + 11.8 * 1 - 15.59)
    assert grade("Policy is complicated. Nobody wondered?") == pytest.approx(0.39 * 2.5 + 11.8 * 13 / 5 - 15.59)
    assert grade("42 %") is None
    hard = "Institutional considerations necessitate comprehensive reorganisation of administrative responsibilities."
    assert marks("reading_level {at_most: 5}", "The cat sat on the mat.", hard, "") == [1, 0, 0]
    assert marks("reading_level {at_most: 99}", hard) == [1]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("length", "sets no limit"),
        ("length {at_least: 5, at_most: 2}", "no answer has it"),
        ("length {unit: pages, at_most: 2}", "unit is 'pages'"),
        ("format", "takes `of` or `pattern`"),
        ("format {of: json, pattern: x}", "takes `of` or `pattern`"),
        ("format {pattern: '('}", "cannot be read"),
        ("forbidden_words", "names no word"),
        ("forbidden_words {words: ['']}", "names no word"),
        ("reading_level", "sets no grade"),
        ("reading_level {at_most: [}", "cannot be read"),
        ("bleu {order: 2}", "bleu takes no settings"),
    ],
)
def test_settings_that_cannot_be_meant(name: str, said: str) -> None:
    with pytest.raises(BadInput) as refused:
        find_metric(name)
    assert said in refused.value.message
    assert refused.value.hint


def test_a_check_stands_beside_the_tasks_metric_and_is_called_by_its_settings() -> None:
    rows = tuple(Example(str(n), (Turn("user", "?"),), (text,)) for n, text in enumerate(("one", "one two three")))
    check = "length {at_most: 2}"
    task = Task("free", "generate", Split(dev=rows), metric="exact_match", also=(check,))
    check_gold(check, task)  # a reference may be too long: not all are
    found = mark(task, rows, [Answer("one"), Answer("two")], seconds=1, engine="fake", seed=0)
    assert found.quality[check].value == 1
    assert found.quality["exact_match"].value == 0.5
    assert words.metric_name(check) == "length (at_most: 2)"
    assert words.metric_name("forbidden_words {words: ['[x]']}[facts]") == "forbidden words (words: ['[x]']) [facts]"
