"""One case for every step found in the folders, on every family that it says it is for: a step made with settings small enough to
run in a test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tuneladder.model.inspect import inspect
from tuneladder.recipe import find_step
from tuneladder.types import Base, Step
from tuneladder.written import steps

TEMPTING = str(Path(__file__).parents[1] / "tempting.jsonl")  # four prompts, where the package has thirty-two
# what a test cannot wait for at its default, and learning rates that move a model of two layers
SMALL = {
    "adapter": {"r": 4, "epochs": 2, "learning_rate": 1e-2, "batch_size": 8},
    "ia3": {"epochs": 2, "learning_rate": 5e-2, "batch_size": 8},
    "prefix_tuning": {"tokens": 4, "epochs": 2, "learning_rate": 1e-1, "batch_size": 8},
    "prompt_tuning": {"tokens": 4, "epochs": 2, "learning_rate": 1e-1, "batch_size": 8},
    "chain_of_thought": {"tokens": 4},
    "explain": {"tokens": 4},
    "constitution": {"prompts": TEMPTING, "tokens": 4, "r": 4, "epochs": 2, "learning_rate": 1e-2, "batch_size": 2},
    "dpo": {"r": 4, "epochs": 2, "learning_rate": 1e-2, "batch_size": 8},
    "few_shot": {"shots": 3},
    "kto": {"r": 4, "epochs": 2, "learning_rate": 1e-2, "batch_size": 16},
    "full": {"epochs": 2, "learning_rate": 2e-3, "batch_size": 8},
    "grpo": {
        "reward": "tests.rewards:letters",
        "phases": 5,
        "prompts": 3,
        "samples": 3,
        "tokens": 8,
        "r": 4,
        "learning_rate": 1e-2,
    },
    "ppo": {
        "reward": "tests.rewards:letters",
        "phases": 3,
        "prompts": 3,
        "samples": 2,
        "tokens": 8,
        "updates": 2,
        "target_kl": 0.01,
        "r": 4,
        "learning_rate": 1e-2,
    },
    "lora": {"epochs": 2, "learning_rate": 1e-2, "batch_size": 8},
    "qlora": {"form": "int8", "epochs": 2, "learning_rate": 1e-2, "batch_size": 8},
    "rest": {
        "reward": "tests.rewards:letters",
        "improves": 2,
        "prompts": 4,
        "samples": 6,
        "tokens": 8,
        "data": False,
        "updates": 2,
        "batch_size": 8,
        "held_out": 8,
        "patience": 0,
        "r": 4,
        "learning_rate": 5e-2,
    },
    "reward": {"r": 4, "epochs": 2, "learning_rate": 2e-3, "batch_size": 8},
    "search": {"candidates": 3, "shown": 2, "rows": 4, "tokens": 6},
    "selective": {"top": 1, "epochs": 2, "learning_rate": 2e-3, "batch_size": 8},
    "self_consistency": {"samples": 2, "tokens": 4},
    "sentence_distil": {"tokens": 1500, "length": 32, "batch_size": 8, "learning_rate": 2e-3, "looks": 4},
    "pretrain": {"tokens": 1024, "length": 32, "batch_size": 4, "learning_rate": 2e-3, "looks": 4, "compile": "off"},
}
# solved at once, not trained in the loop: there is nothing to take up again, and no draw that a seed decides
SOLVED = ("linear_probe",)
FAMILIES = ("decoder", "encoder", "seq2seq")
# go lora's, prompt_tuning's and full's ways: these are enough where two steps come after each other, and for the loop on every
# family
ALIKE = ("adapter", "ia3", "prefix_tuning", "qlora", "selective")
# an instruction, or what is asked after the answer, is all that some hand on; what learns from comparisons goes lora's ways
BESIDE = {
    "constitution": ("lora",),
    "dpo": ("few_shot", "lora", "dpo", "full"),
    "kto": ("few_shot", "lora"),
    "grpo": ("few_shot", "lora", "grpo"),
    "ppo": ("few_shot", "lora"),
    "rest": ("few_shot", "lora", "rest"),
    "reward": ("few_shot", "full", "reward"),
    "search": ("chain_of_thought", "explain", "few_shot", "lora", "search"),
    "explain": ("chain_of_thought", "explain", "few_shot", "linear_probe", "lora", "search", "zero_shot"),
}
# two steps after each other on a seq2seq go the decoder's ways; those that train are enough
PAIRED = {"seq2seq": ("lora", "full", "pretrain")}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`name` is every step in turn, `trained` every one that the loop trains, `killed_at` where it is killed, `first` and `second`
    every ordered pair; with `tiny_base` each comes once for every family that it is for."""
    found = sorted(steps())
    loops = [name for name in found if find_step(name).changes != "prompt" and name not in SOLVED]
    of = {
        "name": [(name,) for name in found],
        "killed_at": [(name, at) for name in loops for at in ((4,) if name in ALIKE else (1, 4, "last"))],
        "trained": [(name,) for name in loops],
        "first": [
            (a, b)
            for a in found
            for b in found
            if not {a, b} & set(ALIKE) and a in BESIDE.get(b, found) and b in BESIDE.get(a, found)
        ],
    }
    for fixture, cases in of.items():
        if fixture not in metafunc.fixturenames:
            continue
        names = {"first": ("first", "second"), "killed_at": ("trained", "killed_at")}.get(fixture, (fixture,))
        if "tiny_base" not in metafunc.fixturenames:
            metafunc.parametrize(names, cases)
            return
        whole = [
            pytest.param(*case, family, id="-".join((*map(str, case), *([family] if family != FAMILIES[0] else []))))
            for family in FAMILIES
            for case in cases
            if all(family in find_step(name).families for name in case if name in found)
            or (fixture == "first" and family == FAMILIES[0])
            if fixture != "first" or all(name in PAIRED.get(family, found) for name in case)
            if fixture not in ("trained", "killed_at") or family == FAMILIES[0] or case[0] not in ALIKE
        ]
        metafunc.parametrize((*names, "tiny_base"), whole, indirect=["tiny_base"], scope="session")
        return


@pytest.fixture(scope="session")
def tiny_base(request: pytest.FixtureRequest, tiny_folder: Path, tiny_encoder: Base, tiny_seq2seq: Base) -> Base:
    return {"encoder": tiny_encoder, "seq2seq": tiny_seq2seq}.get(getattr(request, "param", "")) or inspect(str(tiny_folder))


@pytest.fixture(scope="session")
def solved() -> tuple[str, ...]:
    return SOLVED


@pytest.fixture(scope="session")
def small(tiny_encoder: Base) -> Callable[[str], Step]:
    teacher = {"sentence_distil": {"teacher": tiny_encoder.location}}
    return lambda name: find_step(name)(**SMALL.get(name, {}), **teacher.get(name, {}))
