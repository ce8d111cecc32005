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
    "adapter": (5, 29.00134, (6.52733, 6.77376, 6.52976)),
    "chain_of_thought": (2, 30.19209, ()),
    "constitution": (6, 30.36585, (6.16161, 4.6007, 4.6007)),
    "explain": (1, 31.00617, ()),
    "dpo": (6, 29.59541, (0.69315, 0.71963, 0.52515)),
    "few_shot": (1, 29.98003, ()),
    "full": (9, 21.51596, (6.52733, 5.43503, 4.63268)),
    "grpo": (6, 31.60712, (0.0, 0.00646, 0.01331)),
    "ia3": (5, 27.86801, (6.52733, 6.46434, 6.06918)),
    "kto": (6, 29.9193, (0.5, 0.46176, 0.43859)),
    "linear_probe": (3, 0.34236, ()),
    "lora": (13, 20.43938, (6.52733, 5.34768, 4.42937)),
    "ppo": (5, 31.08256, (0.00146, -0.15023, -0.08994)),
    "prefix_tuning": (4, 30.017, (6.55996, 6.82563, 6.56142)),
    "pretrain": (8, 29.52766, (6.39446, 6.33746, 6.05093)),
    "prompt_tuning": (4, 30.20322, (6.55996, 6.54121, 6.12249)),
    "qlora": (8, 20.45522, (6.52519, 5.34432, 4.43109)),
    "rest": (4, 30.68554, (5.43389, 4.08218, 4.59081)),
    "reward": (8, 0.15531, (1.50325, 0.62353, 0.44749)),
    "search": (3, 31.00617, ()),
    "selective": (5, 27.63165, (6.52733, 6.50756, 6.10657)),
    "self_consistency": (2, 30.19209, ()),
    "zero_shot": (1, 31.00617, ()),
}

# the same on an encoder, for the steps that are for one
ENCODER: dict[str, tuple[int, float, tuple[float, ...]]] = {
    "adapter": (5, 0.95643, (1.14453, 1.08953, 1.03783)),
    "full": (9, 0.90074, (1.14453, 1.01372, 0.81538)),
    "ia3": (5, 1.02348, (1.14453, 0.86585, 1.04636)),
    "linear_probe": (3, 0.80898, ()),
    "lora": (13, 0.95826, (1.14453, 1.10176, 1.01892)),
    "prefix_tuning": (4, 0.99236, (1.14136, 0.92885, 1.30845)),
    "pretrain": (8, 1.72139, (5.78786, 5.72088, 5.52599)),
    "prompt_tuning": (4, 0.98139, (1.14136, 0.87758, 1.04408)),
    "qlora": (8, 0.9581, (1.14453, 1.10175, 1.01877)),
    "reward": (8, -0.1017, (0.69283, 0.74117, 0.69366)),
    "selective": (5, 0.97942, (1.14453, 1.06275, 0.99228)),
    "sentence_distil": (6, 1.76186, (1.34321, 1.16389, 1.16389)),
    "zero_shot": (1, 2.51511, ()),
}

SEQ2SEQ: dict[str, tuple[int, float, tuple[float, ...]]] = {
    "adapter": (5, 26.44561, (6.79793, 6.1081, 5.72247)),
    "chain_of_thought": (2, 31.52187, ()),
    "explain": (1, 31.06663, ()),
    "few_shot": (1, 30.8764, ()),
    "full": (9, 24.99611, (6.79793, 4.31389, 3.62052)),
    "ia3": (5, 24.41308, (6.79793, 5.54444, 5.05645)),
    "linear_probe": (3, 0.64729, ()),
    "lora": (13, 24.31037, (6.79793, 4.30485, 3.30769)),
    "prefix_tuning": (4, 28.96703, (6.80235, 6.30536, 6.20208)),
    "pretrain": (8, 28.46053, (6.57677, 5.68471, 5.49605)),
    "prompt_tuning": (4, 29.12931, (6.75698, 6.06083, 6.01743)),
    "qlora": (8, 24.29587, (6.79969, 4.29583, 3.30868)),
    "search": (3, 31.06663, ()),
    "selective": (5, 25.22422, (6.79793, 5.82125, 5.42118)),
    "self_consistency": (2, 31.52187, ()),
    "zero_shot": (1, 31.06663, ()),
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
    assert [found, *shown] == pytest.approx([answer, *losses], rel=2e-4, abs=1e-4)
