"""One case for every step found in the folders: a step made with settings small enough to run in a test."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tuneladder.model.shelf import Shelf
from tuneladder.recipe import find_step, steps
from tuneladder.types import Step, Variant

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


@pytest.fixture(scope="session")
def fingerprint() -> Callable[[Shelf, Variant], Mapping[str, Any]]:
    """All of a lent model that a step could have changed: its parts, numbers, flags, modes, hooks, configs, and the tokenizer."""

    def take(shelf: Shelf, variant: Variant) -> Mapping[str, Any]:
        with shelf.live(variant) as live:
            model = live.model
            return {
                "modules": {name: type(module).__name__ for name, module in model.named_modules()},
                "attributes": {name: sorted(vars(module)) for name, module in model.named_modules()},
                "modes": {name: module.training for name, module in model.named_modules()},
                "hooks": {
                    name: {key: len(value) for key, value in vars(module).items() if "hooks" in key and value is not None}
                    for name, module in model.named_modules()
                },
                "weights": {
                    name: (weight.dtype, weight.requires_grad, weight.grad, hashlib.sha256(weight.detach().numpy().tobytes()).hexdigest())
                    for name, weight in itertools.chain(model.named_parameters(), model.named_buffers())
                },
                "tied": model.get_output_embeddings().weight is model.get_input_embeddings().weight,
                "config": model.config.to_dict() | {"attention": model.config._attn_implementation},
                "generation": model.generation_config.to_dict(),
                "tokenizer": (live.tokenizer.backend_tokenizer.to_str(), live.tokenizer.padding_side, live.tokenizer.special_tokens_map),
            }

    return take
