"""Laws that every step found in the folders keeps, tested before its author writes a test."""

from __future__ import annotations

import inspect
import itertools
import json
import typing
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tuneladder import recipe
from tuneladder.errors import Refused
from tuneladder.evaluate import forgetting
from tuneladder.ladder.tree import foretell, key_of, root_of, splits_digest
from tuneladder.model.ask import ask
from tuneladder.model.shelf import Shelf
from tuneladder.store import Store, freeze, thaw
from tuneladder.train import loop
from tuneladder.types import Cost, Family, Kit, Pace, Rung, Split, Text

PACE = Pace(1e9)


def planned(step, base, task, **changes):
    """Why the step is refused on this base and task, "" where it is not."""
    return foretell(Rung("r", base.name, (step,)), replace(base, **changes), task, PACE, Cost(), splits_digest(task), 0).refused


def answers(shelf, variant, task):
    with shelf.engine(variant) as engine:
        return ask(engine, variant.prompt, task.examples.dev, task.labels)


def written(folder):
    return {path.name: path.read_bytes() for path in sorted(Path(folder).glob("*.safetensors"))}


def test_a_step_says_what_it_is(name):
    kind = recipe.find_step(name)
    assert kind.changes in ("prompt", "adapter", "weights")
    assert kind.needs in ("nothing", "examples", "comparisons", "text", "rewards")
    assert kind.families
    assert set(kind.families) <= set(typing.get_args(Family))
    assert set(kind.reads) <= {"train", "dev", "metric"}  # never test
    assert isinstance(kind.version, int)
    assert kind.__doc__
    assert not kind.__doc__.startswith(f"{kind.__name__}(")  # the docstring that a dataclass writes for itself says nothing
    assert kind.__dataclass_params__.frozen
    assert all(field.kw_only for field in fields(kind))


def test_settings_survive_a_round_trip(name, small, tiny_folder, tmp_path):
    step = small(name)
    assert thaw(type(step), json.loads(json.dumps(freeze(step)))) == step
    (tmp_path / "rows.csv").write_text("text,label\n" + "".join(f"row number {n} says {n * n},{'ab'[n % 2]}\n" for n in range(40)))
    settings = {field.name: getattr(step, field.name) for field in fields(step)}
    given = {
        "task": {"kind": "classify", "data": str(tmp_path / "rows.csv"), "input": "text", "target": "label"},
        "base": str(tiny_folder),
        "rungs": [{name: settings}],
    }
    first = recipe.load(given)
    assert first.rungs[-1].steps == (step,)
    again = recipe.load({**given, "rungs": json.loads(json.dumps(first.resolved["rungs"]))})
    assert [rung.steps for rung in again.rungs] == [rung.steps for rung in first.rungs]


def test_every_setting_changes_the_key(name, tiny_base, tiny_task):
    """A node is never taken for another's: each setting, and the version, stands in the key."""
    kind, splits = recipe.find_step(name), splits_digest(tiny_task)
    keys = [
        key_of(kind(), "", splits, tiny_base, 0),
        key_of(kind(), "", splits, tiny_base, 1),
        key_of(kind(), "up", splits, tiny_base, 0),
    ]
    for field in fields(kind):
        other = kind()
        object.__setattr__(other, field.name, "something else")
        keys.append(key_of(other, "", splits, tiny_base, 0))
    newer = type(kind.__name__, (kind,), {"version": kind.version + 1, "__module__": kind.__module__})
    keys.append(key_of(newer(), "", splits, tiny_base, 0))
    assert len(set(keys)) == len(keys)


def test_plan_refuses_what_makes_no_sense(name, small, tiny_base, tiny_task):
    step = small(name)
    assert planned(step, tiny_base, tiny_task) == ""
    others = sorted(set(typing.get_args(Family)) - set(step.families))
    for family in others:
        assert f"makes no sense for a base of the {family} family" in planned(step, tiny_base, tiny_task, family=family)
    bare = replace(tiny_task, examples=Split(), text=Text(), comparisons=Split())
    assert bool(planned(step, tiny_base, bare)) == (step.needs != "nothing")
    if step.needs != "nothing":
        with pytest.raises(Refused):
            step.plan(root_of(tiny_base, bare), bare, PACE)
    remote = planned(step, tiny_base, tiny_task, source="url")
    assert ("remote model" in remote) == (step.changes != "prompt")


def test_a_refusal_costs_no_work(name, small, tiny_base, tiny_task, monkeypatch):
    """A plan opens no weights, whether it refuses or not."""
    monkeypatch.setattr(Shelf, "_open", lambda *_: pytest.fail("a plan opened a model"))
    for task in (tiny_task, replace(tiny_task, examples=Split(), text=Text())):
        planned(small(name), tiny_base, task)


