"""What an endpoint will be paid, by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tuneladder.model.addressed import remote
from tuneladder.model.fees import AROUND, LOOK, Tokens, fee, tokens_of, written_by
from tuneladder.types import Base, Decoding, Example, Prompt, Shots, Thought, Turn, Why

PRICED = remote({"url": "http://localhost/v1", "model": "m", "prices": {"input": 2, "output": 10}})
ROWS = tuple(Example(str(n), (Turn("user", "x" * 40 * (1 + n % 2)),), ("y" * 8,)) for n in range(8))
PLAIN = Tokens(15 + AROUND, 3)  # 40 or 80 characters, and an answer of 8 with its end


def test_a_row_is_its_characters_and_what_stands_around_its_turns() -> None:
    assert tokens_of(Prompt(), ROWS) == PLAIN
    assert tokens_of(Prompt(instruction="i" * 20), ROWS) == Tokens(PLAIN.read + 5 + AROUND, 3)
    shown = Shots(1, "fixed", (Example("s", (Turn("user", "a" * 16),), ("b" * 4,)),))
    assert tokens_of(Prompt(shots=shown), ROWS).read == PLAIN.read + 4 + 1 + 2 * AROUND


def test_answers_are_no_longer_than_they_may_be_and_samples_are_written_apart() -> None:
    assert tokens_of(Prompt(decoding=Decoding(max_new_tokens=2)), ROWS).written == 2
    assert tokens_of(Prompt(decoding=Decoding(samples=4, temperature=1)), ROWS) == Tokens(PLAIN.read, 12)
    assert tokens_of(Prompt(vote=5), ROWS) == Tokens(PLAIN.read, 15)
    first, asked = PLAIN.read, 3 + 2 + 2 * AROUND  # the answer, the question, and what stands around both
    assert tokens_of(Prompt(why=Why("w" * 8, tokens=50)), ROWS) == Tokens(2 * first + asked, 3 + 50)
    thinking = Prompt(vote=3, think=Thought(invitation="t" * 38, tokens=100))  # two line ends before it
    first = PLAIN.read + 10
    assert tokens_of(thinking, ROWS) == Tokens(first + 3 * (first + 100), 3 * 103)


def test_many_rows_are_looked_at_in_part() -> None:
    many = tuple(replace(ROWS[0], id=str(n)) for n in range(3 * LOOK))
    assert tokens_of(Prompt(), many) == tokens_of(Prompt(), ROWS[:1])


def test_money_is_tokens_by_their_prices() -> None:
    cost = fee(PRICED, Tokens(100, 10), 1000)
    assert cost.tokens == 110_000
    assert cost.money == pytest.approx(0.1 * 2 + 0.01 * 10)
    unpriced = remote({"url": "http://localhost/v1", "model": "m"})
    assert (fee(unpriced, Tokens(100, 10), 1000).money, fee(unpriced, Tokens(100, 10), 1000).tokens) == (0, 110_000)
    here = Base("b", "folder", "/b", "decoder", 1, 1, 1, 1, 1, 1)
    assert fee(here, Tokens(100, 10), 1000).tokens == 0


def test_labels_that_an_endpoint_is_shown_are_read() -> None:
    labels, ranked = ("a" * 18, "b" * 18), Prompt(ask="score", parse="label")
    shown = (len("\n\nOne of these:") + 2 * (3 + 18)) / 4
    assert tokens_of(written_by(PRICED, ranked), ROWS, labels).read == PLAIN.read + shown
    named = replace(ranked, instruction=" ".join(labels))
    assert tokens_of(written_by(PRICED, named), ROWS, labels) == tokens_of(named, ROWS)
    here = Base("b", "folder", "/b", "decoder", 1, 1, 1, 1, 1, 1)
    assert tokens_of(written_by(here, ranked), ROWS, labels) == PLAIN
