"""A reward model beside the policy that it teaches: what a plan says of the memory of both."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tuneladder.ladder.tree import foretell, root_of, splits_digest
from tuneladder.model.hardware import device, has_bf16
from tuneladder.model.memory import Memory
from tuneladder.store import freeze, write_json
from tuneladder.train.reward_model import Beside
from tuneladder.tune.grpo import Grpo
from tuneladder.types import Base, Cost, Head, Pace, Rung, Task, Variant

PACE = Pace(1e9)
MB = 1_000_000


def planned(reward: str, base: Base, task: Task, pace: Pace = PACE) -> Cost:
    return Grpo(reward=reward, prompts=30, samples=8).plan(root_of(base, task), task, pace)[1]


def kept(judge: Variant, folder: Path) -> str:
    folder.mkdir()
    write_json(folder / "variant.json", freeze(judge))
    return str(folder)


@pytest.fixture
def judge(tiny_base: Base, tiny_task: Task) -> Variant:
    return Variant(tiny_base, tiny_task.prompt, ("reward",), adapter="{node}", head=Head("reward", ("reward",)), bytes=50 * MB)


def test_the_most_is_while_it_learns_or_rewards_or_opens() -> None:
    need = Memory(weights=100, gradients=10, optimizer=20, activations=70, logits=30, process=1000)
    assert need.peak == 1230
    assert Beside().peak(need) == 1230
    assert Beside(held=50, working=60, opening=100).peak(need) == 1280
    assert Beside(held=50, working=160, opening=100).peak(need) == 1130 + 50 + 160
    assert Beside(held=50, working=60, opening=900).peak(need) == 100 + 1000 + 900


def test_a_plan_counts_it_and_common_weights_once(tiny_base: Base, tiny_task: Task, judge: Variant, tmp_path: Path) -> None:
    plain = planned("metric", tiny_base, tiny_task)
    common = planned(kept(judge, tmp_path / "common"), tiny_base, tiny_task)
    assert common.memory >= plain.memory + 50 * MB
    assert common.memory < plain.memory + 60 * MB
    assert common.seconds > plain.seconds
    large = replace(tiny_base, name="large", content="other", parameters=1000 * MB)
    apart = planned(kept(replace(judge, base=large), tmp_path / "apart"), tiny_base, tiny_task)
    weights = (2000 if has_bf16(device()) else 4000) * MB
    assert plain.memory + weights + 50 * MB <= apart.memory < plain.memory + weights + 60 * MB


def test_a_limit_that_holds_the_policy_alone_refuses_both(tiny_base: Base, tiny_task: Task, judge: Variant, tmp_path: Path) -> None:
    large = replace(judge, base=replace(tiny_base, content="other", parameters=1000 * MB))
    limit = Cost(memory=1500 * MB)
    for reward, refused in (("metric", ""), (kept(large, tmp_path / "large"), "grpo needs about")):
        rung = Rung("r", tiny_base.name, (Grpo(reward=reward),))
        said = foretell(rung, tiny_base, tiny_task, PACE, limit, splits_digest(tiny_task), 0).refused
        assert said.startswith(refused)
        assert bool(said) == bool(refused)


def test_what_it_holds_is_not_the_policys_to_fill(tiny_base: Base, tiny_task: Task, judge: Variant, tmp_path: Path) -> None:
    """Rows in hand are as many as fit beside it; it works with next to nothing."""
    narrow = {**tiny_base.settings, "heads": 1, "kv_heads": 1, "head_width": 4, "mlp": 4}
    small = replace(judge, base=replace(tiny_base, width=4, settings=narrow))
    alone = planned("metric", tiny_base, tiny_task).memory
    one = planned("metric", tiny_base, tiny_task, replace(PACE, memory=1)).memory  # as few as can be
    assert one < alone
    room = alone + 50 * MB - (alone - one) // 2
    there = planned(kept(small, tmp_path / "judge"), tiny_base, tiny_task, replace(PACE, memory=room)).memory
    assert there <= room