def test_the_variant_opens_and_answers(name, small, solved, tiny_base, tiny_task, lend):
    step, root = small(name), root_of(tiny_base, tiny_task)
    ahead, cost = step.plan(root, tiny_task, PACE)
    kit = lend()
    made = step.apply(root, tiny_task, kit)
    assert made.steps == ahead.steps == (name,)
    assert made.base == tiny_base
    assert replace(made.prompt, heat=1.0) == root.prompt or step.changes == "prompt"
    assert ((made.adapter or made.probe) is not None) == (step.changes == "adapter")
    assert made.head == ahead.head
    assert (made.weights is not None) == (step.changes == "weights")
    found = answers(Shelf("cpu", dtype=torch.float32), made, tiny_task)
    assert len(found) == len(tiny_task.examples.dev)
    assert all(answer.text in tiny_task.labels for answer in found)
    assert min(cost.seconds, cost.memory, cost.disk) >= 0
    if step.changes != "prompt":
        assert cost.memory > 0
        assert written(kit.folder)
        assert made.bytes >= sum(map(len, written(kit.folder).values()))
        assert not list(kit.folder.glob("*.pt"))  # no checkpoint outlives the work
        assert name in solved or loop.read_log(kit.folder)[-1].stopped == "done"


def test_the_same_seed_gives_the_same_bytes(name, small, solved, tiny_base, tiny_task, lend):
    root = root_of(tiny_base, tiny_task)
    made = [small(name).apply(root, tiny_task, lend(place, seed=seed)) for place, seed in (("a", 3), ("b", 3), ("c", 4))]
    bytes_of = [written(lend(place).folder) for place in "abc"]
    assert made[0].prompt == made[1].prompt
    assert bytes_of[0] == bytes_of[1]
    if small(name).changes != "prompt" and name not in solved:
        assert bytes_of[0] != bytes_of[2]


def test_the_shelf_lends_an_untouched_base_afterwards(name, small, tiny_base, tiny_task, lend, fingerprint):
    """After training, and after a step that broke down in the middle of it, the base is what it was, in every way."""
    step, root = small(name), root_of(tiny_base, tiny_task)
    kit = lend()
    before = fingerprint(kit.shelf, root)
    first = answers(kit.shelf, root, tiny_task)
    model = id(kit.shelf._held[1])
    made = step.apply(root, tiny_task, kit)
    assert fingerprint(kit.shelf, root) == before
    answers(kit.shelf, made, tiny_task)
    assert fingerprint(kit.shelf, root) == before
    assert answers(kit.shelf, root, tiny_task) == first
    # a model with another head is another model, and so is one in fewer bits
    if step.changes != "weights" and (made.head, made.format) == (None, root.format):
        assert id(kit.shelf._held[1]) == model  # put right, not read anew


def test_a_step_that_breaks_leaves_no_trace(trained, small, tiny_base, tiny_task, lend, fingerprint, monkeypatch):
    root, kit = root_of(tiny_base, tiny_task), lend()
    before = fingerprint(kit.shelf, root)
    die_at(monkeypatch, 3)
    with pytest.raises(Killed):
        small(trained).apply(root, tiny_task, kit)
    assert fingerprint(kit.shelf, root) == before


class Killed(BaseException):
    """Nothing of ours catches it: what runs is abandoned where it stands."""


def die_at(monkeypatch, step):
    """The loop is killed in its `step`-th step, and saves a checkpoint after each before it. Returns the count of steps run."""
    true, ran = loop.Passes.gradients, itertools.count(1)
    counts = [0]

    def accumulate(*given):
        counts[0] = next(ran)
        if counts[0] == step:
            raise Killed
        return true(*given)

    monkeypatch.setattr(loop.Passes, "gradients", accumulate)
    monkeypatch.setattr(loop.Course, "save_every", property(lambda self: 0.0, lambda self, seconds: None))
    return counts


def test_killed_and_resumed_equals_uninterrupted(trained, killed_at, alone, small, tiny_base, tiny_task, lend, monkeypatch):
    root, straight = root_of(tiny_base, tiny_task), alone(trained)
    there = Path(straight.adapter or straight.weights)
    steps = len(loop.read_log(there))
    at = steps if killed_at == "last" else killed_at
    with monkeypatch.context() as patch:
        die_at(patch, at)
        with pytest.raises(Killed):
            small(trained).apply(root, tiny_task, lend("cut"))
    with monkeypatch.context() as patch:
        counts = die_at(patch, -1)
        made = small(trained).apply(root, tiny_task, lend("cut"))
    assert counts[0] == steps - at + 1  # only the unfinished was made again
    here = lend("cut").folder
    for name, tensor in load_file(next(there.glob("*.safetensors"))).items():
        assert torch.equal(tensor, load_file(next(here.glob("*.safetensors")))[name]), name
    assert written(here) == written(there)
    bare = {"adapter": None, "weights": None, "made": None, "bytes": 0}
    assert replace(made, **bare) == replace(straight, **bare)
    assert [(t.step, t.loss, t.dev, t.stopped) for t in loop.read_log(here)] == [
        (t.step, t.loss, t.dev, t.stopped) for t in loop.read_log(there)
    ]


