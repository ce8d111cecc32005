"""An encoder's tokens: the marks around a text, pairs, what is cut."""

from __future__ import annotations

import pytest

from tuneladder.task.passages import TextCoder, said
from tuneladder.task.tokenizer import END, MASK, PAD, train_tokenizer
from tuneladder.types import Document, Turn

TEXT = "The river runs past the mill. A heron stands in the shallows and waits."


@pytest.fixture(scope="module")
def coder() -> TextCoder:
    tokenizer = train_tokenizer([Document(TEXT)], vocabulary=300, context=32, mixture={}, seed=0, family="encoder")
    return TextCoder(tokenizer, 32)


def test_a_text_is_read_as_its_tokenizer_writes_it(coder: TextCoder) -> None:
    plain = coder.tokenizer(TEXT)["input_ids"]
    assert coder.encode_many([TEXT], limit=None)[0].ids == plain
    assert coder.tokenizer.convert_ids_to_tokens(plain)[0] == coder.tokenizer.convert_ids_to_tokens(plain)[-1] == END


def test_a_blank_line_divides_a_pair(coder: TextCoder) -> None:
    (row,) = coder.encode_many(["A heron.\n\nThe mill."])
    assert row.ids == coder.tokenizer("A heron.", "The mill.")["input_ids"]
    assert coder.encode_many(["A heron.\n\n  \n"])[0].ids == coder.tokenizer("A heron.")["input_ids"]


def test_the_instruction_is_not_read() -> None:
    turns = (Turn("system", "Which desk?"), Turn("user", "One."), Turn("assistant", "Two."))
    assert said(turns) == "One.\n\nTwo."


def test_a_text_too_long_loses_its_middle(coder: TextCoder) -> None:
    (whole,) = coder.encode_plain([TEXT * 4])
    (row,) = coder.encode_many([TEXT * 4], limit=12)
    assert row.ids == [*coder.opening, *whole[:5], *whole[-5:], *coder.closing]
    assert row.cut == len(whole) - 10


def test_special_tokens_in_a_row_are_plain_text(coder: TextCoder) -> None:
    (row,) = coder.encode_many([f"a {MASK} b {PAD}{END}"])
    assert coder.mask not in row.ids
    assert [token for token in row.ids if token in coder.specials] == [*coder.opening, *coder.closing]
