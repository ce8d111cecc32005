"""The probe of a learning rate: what it takes, that it leaves no trace in what is learned, and what a kill or a budget does."""

from __future__ import annotations

import json
import math
import time
from dataclasses import replace

import pytest
from safetensors.torch import load_file

from tuneladder.errors import BadInput, Failed, Refused
from tuneladder.ladder.tree import root_of
from tuneladder.train import probing
from tuneladder.train.loop import read_log
from tuneladder.train.probing import probe_steps
from tuneladder.tune.full import Full
from tuneladder.tune.ia3 import Ia3
from tuneladder.tune.lora import Lora
from tuneladder.types import Pace, Split

PROBED = Lora(learning_rate="probe", epochs=4, batch_size=8)


def learn(step, base, task, kit):
    step.apply(root_of(base, task), task, kit)
    return load_file(next(kit.folder.glob("*.safetensors"))), json.loads((kit.folder / "rates.json").read_text("utf-8"))


@pytest.mark.parametrize("step", [PROBED, Full(learning_rate="probe", epochs=3, batch_size=8)], ids=["lora", "full"])
def test_what_is_learned_is_what_the_taken_rate_teaches_by_itself(step, tiny_base, tiny_task, lend):
    kit = lend("probed")
    probed, rates = learn(step, tiny_base, tiny_task, kit)
    alone = lend("alone")
    replace(step, learning_rate=rates["taken"]).apply(root_of(tiny_base, tiny_task), tiny_task, alone)
    own = load_file(next(alone.folder.glob("*.safetensors")))
    assert all(own[name].equal(weight) for name, weight in probed.items())
    assert [tick.loss for tick in read_log(kit.folder)] == [tick.loss for tick in read_log(alone.folder)]
    assert len(rates["tried"]) == 3
    assert rates["taken"] == min(rates["tried"], key=lambda pair: pair[1])[0]
    assert sorted(rate for rate, _ in rates["tried"]) == pytest.approx(
        [rates["tried"][1][0] * times for times in (0.1**0.5, 1, 10**0.5)]
    )
    assert not list(kit.folder.glob("probe-*"))


def test_it_takes_the_rate_that_suits(monkeypatch, tiny_base, tiny_task, lend):
    monkeypatch.setattr(probing, "POINTS", (1e-6, 1.0, 1e6))  # one learns nothing, one is beyond all bounds
    _, rates = learn(PROBED, tiny_base, tiny_task, lend())
    assert rates["taken"] == rates["tried"][1][0]


def test_a_killed_probe_goes_on(monkeypatch, tiny_base, tiny_task, lend):
    whole, rates = learn(PROBED, tiny_base, tiny_task, lend("whole"))
    kit, real, runs = lend("killed"), probing.learn, []

    def dying(*args, **named):
        if len(runs) == 1:
            raise KeyboardInterrupt
        runs.append(1)
        return real(*args, **named)

    monkeypatch.setattr(probing, "learn", dying)
    with pytest.raises(KeyboardInterrupt):
        learn(PROBED, tiny_base, tiny_task, kit)
    runs.clear()
    counted = lambda *args, **named: (runs.append(1), real(*args, **named))[1]  # noqa: E731
    monkeypatch.setattr(probing, "learn", counted)
    again, found = learn(PROBED, tiny_base, tiny_task, kit)
    assert (len(runs), found) == (2, rates)
    assert all(again[name].equal(weight) for name, weight in whole.items())
    runs.clear()
    learn(PROBED, tiny_base, tiny_task, kit)
    assert not runs  # what is known is not asked again


def test_a_probe_that_the_budget_cuts_is_for_the_while(tiny_base, tiny_task, lend):
    """It takes the step's own rate, and a run that goes on ends as one that was given all its time at once."""
    whole, found = learn(PROBED, tiny_base, tiny_task, lend("whole"))
    kit = lend("cut", deadline=time.monotonic())
    _, rates = learn(PROBED, tiny_base, tiny_task, kit)
    own = pytest.approx(2e-4 * 4096 / tiny_base.width)
    assert rates == {"tried": [], "taken": None, "meanwhile": own}
    (only,) = read_log(kit.folder)
    assert only.stopped == "budget"
    assert only.learning_rate * max(1, round(PROBED.warmup * only.of)) == own
    again, after = learn(PROBED, tiny_base, tiny_task, replace(kit, deadline=None))
    assert after == found
    assert all(again[name].equal(weight) for name, weight in whole.items())
    assert [tick.loss for tick in read_log(kit.folder)] == [tick.loss for tick in read_log(lend("whole").folder)]


def test_no_rate_at_which_the_loss_is_a_number(monkeypatch, tiny_base, tiny_task, lend):
    monkeypatch.setattr(probing, "POINTS", (1e30, 1e31, 1e32))
    with pytest.raises(Failed, match="no number at any rate of the probe"):
        learn(PROBED, tiny_base, tiny_task, lend())


def test_its_time_and_memory_are_foretold(tiny_base, tiny_task):
    root, pace = root_of(tiny_base, tiny_task), Pace(1e9)
    (_, plain), (_, probed) = (step.plan(root, tiny_task, pace) for step in (replace(PROBED, learning_rate=0.0), PROBED))
    steps = round(4 * len(tiny_task.examples.train) / 8)
    bare = replace(tiny_task, examples=Split(tiny_task.examples.train))
    trained = replace(PROBED, learning_rate=0.0).plan(root, bare, pace)[1].seconds
    looked = (plain.seconds - trained) / 10
    assert probed.seconds == pytest.approx(trained * (1 + 3 * probe_steps(steps) / steps) + 13 * looked)
    assert probed.memory > plain.memory


def test_what_it_refuses(tiny_base, tiny_task):
    bare = replace(tiny_task, examples=Split(tiny_task.examples.train, (), tiny_task.examples.test))
    with pytest.raises(Refused, match="lora probes its learning rate on dev rows"):
        PROBED.plan(root_of(tiny_base, bare), bare, Pace(1e9))
    with pytest.raises(BadInput, match="ia3 cannot use learning_rate 'fast'"):
        Ia3(learning_rate="fast")


def test_the_length_of_a_short_run():
    assert [probe_steps(steps) for steps in (1, 8, 50, 200, 10_000)] == [1, 8, 8, 20, 60]
    assert math.isclose(probing.POINTS[0] * probing.POINTS[2], 1)
