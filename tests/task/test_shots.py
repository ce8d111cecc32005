from __future__ import annotations

from collections import Counter

import pytest

from tuneladder.errors import BadInput
from tuneladder.task.shots import choose
from tuneladder.types import Example, Turn

ROWS = [Example(id=str(n), turns=(Turn("user", f"t{n}"),), references=("abc"[min(n % 10, 2)],), source=f"s{n}") for n in range(100)]


def test_balanced_gives_each_label_its_turn() -> None:
    shots = choose(ROWS, count=7, seed=0, labels=("a", "b", "c"))
    assert sorted(Counter(shot.references[0] for shot in shots).values()) == [2, 2, 3]
    assert len({shot.references[0] for shot in shots[:3]}) == 3
    assert choose(ROWS, count=7, seed=0, labels=("a", "b", "c")) == shots
    assert choose(ROWS, count=7, seed=1, labels=("a", "b", "c")) != shots


def test_fixed_ignores_labels() -> None:
    counts = Counter(shot.references[0] for shot in choose(ROWS, count=50, choose="fixed", seed=0, labels=("a", "b", "c")))
    assert counts["c"] > 30
    assert choose(ROWS, count=5, choose="balanced", seed=0) == choose(ROWS, count=5, choose="fixed", seed=0)


def test_a_label_that_runs_out_leaves_its_turns_to_the_others() -> None:
    shots = choose(ROWS, count=100, seed=0, labels=("a", "b", "c"))
    assert sorted(shots, key=lambda e: int(e.id)) == ROWS


def test_no_two_shots_of_one_source() -> None:
    twice = [*ROWS[:5], *ROWS[:5]]
    assert len(choose(twice, count=5, seed=0, labels=("a", "b", "c"))) == 5
    with pytest.raises(BadInput, match="6 shots asked for, but the train split has 5"):
        choose(twice, count=6, seed=0)


def test_none_and_nonsense() -> None:
    assert choose(ROWS, count=0) == ()
    with pytest.raises(BadInput, match="-1 shots"):
        choose(ROWS, count=-1)
    with pytest.raises(BadInput, match="did you mean 'balanced'"):
        choose(ROWS, count=1, choose="balance")
