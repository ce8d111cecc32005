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
    "full": (4, 21.51596, (6.52733, 5.43503, 4.63268)),
    "linear_probe": (2, 0.34236, ()),
    "lora": (4, 20.43938, (6.52733, 5.34768, 4.42937)),
    "pretrain": (4, 29.52766, (6.39446, 6.33746, 6.05093)),
    "zero_shot": (1, 31.00617, ()),
}

# the same on an encoder, for the steps that are for one
ENCODER: dict[str, tuple[int, float, tuple[float, ...]]] = {
    "full": (4, 0.90074, (1.14453, 1.01372, 0.81538)),
    "linear_probe": (2, 0.80898, ()),
    "lora": (4, 0.95826, (1.14453, 1.10176, 1.01892)),
    "pretrain": (4, 1.72139, (5.78786, 5.72088, 5.52598)),
    "sentence_distil": (4, 1.76186, (1.34321, 1.16389, 1.16389)),
    "zero_shot": (1, 2.51511, ()),
}

SEQ2SEQ: dict[str, tuple[int, float, tuple[float, ...]]] = {
    "few_shot": (1, 26.63696, ()),
    "full": (4, 16.03637, (6.18902, 4.15001, 3.4326)),
    "linear_probe": (2, 0.78531, ()),
    "lora": (4, 14.60702, (6.18902, 4.13551, 3.06444)),
    "pretrain": (4, 27.43683, (6.89521, 5.90368, 5.75237)),
    "zero_shot": (1, 26.61007, ()),
}


def test_numbers_change_only_with_the_version(name, small, tiny_base, tiny_task, lend):
    golden = {"decoder": GOLDEN, "encoder": ENCODER, "seq2seq": SEQ2SEQ}[tiny_base.family]
    assert name in golden, f"{name} is new: write its numbers down"
    version, answer, losses = golden[name]
    assert find_step(name).version == version, f"{name} has a new version: write its numbers down"
    kit = lend()
    made = small(name).apply(root_of(tiny_base, tiny_task), tiny_task, kit)
    log = [tick.loss for tick in read_log(kit.folder)]
    shown = [log[at] for at in (0, 3, -1)] if log else []
    asks = [turns_of(replace(made.prompt, calibrate=False), row) for row in tiny_task.examples.dev]
    # an encoder ranks what it is given; a decoder gives the right answer's own probability
    rows = tiny_task.examples.dev
    others = tiny_task.labels if tiny_base.family == "encoder" else ()
    with kit.shelf.engine(made) as engine:
        scores = engine.score(
            asks, [[*row.references, *(label for label in others if label not in row.references)] for row in rows]
        )
    found = -sum(row[0] for row in scores) / len(scores)
    assert [found, *shown] == pytest.approx([answer, *losses], rel=2e-4)
