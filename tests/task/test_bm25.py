"""BM25 against the sum written out by hand, and what it takes for a word."""

from __future__ import annotations

import math

import pytest

from tuneladder.task.bm25 import K1, B, Bm25, words_in

TEXTS = ["the parcel is late", "the bill is wrong, the bill!", "where is the parcel now"]


def test_the_score_is_the_sum_over_shared_words() -> None:
    (found,) = Bm25(TEXTS).score(["a bill for the parcel, the parcel"])
    mean = (4 + 6 + 5) / 3

    def one(said: int, length: int, texts: int) -> float:
        rarity = math.log(1 + (3 - texts + 0.5) / (texts + 0.5))
        return rarity * said * (K1 + 1) / (said + K1 * (1 - B + B * length / mean))

    assert found.tolist() == pytest.approx([one(1, 4, 3) + one(1, 4, 2), one(2, 6, 3) + one(2, 6, 1), one(1, 5, 3) + one(1, 5, 2)])


def test_a_rare_word_counts_more_and_an_unknown_one_nothing() -> None:
    index = Bm25(TEXTS)
    assert index.score(["bill"])[0].argmax() == 1
    assert index.score(["nobody knows zebras"]).tolist() == [[0.0, 0.0, 0.0]]
    assert Bm25(["", "..."]).score(["a", ""]).tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_case_is_no_difference_and_scripts_without_blanks_have_words() -> None:
    assert words_in("Straße, STRASSE 12") == ["strasse", "strasse", "12"]
    assert words_in("東京の天気 today") == ["東", "京", "の", "天", "気", "today"]
    assert Bm25(["東京の天気", "大阪の電車"]).score(["京都の天気"])[0].argmax() == 0
