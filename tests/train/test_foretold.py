"""What a plan foretells of seconds: tokens that all rows begin with are counted once in a pass."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tuneladder.ladder.tree import root_of
from tuneladder.train import supervised
from tuneladder.tune.lora import Lora
from tuneladder.types import Pace

STEP = Lora(epochs=1, batch_size=10)


def foretold(base, task, before):
    """Seconds where each row is asked after the text that `before` makes of its number."""
    rows = tuple(
        replace(row, turns=(replace(row.turns[0], text=f"{before(at)}\n\n{row.turns[0].text}"),))
        for at, row in enumerate(task.examples.train)
    )
    asked = replace(task, examples=replace(task.examples, train=rows), prompt=replace(task.prompt, instruction=""))
    return STEP.plan(root_of(base, asked), asked, Pace(1e9))[1].seconds


@pytest.fixture
def two_lanes(monkeypatch):
    monkeypatch.setattr(supervised, "lanes_for", lambda device, **given: 2)
    monkeypatch.setattr(supervised, "device", lambda: "cpu")


def test_what_all_rows_begin_with_is_counted_once_a_pass(tiny_base, tiny_task, two_lanes):
    same = foretold(tiny_base, tiny_task, lambda at: "x" * 120)
    apart = foretold(tiny_base, tiny_task, lambda at: f"{at:02d}"[::-1] + "x" * 118)
    flops = 4 * tiny_base.active / 1e9
    # three steps of ten rows in two passes: thirty tokens are not computed for eight rows of each
    assert apart - same == pytest.approx(3 * 8 * 30 * flops, rel=0.03)


def test_a_short_beginning_is_computed_for_each_row(tiny_base, tiny_task, two_lanes):
    same = foretold(tiny_base, tiny_task, lambda at: "x" * 24)
    assert same == pytest.approx(foretold(tiny_base, tiny_task, lambda at: f"{at:02d}"[::-1] + "x" * 22))


def test_padded_rows_share_nothing(tiny_base, tiny_task, two_lanes, monkeypatch):
    monkeypatch.setattr(supervised, "device", lambda: "cuda")
    same = foretold(tiny_base, tiny_task, lambda at: "x" * 120)
    assert same == pytest.approx(foretold(tiny_base, tiny_task, lambda at: f"{at:02d}"[::-1] + "x" * 118))
