"""One case for every step found in the folders: a step made with settings small enough to run in a test."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tuneladder.recipe import find_step, steps
from tuneladder.types import Step

# what a test cannot wait for at its default, and learning rates that move a model of two layers
SMALL = {
    "few_shot": {"shots": 3},
    "full": {"epochs": 2, "learning_rate": 2e-3, "batch_size": 8},
    "lora": {"epochs": 2, "learning_rate": 1e-2, "batch_size": 8},
    "pretrain": {"tokens": 1024, "length": 32, "batch_size": 4, "learning_rate": 2e-3, "looks": 4, "compile": "off"},
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`name` is every step in turn, `trained` every one that writes weights, `first` and `second` every ordered pair."""
    found = sorted(steps())
    if "name" in metafunc.fixturenames:
        metafunc.parametrize("name", found)
    if "trained" in metafunc.fixturenames:
        metafunc.parametrize("trained", [name for name in found if find_step(name).changes != "prompt"])
    if "first" in metafunc.fixturenames:
        metafunc.parametrize(("first", "second"), [(a, b) for a in found for b in found])


@pytest.fixture(scope="session")
def small() -> Callable[[str], Step]:
    return lambda name: find_step(name)(**SMALL.get(name, {}))
