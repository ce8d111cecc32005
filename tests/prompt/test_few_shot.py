"""Few shots: which rows are shown, in which order, and what calibration takes away."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from tuneladder.errors import BadInput, Refused
from tuneladder.ladder.tree import root_of
from tuneladder.model.ask import ask, turns_of
from tuneladder.prompt.few_shot import FewShot
from tuneladder.prompt.zero_shot import ZeroShot
from tuneladder.types import Pace, Prompt, Split

PACE = Pace(1e9)


def shown(step, base, task, kit):
    return [row.references[0] for row in step.apply(root_of(base, task), task, kit).prompt.shots.chosen]


def test_balanced_over_the_labels(tiny_base, tiny_task, lend):
    assert Counter(shown(FewShot(shots=6), tiny_base, tiny_task, lend())) == dict.fromkeys(tiny_task.labels, 2)
    assert max(Counter(shown(FewShot(shots=7), tiny_base, tiny_task, lend())).values()) == 3


def test_only_train_rows_are_shown(tiny_base, tiny_task, lend):
    made = FewShot(shots=30).apply(root_of(tiny_base, tiny_task), tiny_task, lend())
    assert {row.id for row in made.prompt.shots.chosen} == {row.id for row in tiny_task.examples.train}


def test_seeded(tiny_base, tiny_task, lend):
    ids = [
        [row.id for row in FewShot().apply(root_of(tiny_base, tiny_task), tiny_task, lend(seed=seed)).prompt.shots.chosen]
        for seed in (1, 1, 2)
    ]
    assert ids[0] == ids[1] != ids[2]


def test_choose_fixed_pays_no_heed_to_labels(tiny_base, tiny_task, lend):
    skewed = [row for row in tiny_task.examples.train if row.references[0] == "money"] + [
        row for row in tiny_task.examples.train if row.references[0] == "parcels"
    ][:1]
    task = replace(tiny_task, examples=Split(tuple(skewed)))
    assert Counter(shown(FewShot(shots=2), tiny_base, task, lend())) == {"money": 1, "parcels": 1}
    fixed = [Counter(shown(FewShot(shots=2, choose="fixed"), tiny_base, task, lend(seed=seed)))["money"] for seed in range(6)]
    assert 2 in fixed


def test_rows_of_several_tags_are_drawn_alike(tiny_base, tiny_task, lend):
    """A row of one word is no example of its tag: balancing would show few others."""
    rows = [
        replace(row, references=("money parcels" if number % 5 else "money",))
        for number, row in enumerate(tiny_task.examples.train)
    ]
    task = replace(tiny_task, kind="tag", examples=Split(tuple(rows)), prompt=Prompt(parse="tags"))
    for order in ("shuffled", "grouped"):
        balanced, fixed = (
            shown(FewShot(shots=9, choose=how, order=order), tiny_base, task, lend()) for how in ("balanced", "fixed")
        )
        assert balanced == fixed


def test_order_grouped_keeps_the_labels_together(tiny_base, tiny_task, lend):
    grouped = shown(FewShot(shots=6, order="grouped"), tiny_base, tiny_task, lend())
    assert grouped == sorted(grouped, key=tiny_task.labels.index)
    assert shown(FewShot(shots=6), tiny_base, tiny_task, lend()) != grouped


def test_calibration_takes_the_empty_answer_away(tiny_base, tiny_task, lend):
    """An engine that leans to one label whatever it reads: calibrated, it no longer does."""
    task = replace(tiny_task, prompt=replace(tiny_task.prompt, instruction=""))

    root = root_of(tiny_base, task)
    plain = FewShot(shots=3).apply(root, task, lend())
    calibrated = FewShot(shots=3, calibrate=True).apply(root, task, lend())
    assert not plain.prompt.calibrate
    assert calibrated.prompt.calibrate
    kit = lend(seed=0)
    with kit.shelf.engine(root) as engine:
        before = ask(engine, plain.prompt, task.examples.dev, task.labels)
        after = ask(engine, calibrated.prompt, task.examples.dev, task.labels)
    assert [answer.confidence for answer in before] != [answer.confidence for answer in after]
    spread = [max(Counter(answer.text for answer in answers).values()) for answers in (before, after)]
    assert spread[1] < spread[0]  # a random model answers one label to everything, until that is taken away


def test_shots_stand_before_the_question_under_one_instruction(tiny_base, tiny_task, lend):
    made = FewShot(shots=2).apply(root_of(tiny_base, tiny_task), tiny_task, lend())
    turns = turns_of(made.prompt, tiny_task.examples.dev[0])
    assert [turn.role for turn in turns] == ["system"] + ["user", "assistant"] * 2 + ["user"]
    assert sum(tiny_task.prompt.instruction in turn.text for turn in turns) == 1
    assert turns[0].text.startswith(tiny_task.prompt.instruction)
    assert turns[-1].text == tiny_task.examples.dev[0].turns[0].text


def test_too_many_shots_are_refused(tiny_base, tiny_task):
    with pytest.raises(Refused, match="999 shots asked for, but desks has 30 to show"):
        FewShot(shots=999).plan(root_of(tiny_base, tiny_task), tiny_task, PACE)
    twins = tuple(replace(row, source="one") for row in tiny_task.examples.train)
    with pytest.raises(Refused, match="8 shots asked for, but the train split has 1"):
        FewShot().plan(root_of(tiny_base, tiny_task), replace(tiny_task, examples=Split(twins)), PACE)


def test_no_shots_is_an_error():
    for shots in (0, -1):
        with pytest.raises(BadInput, match=f"cannot show {shots} examples"):
            FewShot(shots=shots)


def test_calibrating_what_is_generated_is_refused(tiny_base, tiny_task):
    root = replace(root_of(tiny_base, tiny_task), prompt=Prompt())
    with pytest.raises(Refused, match="calibrate"):
        FewShot(calibrate=True).plan(root, tiny_task, PACE)


def test_an_adapter_below_is_shared(tiny_base, tiny_task, lend):
    """[lora, few_shot] changes the prompt alone."""
    below = replace(root_of(tiny_base, tiny_task), steps=("lora",), adapter="somewhere")
    made = FewShot(shots=2).apply(below, tiny_task, lend())
    assert (made.adapter, made.steps, made.bytes) == ("somewhere", ("lora", "few_shot"), 0)


def test_each_shot_costs_a_label(tiny_base, tiny_task):
    assert FewShot(shots=5).plan(root_of(tiny_base, tiny_task), tiny_task, PACE)[1].annotations == 5


def test_zero_shot_is_the_tasks_own_prompt(tiny_base, tiny_task, lend):
    root = root_of(tiny_base, tiny_task)
    assert ZeroShot().apply(root, tiny_task, lend()).prompt == tiny_task.prompt
    other = ZeroShot(instruction="Sort this.").apply(root, tiny_task, lend()).prompt
    assert other == replace(tiny_task.prompt, instruction="Sort this.")
    shots = FewShot(shots=2).apply(root, tiny_task, lend())
    assert ZeroShot().apply(shots, tiny_task, lend()).prompt == tiny_task.prompt
