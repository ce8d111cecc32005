"""An encoder's tokens: the marks around a text, pairs, what is cut."""

from __future__ import annotations

import pytest

from tuneladder.task.passages import TextCoder, _first_tokens, said
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


def test_the_first_token_of_each_word_is_found(coder: TextCoder) -> None:
    text = "A heron étends in Zürich ( 東京 )"
    ((window,),) = coder.encode_words([text])
    assert window.ids == coder.tokenizer(text)["input_ids"]
    assert window.words == list(range(8))
    ends = [*window.places[1:], len(window.ids) - 1]
    shown = [coder.tokenizer.decode(window.ids[start:end]).strip() for start, end in zip(window.places, ends, strict=True)]
    assert shown == text.split(" ")


def test_a_text_too_long_is_read_in_windows_that_overlap(coder: TextCoder) -> None:
    text = " ".join(TEXT.split() * 4)
    (windows,) = coder.encode_words([text], limit=14)
    room = 12
    assert len(windows) > 3
    assert all(len(window.ids) == room + 2 for window in windows)
    assert sorted(word for window in windows for word in window.words) == list(range(len(text.split())))
    for at, window in enumerate(windows):
        for place in window.places:
            # a quarter of the window stands on either side, but at the text's own ends
            assert place - 1 >= room // 4 - 1 or at == 0
            assert room - place >= room // 4 - 1 or at == len(windows) - 1


@pytest.mark.parametrize(
    ("text", "offsets", "places"),
    [
        ("ab c d", [(0, 2), (3, 4), (4, 6)], [0, 1, 2]),  # a token may begin with the blank
        ("ab c", [(0, 1), (1, 2), (2, 3), (3, 4)], [0, 3]),  # or be one
        ("ab c d", [(0, 2), (5, 6)], [0, None, 1]),  # a tokenizer may drop a word
        ("ab c", [(0, 4)], [0, 0]),  # or hold two in one token
        ("ab c", [], [None, None]),
    ],
)
def test_a_word_is_where_its_first_character_is(text: str, offsets: list[tuple[int, int]], places: list[int | None]) -> None:
    assert _first_tokens(text, offsets) == places
