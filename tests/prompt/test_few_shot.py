"""Few shots: which rows are shown, in which order, and what calibration takes away."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest

from tuneladder.errors import BadInput, Refused
from tuneladder.ladder.tree import key_of, root_of, splits_digest
from tuneladder.model import likeness
from tuneladder.model.ask import ask, turns_of
from tuneladder.model.likeness import similarity_here
from tuneladder.prompt.few_shot import FewShot
from tuneladder.prompt.zero_shot import ZeroShot
from tuneladder.tune.linear_probe import LinearProbe
from tuneladder.tune.lora import Lora
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


NEAREST = FewShot(shots=2, choose="nearest", similarity="bm25")


def test_nearest_shows_each_row_what_is_most_like_it(tiny_base, tiny_task, lend):
    kit = lend()
    prompt = NEAREST.apply(root_of(tiny_base, tiny_task), tiny_task, kit).prompt
    assert {row.id for row in prompt.shots.pool} == {row.id for row in tiny_task.examples.train}
    (asked,) = [row for row in tiny_task.examples.dev if row.turns[0].text == "Please refund me It is urgent."]
    assert [turn.text for turn in turns_of(prompt, asked) if turn.role == "user"][1].startswith("Please refund me")
    said = "shows the nearest of 30 rows of train, by bm25"
    assert json.loads((kit.folder / "notes.json").read_text()) == [said]


def test_a_row_of_train_is_not_shown_itself(tiny_base, tiny_task, lend):
    prompt = NEAREST.apply(root_of(tiny_base, tiny_task), tiny_task, lend()).prompt
    for row in tiny_task.examples.train:
        *shown, own = [turn.text for turn in turns_of(prompt, row) if turn.role == "user"]
        assert len(shown) == 2
        assert own not in shown


def test_a_pool_is_drawn_by_the_seed_and_all_of_it_is_labelled(tiny_base, tiny_task, lend):
    root = root_of(tiny_base, tiny_task)
    step = replace(NEAREST, pool=10)
    pools = [[row.id for row in step.apply(root, tiny_task, lend(seed=seed)).prompt.shots.pool] for seed in (1, 1, 2)]
    assert pools[0] == pools[1] != pools[2]
    assert len(pools[0]) == 10
    assert step.plan(root, tiny_task, PACE)[1].annotations == 10
    assert NEAREST.plan(root, tiny_task, PACE)[1].annotations == 30
    assert replace(NEAREST, choose="diverse").plan(root, tiny_task, PACE)[1].annotations == 2


def test_diverse_shows_rows_that_lie_apart(tiny_base, tiny_task, lend):
    root = root_of(tiny_base, tiny_task)
    step = FewShot(shots=15, choose="diverse", similarity="bm25")
    made = step.apply(root, tiny_task, lend()).prompt
    # of each text and the same with thanks, one
    assert len({row.turns[0].text.removesuffix(" Thank you!") for row in made.shots.chosen}) > 12
    assert made == step.apply(root, tiny_task, lend()).prompt
    assert made != step.apply(root, tiny_task, lend(seed=1)).prompt
    grouped = [row.references[0] for row in replace(step, order="grouped").apply(root, tiny_task, lend()).prompt.shots.chosen]
    assert grouped == sorted(grouped, key=tiny_task.labels.index)


@pytest.mark.skipif(similarity_here() == "bm25", reason="the package of minilm is not installed")
def test_looking_at_the_rows_with_an_encoder_is_foretold(tiny_base, tiny_task):
    root = root_of(tiny_base, tiny_task)
    _, words = NEAREST.plan(root, tiny_task, PACE)
    _, meaning = replace(NEAREST, similarity="auto").plan(root, tiny_task, PACE)
    assert words.seconds == 0 < meaning.seconds
    assert meaning.memory > 90_000_000 > words.memory
    auto, told = (
        key_of(replace(NEAREST, similarity=how), "", splits_digest(tiny_task), tiny_base, 0) for how in ("auto", "minilm")
    )
    assert auto != told


def test_an_encoder_that_is_not_there_is_refused_and_auto_does_without(tiny_base, tiny_task, lend, monkeypatch):
    def missing(name):
        raise BadInput(f"the base '{name}' is not installed", "pip install it")

    monkeypatch.setattr(likeness, "inspect", missing)
    root, step = root_of(tiny_base, tiny_task), replace(NEAREST, similarity="minilm")
    with pytest.raises(Refused, match="not installed"):
        step.plan(root, tiny_task, PACE)
    assert step.content == ""
    auto = replace(step, similarity="auto")
    assert auto.plan(root, tiny_task, PACE)
    assert (auto.content, auto.apply(root, tiny_task, lend()).prompt.shots.similarity) == ("bm25", "bm25")


def test_lora_and_a_probe_learn_under_the_shots_of_each_row(tiny_base, tiny_task, lend, monkeypatch):
    """What they learn from is what will be asked: each row's own shots, and all rows, for none is shown itself."""
    seen = []
    true = likeness._nearest
    monkeypatch.setattr(likeness, "_nearest", lambda shots, row, scores: seen.append(row.id) or true(shots, row, scores))
    root = root_of(tiny_base, tiny_task)
    below = NEAREST.apply(root, tiny_task, lend())
    for step in (Lora(epochs=0.2, batch_size=8, learning_rate=1e-2), LinearProbe()):
        step.plan(NEAREST.plan(root, tiny_task, PACE)[0], tiny_task, PACE)
        assert not seen  # a plan looks at nothing
        kit = lend(type(step).__name__)
        made = step.apply(below, tiny_task, kit)
        assert {row.id for row in (*tiny_task.examples.train, *tiny_task.examples.dev)} <= set(seen)
        with kit.shelf.engine(made) as engine:
            assert len(ask(engine, made.prompt, tiny_task.examples.dev[:2], tiny_task.labels)) == 2
        seen.clear()


def test_a_context_too_short_drops_the_farthest_first(tiny_base, tiny_task, lend):
    short = replace(tiny_base, context=60)
    prompt = replace(NEAREST, shots=5).apply(root_of(short, tiny_task), tiny_task, lend()).prompt
    kit, row = lend(), tiny_task.examples.dev[0]
    with kit.shelf.engine(root_of(short, tiny_task)) as engine:
        turns = turns_of(prompt, row)
        (encoded,) = engine.coder.encode_many([(turns, None)])
        ask(engine, prompt, [row], tiny_task.labels)
        read = engine.coder.tokenizer.decode(encoded.ids)
    asked = [turn.text for turn in turns if turn.role == "user"]
    assert engine.calls.cut == 1
    assert asked[-1] in read
    assert [text in read for text in asked[:-1]] == sorted(text in read for text in asked[:-1])
    assert asked[0] not in read


def test_what_only_some_ways_read_is_refused_elsewhere():
    with pytest.raises(BadInput, match="reads neither pool nor similarity"):
        FewShot(similarity="bm25")
    with pytest.raises(BadInput, match="cannot use calibrate with choose: nearest"):
        FewShot(choose="nearest", calibrate=True)
    assert FewShot(shots=2000).shots == 2000  # the pool is no bound of those that have none
    with pytest.raises(BadInput, match="cannot choose 8 examples of a pool of 7"):
        FewShot(choose="diverse", pool=7)