def test_a_budget_ends_a_step_with_a_variant_and_more_goes_on(trained, small, tiny_base, tiny_task, lend):
    root = root_of(tiny_base, tiny_task)
    straight = lend("straight")
    small(trained).apply(root, tiny_task, straight)
    cut = lend("cut", deadline=0.0)  # long past: the first step is the last
    made = small(trained).apply(root, tiny_task, cut)
    assert [tick.stopped for tick in loop.read_log(cut.folder)] == ["budget"]
    assert answers(cut.shelf, made, tiny_task)
    small(trained).apply(root, tiny_task, lend("cut"))
    assert written(cut.folder) == written(straight.folder)


@pytest.fixture(scope="session")
def once(small, tiny_task, tmp_path_factory):
    """Makes a step on a base's root, one time for all tests."""
    shelf, made = Shelf("cpu", dtype=torch.float32), {}

    def make(name, base):
        if (name, base.family) not in made:
            kit = Kit(tmp_path_factory.mktemp(name), Store(tmp_path_factory.mktemp("store")), 0, "cpu", None, None, shelf)
            made[name, base.family] = small(name).apply(root_of(base, tiny_task), tiny_task, kit)
        return made[name, base.family]

    return make


@pytest.fixture
def alone(once, tiny_base):
    """Each step made on the root, for what stands on it or beside it."""
    return lambda name: once(name, tiny_base)


def test_two_steps_after_each_other(first, second, alone, small, tiny_base, tiny_task, lend):
    """Either the plan says why not, or the second stands on the first and answers."""
    one, two = small(first), small(second)
    rung = Rung("both", tiny_base.name, (one, two))
    found = foretell(rung, tiny_base, tiny_task, PACE, Cost(), splits_digest(tiny_task), 0)
    if found.refused:
        assert found.refused.endswith(")")  # the reason, and what to do
        return
    parent, kit = alone(first), lend()
    made = two.apply(parent, tiny_task, kit)
    assert made.steps == found.nodes[-1].variant.steps == (first, second)
    if two.changes == "prompt":  # [lora, few_shot]: the same weights under another prompt
        assert (made.weights, made.adapter) == (parent.weights, parent.adapter)
        if one.changes != "prompt" and second != "search":  # which looks for what this model does best with
            assert replace(made.prompt, heat=1.0) == alone(second).prompt
    else:  # what was learned below is where it starts, not the bare base; running text knows no prompt
        before = alone(second)
        unlike = one.changes != "prompt" or (parent.prompt != replace(before.prompt, heat=1.0) and two.needs != "text")
        assert (written(kit.folder) != written(before.weights or before.adapter or before.probe)) == unlike
    assert len(answers(kit.shelf, made, tiny_task)) == len(tiny_task.examples.dev)


def test_the_prompt_never_reaches_the_probes(name, small, tiny_base, tiny_task, lend):
    """The prompt is passed per call: a rung that changes only the prompt, or stands on the model, forgets exactly nothing."""
    step, root, kit = small(name), root_of(tiny_base, tiny_task), lend()
    with kit.shelf.engine(root) as engine:
        before = engine.read([document.text for document in tiny_task.text.dev])
    made = step.apply(root, tiny_task, kit)
    with kit.shelf.engine(made) as engine:
        ask(engine, made.prompt, tiny_task.examples.dev[:3], tiny_task.labels)
    with kit.shelf.engine(replace(made, probe=None)) as engine:
        after = engine.read([document.text for document in tiny_task.text.dev])
    assert (after == before) == (made.weights is None and made.adapter is None)


def test_few_shots_forget_nothing(small, tiny_base, tiny_task, lend, monkeypatch):
    rows = forgetting._rows
    monkeypatch.setattr(forgetting, "_rows", lambda name: rows(name)[:4])
    kit, root = lend(), root_of(tiny_base, tiny_task)
    with kit.shelf.engine(root) as engine:
        before = forgetting.probe(engine, seed=0)
    made = small("few_shot").apply(root, tiny_task, kit)
    with kit.shelf.engine(made) as engine:
        ask(engine, made.prompt, tiny_task.examples.dev, tiny_task.labels)
        assert forgetting.probe(engine, seed=0) == before


def test_steps_take_nothing_else(name):
    """plan(variant, task, pace) and apply(variant, task, kit): no config object, no keyword tunnel."""
    step = recipe.find_step(name)
    assert list(inspect.signature(step.plan).parameters) == ["self", "variant", "task", "pace"]
    assert list(inspect.signature(step.apply).parameters) == ["self", "variant", "task", "kit"]
