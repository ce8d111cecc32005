"""Chain of thought: reasoning asked for, shown as a person worked it out, or as the model itself did where it was right."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tuneladder.errors import BadInput, Refused
from tuneladder.ladder.tree import root_of
from tuneladder.model.ask import ask, turns_of
from tuneladder.model.fake import FakeEngine
from tuneladder.prompt.chain_of_thought import ChainOfThought, Worked
from tuneladder.prompt.few_shot import FewShot
from tuneladder.tune.full import Full
from tuneladder.tune.linear_probe import LinearProbe
from tuneladder.tune.lora import Lora
from tuneladder.types import Decoding, Pace, Prompt, Thought

PACE = Pace(1e9)
WORKED = Worked("Where is it?", "Something was sent.", "parcels")


def reasoner(turns):
    """Is right about parcels and money, and wrong about the rest."""
    last = turns[-1].text
    if not last.endswith("answer is"):
        return f"it is about {'a parcel' if 'parcel' in last else 'money'}"
    return "parcels" if "about a parcel" in last else "money"


def test_zero_shot_asks_to_think_and_keeps_the_rest(tiny_base, tiny_task, lend):
    root = root_of(tiny_base, tiny_task)
    made = ChainOfThought(tokens=7).apply(root, tiny_task, lend())
    assert made.prompt == replace(root.prompt, think=Thought(tokens=7))
    assert made.steps == ("chain_of_thought",)
    assert turns_of(made.prompt, tiny_task.examples.dev[0])[-1].text.endswith("\n\nLet's think step by step.")


def test_a_real_model_reasons_and_its_answer_is_ranked(tiny_base, tiny_task, lend):
    kit = lend()
    made = ChainOfThought(tokens=5).apply(root_of(tiny_base, tiny_task), tiny_task, kit)
    rows = tiny_task.examples.dev[:3]
    with kit.shelf.engine(made) as engine:
        answers = ask(engine, made.prompt, rows, tiny_task.labels)
        again = ask(engine, made.prompt, rows, tiny_task.labels)
        written = engine.calls.new_tokens
    assert answers == again
    assert all(answer.text in tiny_task.labels for answer in answers)
    assert len(rows) < written <= 2 * 5 * len(rows)
    assert all("\nTherefore, the answer is " in answer.raw for answer in answers)


def test_worked_examples_are_shown(tiny_base, tiny_task, lend):
    root = root_of(tiny_base, tiny_task)
    made = ChainOfThought(examples=(WORKED,)).apply(root, tiny_task, lend())
    turns = turns_of(made.prompt, tiny_task.examples.dev[0])
    assert (turns[1].text, turns[2].text) == ("Where is it?\n\nLet's think step by step.", "Something was sent.")
    assert ChainOfThought(examples=(WORKED,)).plan(root, tiny_task, PACE)[1].annotations == 1
    with pytest.raises(Refused, match="is answered 'post', which is no label"):
        ChainOfThought(examples=(replace(WORKED, answer="post"),)).plan(root, tiny_task, PACE)


def in_sets(task):
    """Every row of the task has two labels, or none."""
    sets = ("parcels, money", "none", "money, account")
    rows = tuple(replace(row, references=(sets[at % 3],)) for at, row in enumerate(task.examples.train))
    prompt = replace(task.prompt, ask="generate", parse="labels")
    return replace(task, multi_label=True, metric="micro_f1", prompt=prompt, examples=replace(task.examples, train=rows))


def test_sets_of_labels_are_worked_out_too(tiny_base, tiny_task, lend_fake):
    task = in_sets(tiny_task)
    root = root_of(tiny_base, task)
    for answer in ("parcels, money", "account", "none"):
        ChainOfThought(examples=(replace(WORKED, answer=answer),)).plan(root, task, PACE)
    for wrong in ("money, parcels", "parcels, post", "post"):
        with pytest.raises(Refused, match=f"is answered '{wrong}', which is no set of labels") as error:
            ChainOfThought(examples=(replace(WORKED, answer=wrong),)).plan(root, task, PACE)
        assert error.value.hint == "they are written in this order: parcels, money, account; of none: none"
    right = {row.turns[-1].text: row.references[0] for row in task.examples.train}
    engine = FakeEngine(lambda turns: right[turns[-1].text.partition("\n")[0]])
    shots = ChainOfThought(shots=6).apply(root, task, lend_fake(engine)).prompt.shots
    assert len(shots.chosen) == 6
    assert {shot.references[0] for shot in shots.chosen} > {"none"}


def test_the_models_own_reasoning_is_shown_where_it_was_right(tiny_base, tiny_task, lend_fake):
    kit = lend_fake(FakeEngine(reasoner))
    made = ChainOfThought(shots=4, examples=(WORKED,)).apply(root_of(tiny_base, tiny_task), tiny_task, kit)
    shots = made.prompt.shots
    assert shots.count == len(shots.chosen) == len(shots.reasons) == 5
    assert (shots.chosen[0].references, shots.reasons[0]) == (("parcels",), "Something was sent.")
    for row, reason in zip(shots.chosen[1:], shots.reasons[1:], strict=True):
        assert row in tiny_task.examples.train
        assert {"it is about a parcel": "parcels", "it is about money": "money"}[reason] == row.references[0]
    (said,) = json.loads((kit.folder / "notes.json").read_text())
    assert said.startswith("4 of 4 worked examples shown")


def test_a_model_that_is_never_right_shows_nothing_and_says_so(tiny_base, tiny_task, lend_fake):
    kit = lend_fake(FakeEngine({}, default="mist"))
    task = replace(tiny_task, prompt=replace(tiny_task.prompt, ask="generate"))
    made = ChainOfThought(shots=2).apply(root_of(tiny_base, task), task, kit)
    assert made.prompt.shots is None
    assert json.loads((kit.folder / "notes.json").read_text())[0].startswith("0 of 2 worked examples shown")
    assert "16 rows" in (kit.folder / "notes.json").read_text()


def test_the_rows_tried_are_seeded_and_counted(tiny_base, tiny_task, lend_fake):
    root, step = root_of(tiny_base, tiny_task), ChainOfThought(shots=3)
    made = [step.apply(root, tiny_task, lend_fake(FakeEngine(reasoner), seed=seed)).prompt for seed in (1, 1, 2)]
    assert made[0] == made[1] != made[2]
    ahead, cost = step.plan(root, tiny_task, PACE)
    assert cost.annotations == 24
    assert cost.seconds > 0
    assert ahead.prompt.think == Thought()


def test_no_row_is_reasoned_about_beside_its_own_answer(tiny_base, tiny_task, lend, lend_fake):
    """A few_shot below may show the rows that are tried."""
    below = FewShot(shots=30).apply(root_of(tiny_base, tiny_task), tiny_task, lend("below"))
    engine = FakeEngine(reasoner)
    ChainOfThought(shots=2).apply(below, tiny_task, lend_fake(engine))
    assert all(turn.role != "assistant" for turns in engine.asked for turn in turns)
    kept = ChainOfThought().apply(below, tiny_task, lend()).prompt
    assert kept.shots == below.prompt.shots


def test_what_learns_answers_is_refused_afterwards(tiny_base, tiny_task):
    below = ChainOfThought().plan(root_of(tiny_base, tiny_task), tiny_task, PACE)[0]
    for step in (Lora(), Full(), LinearProbe()):
        with pytest.raises(Refused, match="the prompt asks for reasoning first"):
            step.plan(below, tiny_task, PACE)


def test_what_cannot_be_reasoned_is_refused(tiny_base, tiny_task):
    root = root_of(tiny_base, tiny_task)
    with pytest.raises(Refused, match="cannot be calibrated"):
        ChainOfThought().plan(FewShot(calibrate=True).plan(root, tiny_task, PACE)[0], tiny_task, PACE)
    with pytest.raises(Refused, match="calibrate ranks labels on an empty input"):
        FewShot(calibrate=True).plan(ChainOfThought().plan(root, tiny_task, PACE)[0], tiny_task, PACE)
    prose = replace(tiny_task, kind="generate", metric="rouge_l", labels=(), prompt=Prompt())
    with pytest.raises(Refused, match="rouge_l knows none"):
        ChainOfThought(shots=1).plan(root_of(tiny_base, prose), prose, PACE)
    assert ChainOfThought().plan(root_of(tiny_base, prose), prose, PACE)
    with pytest.raises(Refused, match="plain text has none"):
        ChainOfThought().plan(root, replace(tiny_task, kind="text"), PACE)
    several = replace(tiny_task, prompt=replace(tiny_task.prompt, decoding=Decoding(temperature=1.0, samples=5)))
    with pytest.raises(Refused, match="comes to one answer for each row, and 5 samples are asked for"):
        ChainOfThought().plan(root_of(tiny_base, several), several, PACE)
    with pytest.raises(Refused, match="31 shots asked for"):
        ChainOfThought(shots=31).plan(root, tiny_task, PACE)
    for wrong in ({"tokens": 0}, {"shots": -1}, {"invitation": " "}, {"conclusion": ""}):
        with pytest.raises(BadInput, match="chain_of_thought"):
            ChainOfThought(**wrong)
