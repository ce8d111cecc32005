"""ReST: which answers pass, what it learns of them, what it keeps, where it ends, and what cannot be."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from tuneladder.errors import BadInput, Failed
from tuneladder.ladder.tree import foretell, root_of, splits_digest
from tuneladder.train.loop import read_log
from tuneladder.train.rollouts import Policy, read_rollouts
from tuneladder.tune import rest
from tuneladder.tune.lora import Lora
from tuneladder.tune.rest import Falling, Rest, passing
from tuneladder.types import Cost, Pace, Rung, Split

PACE = Pace(1e9)
REST = Rest(
    reward="tests.rewards:letters",
    grows=2,
    improves=2,
    prompts=4,
    samples=4,
    tokens=8,
    data=False,
    updates=2,
    batch_size=4,
    held_out=4,
    patience=0,
    r=2,
    learning_rate=1e-2,
)


def test_what_passes_a_threshold():
    rewards = [0.1, 0.9, 0.5, 0.7, 0.3, 0.7, 1.0, 0.0, 0.2, 0.6]

    def passed(threshold, by, own=rewards):
        return sorted(reward for reward, each in zip(own, passing(own, threshold, by=by), strict=True) if each)

    assert passed(0.7, "value") == [0.9, 1.0]  # above it, not at it
    assert passed(1.0, "value") == []
    assert passed(0.7, "quantile") == [0.7, 0.7, 0.9, 1.0]  # three of ten, and who earned as much as the third
    assert passed(0.9, "quantile") == [1.0]
    assert passed(0.0, "quantile", [1.0, 2.0, 6.0]) == [6.0]  # more than the mean, whatever the threshold
    assert passed(0.7, "quantile", [0.0] * 8 + [1.0] * 2) == [1.0, 1.0]
    assert passed(0.7, "quantile", [0.1] * 7) == []  # nobody earned more than the others


def test_each_improve_has_a_course_of_its_own():
    course = Falling(1.0, warmup=0.25, floor=0.0, updates=4, stages=2, decay=0.5)
    rates = [course.rate(step, 16) for step in range(16)]
    assert rates[:4] == pytest.approx([1.0, 1.0, 0.75, 0.25])
    assert rates[4:8] == pytest.approx([rate / 2 for rate in rates[:4]])
    assert rates[8:] == rates[:8]  # a new grow begins anew


def test_what_passes_becomes_likelier(tiny_base, tiny_task, lend):
    kit = lend()
    more = {"grows": 3, "improves": 1, "prompts": 12, "samples": 16, "updates": 12, "batch_size": 16, "held_out": 45}
    step = replace(REST, **more, r=8, learning_rate=1e-1)
    made = step.apply(root_of(tiny_base, tiny_task), tiny_task, kit)
    along = read_rollouts(kit.folder)
    assert made.steps == ("rest",)
    assert [own.step for own in along] == [0, 12, 24, 36]
    assert along[0].kl == pytest.approx(0, abs=1e-5)
    best = max(along, key=lambda own: own.reward)
    assert best.reward > along[0].reward + along[0].spread
    assert best.kl > 0.1
    notes = json.loads((kit.folder / "notes.json").read_text())
    assert notes[0].startswith("grow 1: 192 answers earned")
    assert f"kept is the policy after {best.step} of 36 steps" in notes[-1]


def test_without_improves_all_is_learned(tiny_base, tiny_task, lend):
    """The paper's G=1, I=0: what was grown is cloned, whatever it earned, and the rows' own answers with it."""
    kit = lend()
    replace(REST, grows=1, improves=0, data=True).apply(root_of(tiny_base, tiny_task), tiny_task, kit)
    assert len(read_log(kit.folder)) == 2
    first = json.loads((kit.folder / "notes.json").read_text())[0]
    assert first.startswith("grow 1: 20 answers")
    assert first.endswith("learned were 20 of them")


def test_answers_of_the_rows_that_are_too_long_are_left_out(tiny_base, tiny_task, lend):
    kit = lend()
    rows = tuple(replace(row, references=("x" * 90,)) if at else row for at, row in enumerate(tiny_task.examples.train))
    task = replace(tiny_task, examples=replace(tiny_task.examples, train=rows))
    replace(REST, grows=1, improves=0, prompts=30, samples=1, data=True).apply(root_of(tiny_base, task), task, kit)
    assert json.loads((kit.folder / "notes.json").read_text())[0].startswith("grow 1: 31 answers")


def test_a_policy_that_only_grew_worse_is_not_kept(tiny_base, tiny_task, lend, monkeypatch):
    """The start is among what is kept, and so many improves without a gain are the end, before another grow is written."""
    true, looks, grown = Policy.write, [], []

    def write(self, prompts, *, each, seed):
        rows = true(self, prompts, each=each, seed=seed)
        if seed[1] != "held out":
            grown.append(seed[1])
            return rows
        looks.append(seed)
        return [replace(row, reward=-len(looks)) for row in rows]

    monkeypatch.setattr(Policy, "write", write)
    for patience, steps in ((2, 4), (3, 6)):
        kit = lend(str(patience))
        grown.clear()
        replace(REST, grows=3, patience=patience).apply(root_of(tiny_base, tiny_task), tiny_task, kit)
        log = read_log(kit.folder)
        assert (len(log), log[-1].stopped) == (steps, "plateau")
        assert set(grown) == set(range(patience - 1))
        kept = load_file(kit.folder / "adapter_model.safetensors")
        assert all(not weight.any() for name, weight in kept.items() if "lora_B" in name)
        assert "kept is the policy as it was before" in (kit.folder / "notes.json").read_text()


def test_a_policy_that_goes_too_far_is_the_end_and_is_not_kept(tiny_base, tiny_task, lend):
    ends = {}
    for most in (0.0, 0.1):
        kit = lend(str(most))
        step = replace(REST, improves=1, grows=3, updates=4, decay=1.0, learning_rate=5e-2, most_kl=most)
        step.apply(root_of(tiny_base, tiny_task), tiny_task, kit)
        ends[most] = read_rollouts(kit.folder), read_log(kit.folder)[-1].stopped, (kit.folder / "notes.json").read_text()
    assert [said for _, said, _ in ends.values()] == ["done", "kl"]
    along, _, notes = ends[0.1]
    assert along[-1].kl > 0.1 >= along[-2].kl
    best = max(along[:-1], key=lambda own: own.reward)
    assert f"the policy after {best.step} of" in notes if best.step else "as it was before" in notes


def test_more_held_out_answers_are_asked(tiny_base, tiny_task, lend):
    found = []
    for held in (3, 33):
        kit = lend(str(held))
        replace(REST, grows=1, improves=1, held_out=held).apply(root_of(tiny_base, tiny_task), tiny_task, kit)
        found.append(read_rollouts(kit.folder)[0].reward)
    assert found[0] != found[1]


def test_it_learns_on_in_the_lora_below(tiny_base, tiny_task, lend):
    below = Lora(r=2, epochs=1, learning_rate=1e-2).apply(root_of(tiny_base, tiny_task), tiny_task, lend("lora"))
    kit = lend("rest")
    made = replace(REST, r=0, grows=1, improves=1).apply(below, tiny_task, kit)
    assert made.steps == ("lora", "rest")
    assert read_rollouts(kit.folder)[0].kl == pytest.approx(0, abs=1e-5)


def test_killed_while_it_grows_it_writes_only_what_is_missing(tiny_base, tiny_task, lend, monkeypatch):
    """Each part of a grow is drawn once, and the end is what it would have been."""
    root, step = root_of(tiny_base, tiny_task), replace(REST, improves=1)
    monkeypatch.setattr(rest, "AT_ONCE", 2)
    step.apply(root, tiny_task, lend("straight"))
    true, written, killed = Policy.write, [], []

    def write(self, prompts, *, each, seed):
        if seed[1] == 0:
            written.append([own.text for own in prompts])
            if len(written) == 2 and not killed:
                killed.append(written.pop())
                raise KeyboardInterrupt
        return true(self, prompts, each=each, seed=seed)

    monkeypatch.setattr(Policy, "write", write)
    with pytest.raises(KeyboardInterrupt):
        step.apply(root, tiny_task, lend("cut"))
    step.apply(root, tiny_task, lend("cut"))
    assert killed == [written[1]]
    assert len(written) == 2
    here, there = (load_file(lend(name).folder / "adapter_model.safetensors") for name in ("cut", "straight"))
    assert all(torch.equal(here[name], there[name]) for name in there)
    assert read_rollouts(lend("cut").folder) == read_rollouts(lend("straight").folder)
    assert not list(lend("cut").folder.glob("*.pt"))


def test_killed_before_any_checkpoint_it_ends_as_one_that_nobody_killed(tiny_base, tiny_task, lend, monkeypatch):
    """At each of its writings: two grows of two parts, and three looks."""
    root, step = root_of(tiny_base, tiny_task), replace(REST, improves=1)
    monkeypatch.setattr(rest, "AT_ONCE", 2)
    true, written, dies = Policy.write, [], 0

    def write(self, prompts, *, each, seed):
        written.append(seed[1])
        if len(written) == dies:
            raise KeyboardInterrupt
        return true(self, prompts, each=each, seed=seed)

    def ends(name):
        step.apply(root, tiny_task, lend(name))
        folder = lend(name).folder
        return [(folder / file).read_bytes() for file in ("adapter_model.safetensors", "rollouts.jsonl", "notes.json")]

    monkeypatch.setattr(Policy, "write", write)
    straight = ends("straight")
    assert written == ["held out", 0, 0, "held out", 1, 1, "held out"]
    for dies in range(1, 8):
        written.clear()
        with pytest.raises(KeyboardInterrupt):
            ends(str(dies))
        assert not (lend(str(dies)).folder / "checkpoint.pt").exists()
        assert ends(str(dies)) == straight


def test_nothing_that_passes_is_a_failure_that_says_so(tiny_base, tiny_task, lend):
    step = replace(REST, by="value", thresholds=(7.0, 8.0))
    with pytest.raises(Failed, match="none of the 16 answers passes a threshold of rest: the best earned") as error:
        step.apply(root_of(tiny_base, tiny_task), tiny_task, lend())
    assert "lower `thresholds`" in error.value.hint


def test_a_threshold_that_nothing_passes_leaves_the_one_before(tiny_base, tiny_task, lend):
    kit = lend()
    replace(REST, grows=1, by="value", thresholds=(-1.0, 8.0)).apply(root_of(tiny_base, tiny_task), tiny_task, kit)
    assert "learned were 16, 16 of them" in (kit.folder / "notes.json").read_text()


def test_a_grow_without_better_and_worse_is_the_end(tiny_base, tiny_task, lend, monkeypatch):
    """Once all answers earn alike there is nothing to choose."""
    true = Policy.write

    def write(self, prompts, *, each, seed):
        rows = true(self, prompts, each=each, seed=seed)
        return [replace(row, reward=1.0) for row in rows] if seed[1] == 1 else rows

    monkeypatch.setattr(Policy, "write", write)
    kit = lend()
    REST.apply(root_of(tiny_base, tiny_task), tiny_task, kit)
    log = read_log(kit.folder)
    assert (len(log), log[-1].stopped) == (4, "plateau")


def test_prompts_of_comparisons_are_answered(tiny_base, tiny_task, lend):
    task = replace(tiny_task, kind="prefer", examples=Split(), metric="preference")
    assert replace(REST, grows=1, improves=1, data=True).apply(root_of(tiny_base, task), task, lend()).adapter


@pytest.mark.parametrize(("reward", "says"), [("nothing", "returned nan for a completion"), ("few", "returned 1 numbers for 4")])
def test_a_reward_that_is_none_names_the_prompt(reward, says, tiny_base, tiny_task, lend):
    with pytest.raises(BadInput, match=says) as error:
        replace(REST, reward=f"tests.rewards:{reward}").apply(root_of(tiny_base, tiny_task), tiny_task, lend())
    assert "(row " in error.value.message


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"reward": "luck"}, "luck"), ({"grows": 0}, "grows 0"), ({"improves": -1}, "improves -1"), ({"decay": 1.5}, "decay 1.5"),
        ({"improves": 6}, "5 thresholds for improves 6"), ({"thresholds": (0.7, 0.7, 0.9)}, "do not rise"),
        ({"thresholds": (0.7, float("nan"), 0.9)}, "do not rise"), ({"thresholds": (0.7, 0.8, 1.0)}, "as thresholds by quantile"),
        ({"held_out": 0}, "held_out 0"), ({"most_kl": -1.0}, "most_kl -1.0"),
        ({"samples": 0}, "samples 0"), ({"r": -1}, "rank r -1"),
    ],
    ids=str,
)  # fmt: skip
def test_settings_that_cannot_be(settings, says):
    with pytest.raises(BadInput, match=says) as error:
        Rest(**settings)
    assert error.value.hint


def test_thresholds_by_value_may_be_any_that_rise():
    assert Rest(by="value", thresholds=(-2.0, 0.0, 5.0)).stages == 3


def planned(step, base, task):
    return foretell(Rung("r", base.name, (step,)), base, task, PACE, Cost(), splits_digest(task), 0)


def test_what_is_refused_before_any_work(tiny_base, tiny_task):
    rows = tiny_task.examples
    bare = replace(tiny_task, examples=replace(rows, dev=()), comparisons=Split())
    assert "held-out prompts, and this task has none" in planned(REST, tiny_base, bare).refused
    assert "holds none" in planned(replace(REST, reward="number"), tiny_base, tiny_task).refused
    assert "tokens leave too little" in planned(replace(REST, tokens=400), tiny_base, tiny_task).refused


def test_more_of_it_is_foretold_to_cost_more(tiny_base, tiny_task):
    costs = [
        planned(replace(REST, **more), tiny_base, tiny_task).cost for more in ({}, {"updates": 4}, {"grows": 3}, {"samples": 8})
    ]
    assert all(more.seconds > costs[0].seconds for more in costs[1:])
