"""Golden numbers: they fail where a step's numbers change without a new `version`, under which finished nodes would be taken for
what they no longer are. Where a change is meant, raise the step's version and write the new numbers here.

The tolerance is what fp32 gives and takes between machines over a dozen steps.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from tuneladder.ladder.tree import root_of
from tuneladder.model.ask import turns_of
from tuneladder.recipe import find_step
from tuneladder.train.loop import read_log

# step: (version, mean negative log-probability of the right answers on dev, losses of the first, fourth and last step)
GOLDEN: dict[str, tuple[int, float, tuple[float, ...]]] = {
    "few_shot": (1, 29.98003, ()),
    "full": (2, 21.51596, (6.52733, 5.43503, 4.63268)),
    "lora": (2, 20.43938, (6.52733, 5.34768, 4.42937)),
    "pretrain": (2, 29.52766, (6.39446, 6.33746, 6.05093)),
    "zero_shot": (1, 31.00617, ()),
}


def test_numbers_change_only_with_the_version(name, small, tiny_base, tiny_task, lend):
    assert name in GOLDEN, f"{name} is new: write its numbers down"
    version, answer, losses = GOLDEN[name]
    assert find_step(name).version == version, f"{name} has a new version: write its numbers down"
    kit = lend()
    made = small(name).apply(root_of(tiny_base, tiny_task), tiny_task, kit)
    log = [tick.loss for tick in read_log(kit.folder)]
    shown = [log[at] for at in (0, 3, -1)] if log else []
    asks = [turns_of(replace(made.prompt, calibrate=False), row) for row in tiny_task.examples.dev]
    with kit.shelf.engine(made) as engine:
        scores = engine.score(asks, [row.references for row in tiny_task.examples.dev])
    found = -sum(row[0] for row in scores) / len(scores)
    assert [found, *shown] == pytest.approx([answer, *losses], rel=2e-4)
