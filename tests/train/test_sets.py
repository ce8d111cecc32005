"""Training on a mixture: an epoch is what the mixture draws, in the plan as in the loop."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tuneladder.ladder.tree import root_of, splits_digest
from tuneladder.train.loop import read_log
from tuneladder.tune.lora import Lora
from tuneladder.types import Pace, Split


@pytest.fixture
def mixed(tiny_task):
    """The three desks as a mixture of two sets, one of which has a template of its own."""
    train = tuple(
        replace(row, set="odd", template="Note: {{ input }}") if at % 3 == 0 else replace(row, set="even")
        for at, row in enumerate(tiny_task.examples.train)
    )
    return replace(tiny_task, examples=Split(train, *list(vars(tiny_task.examples).values())[1:]), mixture={"odd": 4, "even": 12})


def test_steps_and_cost_are_those_of_what_is_drawn(mixed, tiny_base, lend):
    kit, step = lend(), Lora(epochs=2, batch_size=4)
    step.apply(root_of(tiny_base, mixed), mixed, kit)
    assert read_log(kit.folder)[-1].of == 8
    assert json.loads((kit.folder / "rows.json").read_text())["kept"] == 30
    undisturbed = replace(mixed, examples=replace(mixed.examples, dev=()))  # there are ten looks at dev however much is drawn
    seconds = [
        step.plan(root_of(tiny_base, mixed), replace(undisturbed, mixture=drawn), Pace(1e9))[1].seconds
        for drawn in ({"odd": 10, "even": 20}, {"odd": 20, "even": 40})
    ]
    assert seconds[1] == pytest.approx(2 * seconds[0])


def test_other_shares_are_another_key(mixed):
    assert splits_digest(mixed)["train"] != splits_digest(replace(mixed, mixture={"odd": 5, "even": 12}))["train"]
