from __future__ import annotations

import random
import time

import pytest

from tuneladder.task.leaks import _WORD, find_leaks, normal, read_text
from tuneladder.types import Example, Turn


def example(id: str, text: str, system: str = "") -> Example:
    turns = (*([Turn("system", system)] if system else []), Turn("user", text))
    return Example(id=id, turns=turns, references=("x",))


def shingles(text: str) -> set[tuple[str, ...]]:
    words = _WORD.findall(normal(text))
    return {tuple(words[n : n + 5]) for n in range(len(words) - 4)}


def texts(count: int, seed: int) -> list[str]:
    """Random sentences, each with an edit or two of its own, shuffled."""
    rng = random.Random(seed)
    made: list[list[str]] = []
    for n in range(count):
        if n % 3:
            words = list(made[n - n % 3])
            for _ in range(rng.randrange(3)):
                words[rng.choice([0, -1, rng.randrange(len(words))])] = f"w{rng.randrange(900)}"
        else:
            words = [f"w{rng.randrange(900)}" for _ in range(rng.randrange(3, 60))]
        made.append(words)
    rng.shuffle(made)
    return [" ".join(words) for words in made]


@pytest.mark.parametrize("seed", range(5))
def test_finds_exactly_what_comparing_every_pair_finds(seed: int) -> None:
    rows = [example(str(n), text) for n, text in enumerate(texts(240, seed))]
    splits = [("test", rows[:60]), ("dev", rows[60:100]), ("train", rows[100:])]
    found = {(leak.split, leak.id): leak for leak in find_leaks(splits)}
    kept: list[Example] = []
    expected = set()
    for split, part in splits:
        clean = []
        for row in part:
            mine = shingles(read_text(row))
            for other in kept:
                theirs = shingles(read_text(other))
                same = normal(read_text(row)) == normal(read_text(other))
                if same or (mine and theirs and len(mine & theirs) / len(mine | theirs) >= 0.8):
                    expected.add((split, row.id))
                    break
            else:
                clean.append(row)
        kept += clean
    assert set(found) == expected
    assert len(expected) > 20
    for leak in found.values():
        mine, theirs = shingles(read_text(rows[int(leak.id)])), shingles(read_text(rows[int(leak.other)]))
        assert leak.how == "exact" or leak.overlap == pytest.approx(len(mine & theirs) / len(mine | theirs))
    assert find_leaks(splits) == find_leaks(splits)


def test_copies_that_differ_in_case_spacing_and_width_are_exact() -> None:
    (leak,) = find_leaks(
        [("test", [example("1", "Ｗhere is  it?")]), ("train", [example("2", "where is\nIT?"), example("3", "Where?")])]
    )
    assert (leak.split, leak.id, leak.kept, leak.other, leak.how) == ("train", "2", "test", "1", "exact")


def test_scripts_without_spaces() -> None:
    text = "春眠暁を覚えず処処啼鳥を聞く夜来風雨の声花落つること知る多少"
    (leak,) = find_leaks([("test", [example("1", text)]), ("train", [example("2", f"{text}。ね")])])
    assert leak.how == "near"


def test_a_template_around_every_row_is_no_leak() -> None:
    frame = " ".join(f"please read this text with care {n}" for n in range(12))
    rng = random.Random(0)
    rows = [example(str(n), f"{frame} {rng.randrange(10**9)} {rng.randrange(10**9)} {frame}", frame) for n in range(200)]
    assert find_leaks([("test", rows[:100]), ("train", rows[100:])]) == []


def test_nothing_and_empty_texts() -> None:
    assert find_leaks([("test", []), ("dev", []), ("train", [])]) == []
    assert find_leaks([("test", [example("1", "a")]), ("train", [example("2", "b")])]) == []


def test_many_rows_in_seconds() -> None:
    rng = random.Random(0)
    words = [f"w{n}" for n in range(20_000)]
    rows = [example(str(n), " ".join(rng.choices(words, k=30))) for n in range(20_000)]
    start = time.process_time()
    assert find_leaks([("test", rows[:2_000]), ("dev", rows[2_000:4_000]), ("train", rows[4_000:])]) == []
    assert time.process_time() - start < 10  # about 1 on an idle core; 50,000 rows of 40 words took 4
