"""Rows written carelessly: what changes, what must not, and that a seed says it all."""

from __future__ import annotations

import re

import pytest

from tuneladder.task.perturb import WAYS, perturbed
from tuneladder.types import Example, Turn

TEXT = "Where did my parcel number 4711 go? It was due on Tuesday, and nobody rang the bell."


def row(text: str = TEXT, id: str = "r1") -> Example:
    turns = (Turn("system", "Answer the customer."), Turn("user", text), Turn("assistant", "Which one?"), Turn("user", text))
    return Example(id, turns, ("delivery",), options=("delivery", "billing"), meta={"tests": "x"}, source="s")


def written(way: str, text: str = TEXT, *, share: float = 0.1, seed: int = 0, id: str = "r1") -> str:
    return perturbed(row(text, id), way, share=share, seed=seed).turns[1].text


@pytest.mark.parametrize("way", WAYS)
def test_only_what_a_person_wrote_is_changed(way: str) -> None:
    before, after = row(), perturbed(row(), way, share=0.2, seed=0)
    assert (after.id, after.references, after.options, after.meta, after.source) == (
        before.id,
        before.references,
        before.options,
        before.meta,
        before.source,
    )
    assert after.turns[0] == before.turns[0]
    assert after.turns[2] == before.turns[2]
    assert after.turns[1] != before.turns[1]
    assert after.turns[3] != before.turns[3]


@pytest.mark.parametrize("way", WAYS)
def test_a_seed_and_a_row_say_it_all(way: str) -> None:
    assert written(way) == written(way)
    assert len({written(way, seed=seed) for seed in range(8)}) > 1
    assert len({written(way, id=f"r{n}") for n in range(8)}) > 1


def test_so_many_words_have_one_typo() -> None:
    for share, count in ((0.1, 1), (0.5, 6), (1.0, 12)):
        for seed in range(20):
            found = written("typos", share=share, seed=seed).split(" ")
            assert len(found) == len(TEXT.split(" "))  # no word is parted, and no two are one
            changed = [(a, b) for a, b in zip(TEXT.split(" "), found, strict=True) if a != b]
            assert len(changed) == count
            assert all(abs(len(a) - len(b)) <= 1 for a, b in changed)
            assert "4711" in found
    assert written("typos", "aaa aa 12") != "aaa aa 12"
    assert written("typos", "no 12 !") == "no 12 !"  # nothing to mistype


def test_case_is_the_other_than_it_was() -> None:
    assert {written("case", seed=seed) for seed in range(9)} == {TEXT.lower(), TEXT.upper()}
    assert {written("case", "all small", seed=seed) for seed in range(9)} == {"ALL SMALL"}
    assert written("case", "123") == "123"


def test_blanks_are_more_and_words_stay() -> None:
    for seed in range(20):
        found = written("spacing", seed=seed)
        assert found != TEXT
        assert found.split() == TEXT.split()
        assert max(map(len, re.findall(" +", found))) <= 3
    assert written("spacing", "one two", seed=3) != "one two"
    assert written("spacing", "word") == "word"
