from __future__ import annotations

import random
from collections import Counter
from itertools import permutations

from tuneladder.evaluate.align import align


def fewest(a: str, b: str) -> int:
    """The fewest runs of any matching of as many letters as can be matched, by trying them all."""
    short, long = sorted((a, b), key=len)
    most = (Counter(a) & Counter(b)).total()
    counts = []
    for places in permutations([*range(len(long)), *([None] * len(short))], len(short)):
        pairs = [(i, j) for i, j in enumerate(places) if j is not None]
        if len(pairs) == most and all(short[i] == long[j] for i, j in pairs):
            counts.append(sum((i - 1, j - 1) not in pairs for i, j in pairs))
    return min(counts)


def test_runs_are_equal_words_each_used_once_and_as_many_as_can_be() -> None:
    draw = random.Random(0)
    for _ in range(300):
        a, b = ("".join(draw.choices("abcd", k=draw.randint(0, 12))) for _ in range(2))
        runs = align(a, b)
        for used, text in (([i + k for i, _, n in runs for k in range(n)], a), ([j + k for _, j, n in runs for k in range(n)], b)):
            assert len(used) == len(set(used)) == (Counter(a) & Counter(b)).total()
            assert not used or max(used) < len(text)
        assert all(a[i : i + n] == b[j : j + n] for i, j, n in runs)
        assert align(a, b) == runs


def test_runs_are_hardly_ever_more_than_the_fewest() -> None:
    draw = random.Random(1)
    more = []
    for _ in range(60):
        a, b = ("".join(draw.choices("abc", k=draw.randint(1, 4))) for _ in range(2))
        more.append(len(align(a, b)) - fewest(a, b))
    assert min(more) == 0
    assert sum(more) <= 3


def test_the_longest_run_is_taken_first_and_of_equals_the_one_that_moves_least() -> None:
    assert align("xabcy", "abczabx") == [(1, 0, 3), (0, 6, 1)]
    assert align("a", "aba") == [(0, 0, 1)]
    assert align("", "a") == align("a", "") == []
