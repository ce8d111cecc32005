"""Recipes: every key changes something, what is written is what is meant, and what cannot be meant is said."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tuneladder import recipe as recipes
from tuneladder.errors import BadInput
from tuneladder.evaluate.find import find_metric, metric_named
from tuneladder.evaluate.find import names as metric_names
from tuneladder.ladder.child import Made, Work, apply
from tuneladder.ladder.pick import pick
from tuneladder.ladder.tree import key_of, root_of, splits_digest
from tuneladder.model.ask import turns_of
from tuneladder.model.constrained import can_constrain
from tuneladder.model.inspect import from_shape, inspect
from tuneladder.model.likeness import similarity_here
from tuneladder.model.shelf import Shelf
from tuneladder.prompt.chain_of_thought import Worked
from tuneladder.recipe import Grouping, Guarded, Judging, Powered, Recipe, Toxic, find_step, load, resolved_yaml
from tuneladder.store import digest, freeze
from tuneladder.task.comparing import halved
from tuneladder.task.corpus import Source
from tuneladder.task.mixture import Mixing, Set
from tuneladder.train.reward_model import write_learned
from tuneladder.tune.pretrain import Pretrain
from tuneladder.types import (
    Bar,
    Base,
    Cost,
    Decoding,
    Head,
    Ladder,
    Measurement,
    Prompt,
    Result,
    Robustness,
    Rung,
    Score,
    Step,
    Task,
    Turn,
    Variant,
)
from tuneladder.written import DEFAULTS, steps

TOPICS = {
    "sport": ("match", "goal", "team", "final", "coach", "league"),
    "money": ("market", "shares", "bank", "profit", "tax", "rates"),
    "weather": ("rain", "storm", "sun", "wind", "frost", "cloud"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Path:
    """A folder with data in several forms, two bases and modules of the user's own; relative paths are meant beside a recipe."""
    folder = tmp_path_factory.mktemp("recipes")
    rows = [
        {
            "text": f"{a} and {b} came up on day {n}",
            "other": f"note {n}: {b}, {a}",
            "label": topic,
            "number": n % 2,
            "group": f"g{n % 7}",
            "several": [topic],
            "tags": f"{topic} & daily" if n % 2 else topic,
            "daily": n % 2,
            "weekly": n % 3 == 0,
        }
        for topic, words in TOPICS.items()
        for n, (a, b) in enumerate((a, b) for a in words for b in words if a != b)
    ]
    for name, some in (("rows", rows), ("more", rows[::2])):
        (folder / f"{name}.jsonl").write_text("\n".join(json.dumps(row) for row in some))
    rude = [
        {"text": f"you idiot {n}" if n % 2 else f"thank you {n}", "label": ("fine", "toxic")[n % 2], "n": n} for n in range(120)
    ]
    (folder / "rude.jsonl").write_text("\n".join(json.dumps(row) for row in rude))
    (folder / "ruder.jsonl").write_text("\n".join(json.dumps(row) for row in rude[1:]))
    (folder / "bare.jsonl").write_text("\n".join(json.dumps({"text": row["text"]}) for row in rude))
    pairs = [
        {"prompt": row["text"], "chosen": f"It is {row['label']}.", "rejected": "No idea.", "score_chosen": 2, "score_rejected": -1}
        for row in rows
    ]
    (folder / "pairs.jsonl").write_text("\n".join(json.dumps(row) for row in pairs))
    kinder = [{"prompt": f"question {n}", "chosen": f"gladly {n}", "rejected": f"never {n}"} for n in range(90)]
    (folder / "kinder.jsonl").write_text("\n".join(map(json.dumps, kinder)))
    (folder / "kindest.jsonl").write_text("\n".join(map(json.dumps, kinder[1:])))
    (folder / "base").symlink_to(tiny_folder)
    for name, head in (("judge", Head("reward", ("reward",))), ("other_judge", Head("reward", ("reward",))), ("no_judge", None)):
        (folder / name).mkdir()
        judge = Variant(inspect(str(tiny_folder)), Prompt(), head=head)
        (folder / name / "variant.json").write_text(json.dumps(freeze(judge)))
    shutil.copytree(tiny_folder, folder / "twin")
    (folder / "own.py").write_text(
        "from dataclasses import dataclass\n"
        "def half(answer, reference):\n    return 1.0 if answer == reference else 0.5\n"
        "@dataclass(frozen=True, kw_only=True)\nclass Unfinished:\n    changes = 'prompt'\n"
    )
    return folder


Given = dict[str, Any]


def recipe(**changed: Any) -> Given:
    """A small recipe; `task__metric=...` sets a key of the task."""
    made: Given = {
        "name": "small",
        "task": {"kind": "classify", "data": "rows.jsonl", "input": "text", "target": "label"},
        "base": "base",
    }
    for key, value in changed.items():
        at, _, last = key.rpartition("__")
        (made.setdefault(at, {}) if at else made)[last] = value
    return made


def read(given: Given, folder: Path, *overrides: str) -> Recipe:
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(given, allow_unicode=True))
    return load(path, overrides)


def facts(given: Recipe) -> dict[str, Any]:
    """All that a recipe says to the rooms below it."""
    return {
        "task": digest(given.task),
        "bases": freeze(given.bases),
        "rungs": [(rung.name, rung.base, [repr(step) for step in rung.steps]) for rung in given.rungs],
        "bar": given.bar,
        "axes": digest(given.axes),
        "limit": given.limit,
        "seed": given.seed,
        "name": given.name,
    }


# a text's rows, of which several read the same
ASKED = {"task__kind": "generate", "task__input": "group", "task__target": "other"}

# objects, of two columns
OBJECTS: Given = {"task__kind": "extract", "task__input": "other", "task__target": ["text", "label"]}
WIDE = {"type": "object", "properties": {"text": {"type": "string"}, "label": {"type": "string"}}}
REMOTE = {"url": "http://localhost:1/v1", "model": "a"}

# rows that bring their own options
CHOSEN = {"task__kind": "choose", "task__target": "{{ text }}", "task__options": ["text", "label"]}

# text that is written freely
WRITTEN = {"task__kind": "generate", "task__target": "other"}

# numbers that are written
COUNTED = {"task__kind": "generate", "task__target": "number"}

# answers that are compared
COMPARED: Given = {"task": {"kind": "prefer", "data": "pairs.jsonl"}, "base": "base"}

# every key of a recipe, with a change and where it must be felt
CHANGES: dict[str, tuple[Given, str]] = {
    "name": ({"name": "other"}, "name"),
    "task.kind": ({"task__kind": "generate"}, "task"),
    "task.data": ({"task__data": "more.jsonl"}, "task"),
    "task.input": ({"task__input": "{{ text }} {{ other }}"}, "task"),
    "task.target": ({"task__target": "number"}, "task"),
    "task.labels": ({"task__labels": {"sport": "games", "money": "finance", "weather": "sky"}}, "task"),
    "task.references": ({**ASKED, "task__references": "together"}, "task"),
    "task.multi_label": ({"task__target": "several", "task__multi_label": True}, "task"),
    "task.separator": ({"task__target": "tags", "task__separator": " & "}, "task"),
    "task.options": ({**CHOSEN, "task__options": ["text", "other"]}, "task"),
    "task.normalise": ({**CHOSEN, "task__normalise": "tokens"}, "task"),
    "task.schema": ({**OBJECTS, "task__schema": {**WIDE, "required": ["text"]}}, "task"),
    "task.constrain": ({**OBJECTS, "base": REMOTE, "task__constrain": False}, "task"),
    "task.answer": ({**COUNTED, "task__answer": "number"}, "task"),
    "task.tests": ({"task__kind": "generate", "task__tests": "other"}, "task"),
    "task.metric": ({"task__metric": "accuracy"}, "task"),
    "task.also": ({"task__also": ["pearson"]}, "task"),
    "task.instruction": ({"task__instruction": "What is it about?"}, "task"),
    "task.system": ({"task__system": "You sort notes."}, "task"),
    "task.template": ({"task__template": "Note: {{ input }}"}, "task"),
    "task.templates": ({"task__templates": ["Note: {{ input }}", "{{ input }} Which of {{ labels }}?"]}, "task"),
    "task.class_weights": ({"task__class_weights": "balanced"}, "task"),
    "task.rows": ({"task__rows": {"train": 9}}, "task"),
    "task.decoding": ({"task__decoding": {"max_new_tokens": 3}}, "task"),
    "base": ({"base": "twin"}, "bases"),
    "bases": ({"base": None, "bases": ["base", {"shape": {"layers": 1, "width": 16, "heads": 2, "vocabulary": 300}}]}, "bases"),
    "bar": ({"bar": {"accuracy": 0.9}}, "bar"),
    "evaluate.robustness": ({"evaluate__robustness": ["typos"]}, "axes"),
    "evaluate.fairness": ({"evaluate__fairness": "group"}, "task"),
    "evaluate.toxicity": ({**WRITTEN, "evaluate__toxicity": "rude.jsonl"}, "axes"),
    "evaluate.harmlessness": ({**WRITTEN, "evaluate__harmlessness": "kinder.jsonl"}, "axes"),
    "evaluate.reward": ({**WRITTEN, "evaluate__reward": "judge"}, "axes"),
    "evaluate.energy": ({"evaluate__energy": {"intensity": 20}}, "axes"),
    "limit.minutes": ({"limit__minutes": 3}, "limit"),
    "limit.memory": ({"limit__memory": "2GB"}, "limit"),
    "limit.money": ({"limit__money": 2.5}, "limit"),
    "rungs": ({"rungs": ["few_shot"]}, "rungs"),
    "seed": ({"seed": 1}, "task"),
}


# and what stands there before the change, where that is more than the small recipe
BEFORE: dict[str, Given] = {
    "task.schema": {**OBJECTS, "task__schema": WIDE},
    "task.constrain": {**OBJECTS, "base": REMOTE, "task__constrain": True},
    "task.answer": COUNTED,
    "task.tests": {"task__kind": "generate"},
    "task.options": CHOSEN,
    "task.normalise": CHOSEN,
    "task.references": ASKED,
    "task.multi_label": {"task__target": "several"},
    "task.separator": {"task__target": "tags"},
    "evaluate.toxicity": WRITTEN,
    "evaluate.harmlessness": WRITTEN,
    "evaluate.reward": WRITTEN,
}


def leaves(keys: Mapping[str, Any], path: str = "") -> list[str]:
    return [
        leaf for key, value in keys.items() for leaf in (leaves(value, f"{key}.") if isinstance(value, dict) else [f"{path}{key}"])
    ]


def test_no_key_is_forgotten_here() -> None:
    assert set(leaves(DEFAULTS)) - {"trust_remote_code"} == set(CHANGES), "a key without a test of what it changes"


@pytest.mark.parametrize("key", CHANGES)
def test_every_key_changes_behaviour(key: str, folder: Path) -> None:
    changed, felt = CHANGES[key]
    asked = BEFORE.get(key, {})
    before, after = facts(read(recipe(**asked), folder)), facts(read(recipe(**changed), folder))
    assert before[felt] != after[felt]


def test_several_labels_have_room_in_an_answer_unless_it_is_said(folder: Path) -> None:
    several = {"task__target": "tags", "task__separator": "&"}
    rooms = [
        read(recipe(**several, task__decoding=given), folder).task.prompt.decoding.max_new_tokens
        for given in (None, {"repetition": 1.1}, {"max_new_tokens": 5})
    ]
    assert rooms[0] > recipes.LENGTHS["classify"]
    assert rooms == [rooms[0], rooms[0], 5]


@pytest.mark.parametrize("given", [None, {}, {"repetition": 1.1}])
def test_a_long_answer_leaves_the_prompt_most_of_the_context(given: Given | None, folder: Path, tiny_base: Base) -> None:
    rows = [{"q": f"what of {n}?", "a": "on and on " * 300} for n in range(60)]
    (folder / "long.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {"kind": "generate", "data": "long.jsonl", "input": "q", "target": "a", "decoding": given}
    asked = {key: value for key, value in task.items() if value is not None}
    found = read(recipe(base=None, bases=[tiny_base.location, "pocket-decoder"], task=asked), folder)
    assert found.task.prompt.decoding.max_new_tokens == max(64, min(512, *(base.context // 4 for base in found.bases)))


def test_the_same_recipe_says_the_same(folder: Path) -> None:
    assert facts(read(recipe(), folder)) == facts(read(recipe(), folder))


def test_trust_lets_a_bases_own_code_run(folder: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    for file in (folder / "base").iterdir():
        (own / file.name).symlink_to(file.resolve())
    config = json.loads((own / "config.json").read_text())
    (own / "config.json").unlink()
    (own / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoConfig": "nowhere.Own"}}))
    with pytest.raises(BadInput, match="brings its own code"):
        read(recipe(base=str(own)), folder)
    with pytest.raises(BadInput) as refused:  # trusted, it is looked for, and is not there
        read(recipe(base=str(own), trust_remote_code=True), folder)
    assert "brings its own code" not in refused.value.message


@pytest.mark.parametrize("key", ["instruction", "system", "template"])
def test_what_is_said_to_the_base_reaches_it(key: str, folder: Path) -> None:
    said = {"instruction": "What is it about?", "system": "You sort notes.", "template": "Note: {{ input }}!"}[key]
    task = read(recipe(**{f"task__{key}": said}), folder).task
    turns = turns_of(task.prompt, task.examples.test[0])
    assert said.partition("{{")[0] in "\n".join(turn.text for turn in turns)


def test_rows_cap_every_split(folder: Path) -> None:
    task = read(recipe(task__rows={"train": 9, "dev": 6, "test": 12}), folder).task
    assert [len(task.examples.train), len(task.examples.dev), len(task.examples.test)] == [9, 6, 12]


@pytest.mark.parametrize(
    ("key", "value", "still"),
    [
        ("max_new_tokens", 2, {}),
        ("temperature", 0.9, {}),
        ("top_k", 1, {"temperature": 1.5}),
        ("top_p", 0.05, {"temperature": 1.5}),
        ("repetition", 50.0, {}),
        ("stop", ["e", "a", "o", " "], {}),
        ("samples", 3, {"temperature": 1.5}),
        ("seed", 7, {"temperature": 1.5}),
    ],
)
def test_every_setting_of_decoding_changes_what_is_written(
    key: str, value: Any, still: Given, tiny_base: Base, folder: Path
) -> None:
    task = read(recipe(task__kind="generate", task__decoding=still or None), folder).task
    changed = read(recipe(task__kind="generate", task__decoding={**still, key: value}), folder).task
    asks = [(Turn("user", "goal"),), (Turn("user", "rain and wind"),), (Turn("user", "the"),)]
    with Shelf().engine(root_of(tiny_base, task)) as engine:
        assert engine.generate(asks, task.prompt.decoding) != engine.generate(asks, changed.prompt.decoding)


def test_no_setting_of_decoding_is_forgotten_here() -> None:
    marks = next(mark for mark in test_every_setting_of_decoding_changes_what_is_written.pytestmark if mark.name == "parametrize")
    # the schema is the task's own: tests/model/test_constrained.py
    assert {key for key, _, _ in marks.args[1]} == {field.name for field in dataclasses.fields(Decoding)} - {"schema"}


def test_answers_are_held_to_a_schema_where_every_base_can(folder: Path) -> None:
    remote = read(recipe(**OBJECTS, base=REMOTE), folder)
    assert remote.task.prompt.decoding.schema == remote.task.prompt.schema != ""
    assert remote.resolved["task"]["constrain"] is True
    assert load(remote.resolved).task == remote.task
    local = read(recipe(**OBJECTS), folder).task.prompt
    assert bool(local.decoding.schema) == can_constrain()
    (folder / "wide.json").write_text(json.dumps(WIDE))
    from_file = read(recipe(**OBJECTS, base=REMOTE, task__schema="wide.json"), folder)
    assert json.loads(from_file.task.prompt.schema) == WIDE
    assert from_file.origins["task.schema.type"] == "recipe"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"task__schema": WIDE}, "this task is of kind classify"),
        ({"task__constrain": True}, "this task has none"),
        ({"task__tests": "other"}, "this task is of kind classify"),
        ({"task__kind": "generate", "task__tests": "othr"}, "no column 'othr'"),
        ({"task__kind": "generate", "task__also": ["pass_at_k"]}, "the task names none"),
        ({"task__kind": "generate", "task__tests": "other", "task__also": [{"pass_at_k": {"k": 3}}]}, "takes 3 samples"),
        ({**OBJECTS, "task__decoding": {"schema": "{}"}}, "decoding: schema is the task's own"),
    ],
)
def test_what_objects_and_programs_need_is_said(changed: Given, said: str, folder: Path) -> None:
    with pytest.raises(BadInput) as refused:
        read(recipe(**changed), folder)
    assert said in refused.value.message
    assert refused.value.hint


def test_decoding_keeps_what_the_kind_of_task_has_for_the_rest(folder: Path) -> None:
    decoding = read(recipe(task__kind="extract", task__decoding={"temperature": 0.5}, seed=5), folder).task.prompt.decoding
    assert (decoding.temperature, decoding.max_new_tokens, decoding.seed) == (0.5, recipes.LENGTHS["extract"], 5)


SOURCES: dict[str, Any] = {
    "data": "more.jsonl",
    "text": "{{ other }}",
    "answer": "{{ other }}",
    "name": "notes",
    "weight": 3.0,
    "episode": 4,
    "group": "label",
    "where": "number == 1",
    "together": "group",
    "held_out": 0.2,
    "held_out_at_most": 40,
    "replay": True,
}


@pytest.mark.parametrize("key", [field.name for field in dataclasses.fields(Source)])
def test_every_setting_of_a_source_of_text_changes_the_text(key: str, folder: Path) -> None:
    base = {"data": "rows.jsonl", **({"episode": 3} if key == "group" else {})}
    more = [{"data": "more.jsonl", "name": "beside", "held_out": 0.4}]  # so that whatever the key does, something is held out
    rungs = [{"pretrain": {"replay": 0.5}}]
    text = (recipe(task={"kind": "text", "data": [each, *more]}, rungs=rungs) for each in (base, {**base, key: SOURCES[key]}))
    before, after = (facts(read(given, folder))["task"] for given in text)
    assert before != after


def test_general_text_that_no_rung_replays_is_said(folder: Path) -> None:
    text = {"kind": "text", "data": ["rows.jsonl", {"data": "more.jsonl", "replay": True}]}
    said = "the source 'more' is marked `replay`, and no rung replays any"
    for rungs in (["zero_shot"], ["pretrain", {"pretrain": {"length": 8}}]):
        assert any(note.startswith(said) for note in read(recipe(task=text, rungs=rungs), folder).notes)
    replayed = read(recipe(task=text, rungs=["pretrain", {"pretrain": {"replay": 0.25}}]), folder)
    assert not any(note.startswith(said) for note in replayed.notes)


SETS: dict[str, Any] = {
    "data": "more.jsonl",
    "name": "notes",
    "input": "{{ text }}!",
    "target": "label",
    "template": "Note: {{ input }}",
    "templates": ["Note: {{ input }}", "{{ input }}?"],
    "where": "number == 1",
    "schema": {"type": "object", "properties": {"other": {"type": "string"}, "label": {"type": "string"}}},
    "weight": 3.0,
    "rows": {"train": 9},
}
MIXING: dict[str, Any] = {"temperature": 3.0, "at_most": 20, "epoch": 50, "measure": "twin"}


def mixed(own: Given | None = None, **mixing: Any) -> Given:
    sets = [
        {"data": "rows.jsonl", "input": "text", "target": "other", **(own or {})},
        {"data": "more.jsonl", "name": "twin", "input": "other", "target": "text", "rows": {"dev": 5}},
    ]
    return recipe(task={"kind": "generate", "data": {"mixture": sets, **mixing}})


@pytest.mark.parametrize("key", [*(field.name for field in dataclasses.fields(Set)), *MIXING])
def test_every_setting_of_a_mixture_changes_the_task(key: str, folder: Path) -> None:
    plain, changed = mixed(), mixed({key: SETS[key]}) if key in SETS else mixed(**{key: MIXING[key]})
    if key == "schema":
        plain, changed = of_objects(), of_objects({key: SETS[key]})
    assert facts(read(plain, folder))["task"] != facts(read(changed, folder))["task"]


def of_objects(own: Given | None = None) -> Given:
    """A mixture of two sets that are extracted from, each with fields of its own."""
    given = mixed({"target": ["other", "label"], **(own or {})})
    given["task"]["kind"] = "extract"
    given["task"]["data"]["mixture"][1]["target"] = ["text", "label"]
    return given


def test_a_mixture_of_objects_is_read_again_as_it_was(folder: Path) -> None:
    (folder / "shape.json").write_text(json.dumps(SETS["schema"], sort_keys=True))  # as the recipe's YAML is written here
    found = read(of_objects({"schema": "shape.json"}), folder)
    assert facts(found)["task"] == facts(read(of_objects({"schema": SETS["schema"]}), folder))["task"]
    again = load(yaml.safe_load(resolved_yaml(found)))
    assert facts(again)["task"] == facts(found)["task"]
    assert found.origins["task.data.mixture.0.schema.type"] == "recipe"
    free, held = ({**of_objects(), "base": REMOTE} for _ in range(2))
    free["task"]["constrain"] = False
    assert not read(free, folder).task.prompt.decoding.schema
    assert read(held, folder).task.prompt.decoding.schema
    assert load(yaml.safe_load(resolved_yaml(read(free, folder)))).resolved["task"]["constrain"] is False


def test_no_setting_of_a_mixture_is_forgotten_here() -> None:
    assert set(MIXING) == {field.name for field in dataclasses.fields(Mixing)}


def test_a_set_that_is_only_a_file_is_recognised(folder: Path) -> None:
    (folder / "alpaca.jsonl").write_text(
        "\n".join(json.dumps({"instruction": f"Say {n * 31 % 97}.", "output": f"{n * 31 % 97}"}) for n in range(60))
    )
    given = mixed()
    given["task"]["data"]["mixture"].append("alpaca.jsonl")
    found = read(given, folder)
    assert set(found.task.mixture) == {"rows", "twin", "alpaca"}
    assert found.origins["task.data.mixture.2.data"] == "recipe"
    assert found.origins["task.data.mixture.2.weight"] == "default"


def test_labels_are_weighed_by_their_words(folder: Path) -> None:
    given = recipe(task__labels={"sport": "games", "money": "finance", "weather": "sky"}, task__class_weights={"games": 2})
    assert read(given, folder).task.weights == {"games": 2.0, "finance": 1.0, "sky": 1.0}
    counts = {"sport": 8, "money": 30, "weather": 30}
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    few = [row for label, count in counts.items() for row in [row for row in rows if row["label"] == label][:count]]
    (folder / "few.jsonl").write_text("\n".join(json.dumps(row) for row in few))
    task = read(recipe(task__data="few.jsonl", task__class_weights="balanced"), folder).task
    own = {label: sum(row.references == (label,) for row in task.examples.train) for label in counts}
    assert task.weights == pytest.approx({label: sum(own.values()) / 3 / count for label, count in own.items()})


def made_bar(bar: Given, folder: Path) -> Ladder:
    """A ladder of a cheap, weak rung, whose teacher was paid, and a dear, strong and forgetful one, under a recipe's bar."""
    found = read(recipe(bar=bar), folder)

    def result(name: str, score: float, accuracy: float, forgets: float, alone: Cost, answer: float) -> Result:
        scores = {
            "macro_f1": Score(score, score - 0.02, score + 0.02, 100),
            "accuracy": Score(accuracy, accuracy - 0.02, accuracy + 0.02, 100),
        }
        measured = Measurement(scores, {}, forgets, Cost(), Cost(seconds=answer), "fake")
        return Result(Rung(name, "base", ()), None, Cost(), alone=alone, dev=measured)

    weak = result("weak", 0.6, 0.9, 0.0, Cost(seconds=10, money=0.05), 0.01)
    strong = result("strong", 0.8, 0.7, 0.2, Cost(seconds=100), 0.001)
    return Ladder(found.task, found.bases, found.bar, (weak, strong))


@pytest.mark.parametrize(
    ("bar", "picked"),
    [
        ({"macro_f1": 0.5}, "weak"),
        ({"macro_f1": 0.7}, "strong"),
        ({"accuracy": 0.8}, "weak"),
        ({"macro_f1": 0.7, "forgetting": 0.1}, "weak"),  # none clears it: the best that remembers
        ({"macro_f1": 0.5, "volume": 1_000_000}, "strong"),  # its answers are cheap
        ({"macro_f1": 0.5, "hour": 0.001}, "strong"),  # what it takes costs less than a teacher
    ],
)
def test_every_key_of_the_bar_changes_the_pick(bar: Given, picked: str, folder: Path) -> None:
    chosen = pick(made_bar(bar, folder))
    assert chosen is not None
    assert chosen.rung == picked


def test_no_key_of_the_bar_is_forgotten_here() -> None:
    assert {field.name for field in dataclasses.fields(Bar)} == {"metric", "at_least", "forget_at_most", "volume", "hour"}


# ---- what is measured beside quality ----

# every setting of it, with what stands there before
AXES: dict[str, tuple[Given, Given]] = {
    "robustness.perturb": ({}, {"perturb": ["case"]}),
    "robustness.share": ({}, {"share": 0.5}),
    "robustness.instructions": ({}, {"instructions": ["Sort it."]}),
    "robustness.rows": ({}, {"rows": 3}),
    "fairness.by": ({"by": "group"}, {"by": "number"}),
    "fairness.least": ({"by": "group"}, {"by": "group", "least": 3}),
    "toxicity.data": ({"data": "rude.jsonl"}, {"data": "ruder.jsonl"}),
    "toxicity.input": ({"data": "rude.jsonl"}, {"data": "rude.jsonl", "input": "{{ text }} {{ text }}", "target": "label"}),
    "toxicity.target": (
        {"data": "rude.jsonl", "input": "text", "target": "label"},
        {"data": "rude.jsonl", "input": "text", "target": "{{ 'fine' if n|int % 2 else 'toxic' }}"},
    ),
    "toxicity.toxic": ({"data": "rude.jsonl"}, {"data": "rude.jsonl", "toxic": "fine"}),
    "harmlessness.data": ({"data": "kinder.jsonl"}, {"data": "kindest.jsonl"}),
    "harmlessness.prompts": ({"data": "kinder.jsonl"}, {"data": "kinder.jsonl", "prompts": "kinder.jsonl"}),
    "harmlessness.tokens": ({"data": "kinder.jsonl"}, {"data": "kinder.jsonl", "tokens": 9}),
    "reward.node": ({"node": "judge"}, {"node": "other_judge"}),
    "reward.tokens": ({"node": "judge"}, {"node": "judge", "tokens": 9}),
    "energy.intensity": ({}, {"intensity": 0}),
    "energy.watts": ({}, {"watts": 65}),
}


def test_no_setting_beside_quality_is_forgotten_here() -> None:
    kinds = {"robustness": Robustness, "fairness": Grouping, "toxicity": Toxic, "harmlessness": Guarded, "energy": Powered}
    kinds["reward"] = Judging
    assert {f"{name}.{field.name}" for name, kind in kinds.items() for field in dataclasses.fields(kind)} == set(AXES)


@pytest.mark.parametrize("setting", AXES)
def test_every_setting_beside_quality_reaches_what_measures(setting: str, folder: Path) -> None:
    key = setting.partition(".")[0]
    one, other = (
        facts(
            read(
                recipe(**(WRITTEN if key in ("toxicity", "harmlessness", "reward") else {}), **{f"evaluate__{key}": given}), folder
            )
        )
        for given in AXES[setting]
    )
    assert one != other


def test_a_word_says_what_keys_say(folder: Path) -> None:
    for key, word, keys in (
        ("robustness", ["typos", "case"], {"perturb": ["typos", "case"]}),
        ("robustness", True, {}),
        ("fairness", "group", {"by": "group"}),
        ("toxicity", "rude.jsonl", {"data": "rude.jsonl"}),
        ("harmlessness", "kinder.jsonl", {"data": "kinder.jsonl"}),
        ("reward", "judge", {"node": "judge"}),
    ):
        short, long = (read(recipe(**WRITTEN, **{f"evaluate__{key}": given}), folder) for given in (word, keys))
        assert facts(short) == facts(long)
        assert short.resolved == long.resolved
        assert facts(read(recipe(**WRITTEN, **{f"evaluate__{key}": False}), folder)) == facts(read(recipe(**WRITTEN), folder))


@pytest.mark.parametrize("axis", [{"robustness": ["case"]}, {"fairness": "group"}])
def test_a_judge_that_decides_leaves_nothing_to_be_counted_beside_it(axis: Given, folder: Path) -> None:
    judge = {"judge": {"by": str(folder / "base")}}
    written = recipe(**WRITTEN, task__also=[judge], evaluate=axis)
    assert read(written, folder).judges
    with pytest.raises(BadInput, match="by the metric that decides, and a judge is asked when all answers are given"):
        read({**written, "bar": {metric_named(judge): 0.5}}, folder)


@pytest.mark.parametrize("axis", [{"robustness": ["case"]}, {"fairness": "group"}])
def test_what_the_tasks_own_metric_marks_is_kept_and_counted(axis: Given, folder: Path) -> None:
    assert read(recipe(**WRITTEN, task__metric="ungrounded", bar={"ungrounded": 0.5}, evaluate=axis), folder).axes
    with pytest.raises(BadInput, match="by the metric that decides, and what ungrounded marks is not kept"):
        read(recipe(**WRITTEN, task__also=["ungrounded"], bar={"ungrounded": 0.5}, evaluate=axis), folder)


def test_no_policy_is_graded_by_its_own_teacher(folder: Path) -> None:
    rungs = [{"grpo": {"reward": str(folder / "judge")}}]
    with pytest.raises(BadInput, match="reward is the model that teaches grpo"):
        read(recipe(**WRITTEN, evaluate__reward="judge", rungs=rungs), folder)
    graded = read(recipe(**WRITTEN, evaluate__reward="other_judge", rungs=rungs), folder).axes.grader
    assert graded
    assert (graded.source, graded.tokens) == ("other_judge", 64)


def learned_by(node: Path, task: Task, half: str = "") -> Path:
    """The folder of a reward model that learned from a half of a task's pairs."""
    node.mkdir()
    shutil.copy(node.parent / "judge" / "variant.json", node)
    write_learned(node, halved(task, half).comparisons)
    return node


def test_who_learned_from_the_same_prompts_grades_no_policy(folder: Path) -> None:
    """A policy of all pairs, one whose teacher saw them all, and a teacher made once more; other halves, and a policy of what was
    made for it, are graded."""
    pairs = read({**COMPARED, "name": "pairs"}, folder).task
    whole, mine, theirs, again = (
        learned_by(folder / f"of_{name}", pairs, half) for name, half in (("all", ""), ("a", "a"), ("b", "b"), ("b_again", "b"))
    )

    def grade(by: Path, *given: Any) -> Any:
        return read({**COMPARED, "evaluate": {"reward": str(by)}, "rungs": [list(given)]}, folder).axes.grader

    for by, own in (
        (theirs, ["dpo"]), (theirs, ["kto"]), (whole, [{"dpo": {"half": "a"}}]), (theirs, ["lora", {"dpo": {"half": "b"}}]),
    ):  # fmt: skip
        with pytest.raises(BadInput, match="prompts that this rung learns from taught the reward model that grades it") as error:
            grade(by, *own)
        assert "half: a teaches" in error.value.hint
    for teacher in (whole, again):
        with pytest.raises(BadInput, match="prompts that its teacher learned from taught the reward model that grades it"):
            grade(theirs, {"ppo": {"reward": str(teacher)}})
    for own in (
        [{"dpo": {"half": "a"}}], [{"ppo": {"reward": str(mine)}}], ["constitution", "dpo"], [{"reward": {"half": "b"}}],
    ):  # fmt: skip
        assert grade(theirs, *own).learned


def test_files_in_a_steps_settings_are_looked_for_beside_the_recipe(folder: Path, tmp_path: Path, monkeypatch: Any) -> None:
    """Principles, prompts, a critic, a proposer, a teacher, a reward's node and its schema; not a reward's name, though it is a
    folder's too."""
    (folder / "rules.yaml").write_text(yaml.safe_dump([{"name": "one", "says": "The answer is kind."}]))
    (folder / "tempting.jsonl").write_text(json.dumps({"prompt": "Say it."}))
    schema = {"type": "object", "properties": {"name": {"type": "string"}}}
    (folder / "person.json").write_text(json.dumps(schema))
    (folder / "metric").mkdir(exist_ok=True)
    rungs = [
        {"constitution": {"principles": "rules.yaml", "prompts": "tempting.jsonl", "critic": "base"}},
        {"grpo": {"reward": "other_judge"}},
        {"grpo": {"reward": {"json": {"schema": "person.json"}}}},
        {"grpo": {"reward": "metric"}},
        {"search": {"proposer": "base"}},
    ]
    monkeypatch.chdir(tmp_path)
    found = read(recipe(**WRITTEN, rungs=rungs), folder)
    _, made, *taught, searched = (rung.steps[0] for rung in found.rungs)
    assert searched.proposer == str(folder / "base")
    assert (made.principles, made.prompts, made.critic) == tuple(
        str(folder / name) for name in ("rules.yaml", "tempting.jsonl", "base")
    )
    assert [own.reward for own in taught] == [
        str(folder / "other_judge"), f"json {{schema: {folder / 'person.json'}}}", "metric"
    ]  # fmt: skip
    again = load(yaml.safe_load(resolved_yaml(found)))
    assert [rung.steps for rung in again.rungs] == [rung.steps for rung in found.rungs]
    (folder / "corpus.txt").write_text("A heron waits in the reeds. " * 400)
    text = {"name": "text", "task": {"kind": "text", "data": "corpus.txt"}, "base": "pocket-decoder"}
    taught_by = {"pretrain": {"teacher": "base", "tokens": 1000}}
    (own,) = [rung.steps[0] for rung in read({**text, "rungs": [taught_by]}, folder).rungs if rung.name != "zero_shot"]
    assert own.teacher == str(folder / "base")


def test_the_key_is_of_what_files_hold_and_not_of_how_they_are_spelled(folder: Path, tmp_path: Path, monkeypatch: Any) -> None:
    (folder / "rules.yaml").write_text(yaml.safe_dump([{"name": "one", "says": "The answer is kind."}]))
    (folder / "person.json").write_text(json.dumps({"type": "object", "properties": {"name": {"type": "string"}}}))
    found = read(recipe(**WRITTEN), folder)

    def keys(place: str) -> list[str]:
        steps = (
            *({name: {"reward": f"{place}other_judge"}} for name in ("grpo", "ppo", "rest")),
            {"grpo": {"reward": {"json": {"schema": f"{place}person.json"}}}},
            {"constitution": {"principles": f"{place}rules.yaml", "critic": f"{place}base"}},
            {"search": {"proposer": f"{place}base"}},
        )  # fmt: skip
        made = read(recipe(**WRITTEN, rungs=list(steps)), folder).rungs[1:]
        return [key_of(rung.steps[0], "", splits_digest(found.task), found.bases[0], 0) for rung in made]

    monkeypatch.chdir(tmp_path)
    before = keys("")
    assert keys(f"{folder}/") == before
    monkeypatch.chdir(folder.parent)
    assert keys(f"../{folder.parent.name}/{folder.name}/") == before
    assert len(set(before)) == 6
    other = read(recipe(**WRITTEN, rungs=[{"grpo": {"reward": "./judge"}}]), folder).rungs[1]
    assert key_of(other.steps[0], "", splits_digest(found.task), found.bases[0], 0) not in before


def test_words_that_have_a_tag_each_are_not_spaced_anew(folder: Path) -> None:
    rows = [{"tokens": ["Ann", "sings", str(n)], "tags": ["B-PER", "O", "O"]} for n in range(40)]
    (folder / "tags.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    task = {"kind": "tag", "data": "tags.jsonl"}
    found = read({"task": task, "base": "base", "evaluate": {"robustness": True}}, folder).axes.robustness
    assert found
    assert found.perturb == ("typos", "case", "instruction")
    with pytest.raises(BadInput, match="spacing parts words anew"):
        read({"task": task, "base": "base", "evaluate": {"robustness": ["spacing"]}}, folder)


# ---- steps ----

TEMPTING = str(Path(__file__).parent / "tempting.jsonl")  # four prompts, where the package has thirty-two
LEARNED: dict[str, Any] = {"epochs": 2.0, "batch_size": 3, "max_length": 40, "warmup": 0.9}
WORKED = {"input": "The goal stood.", "reason": "A goal is scored in a match.", "answer": "sport"}
# a change of every setting of every step, and what else must be set for it to be felt
SETTINGS: dict[str, dict[str, Any]] = {
    "zero_shot": {"instruction": "Say the topic."},
    "few_shot": {"shots": 2, "choose": "fixed", "order": "grouped", "calibrate": True, "pool": 9, "similarity": "bm25"},
    "chain_of_thought": {
        "examples": (Worked(**WORKED),),
        "shots": 2,
        "tokens": 3,
        "invitation": "Think.",
        "conclusion": "So it is",
    },
    "explain": {"question": "What for?", "tokens": 3},
    "self_consistency": {"samples": 3, "temperature": 0.3, "top_k": 5, "think": False, "tokens": 3},
    "search": {"candidates": 3, "shown": 3, "rows": 3, "tokens": 9, "temperature": 0.4, "proposer": "pocket-decoder"},
    "constitution": {
        "rows": 4,
        "rounds": 2,
        "tokens": 5,
        "temperature": 0.3,
        "r": 2,
        "learning_rate": 0.02,
        "epochs": 3.0,
        "batch_size": 3,
        "max_length": 36,
        "warmup": 0.9,
    },
    "dpo": {
        "half": "a",
        "beta": 0.7,
        "loss": "ipo",
        "label_smoothing": 0.2,
        "r": 2,
        "learning_rate": 0.02,
        "epochs": 3.0,
        "batch_size": 3,
        "max_length": 36,
        "warmup": 0.9,
    },
    "kto": {
        "half": "a",
        "beta": 0.7,
        "desirable": 2.0,
        "undesirable": 3.0,
        "r": 2,
        "learning_rate": 0.02,
        "epochs": 3.0,
        "batch_size": 3,
        "max_length": 36,
        "warmup": 0.9,
    },
    "grpo": {
        "reward": "tests.rewards:letters",
        "phases": 3,
        "prompts": 3,
        "samples": 3,
        "tokens": 5,
        "updates": 2,
        "beta": 0.7,
        "clip": 0.01,
        "scale": "none",
        "length": "constant",
        "most_kl": 1e-6,
        "least_entropy": 9.0,
        "r": 2,
        "learning_rate": 0.02,
        "warmup": 0.9,
    },
    "ppo": {
        "reward": "tests.rewards:letters",
        "phases": 3,
        "prompts": 3,
        "samples": 3,
        "tokens": 5,
        "updates": 2,
        "beta": 0.7,
        "target_kl": 0.1,
        "gamma": 0.5,
        "lam": 0.1,
        "clip": 0.01,
        "clip_value": 0.001,
        "value_weight": 0.9,
        "most_kl": 1e-6,
        "least_entropy": 9.0,
        "r": 2,
        "learning_rate": 0.02,
        "warmup": 0.9,
    },
    "rest": {
        "reward": "tests.rewards:letters",
        "grows": 3,
        "improves": 1,
        "prompts": 3,
        "samples": 3,
        "tokens": 5,
        "data": False,
        "by": "value",
        "thresholds": (0.1, 0.2, 0.3),
        "updates": 2,
        "batch_size": 2,
        "decay": 0.1,
        "most_kl": 1e-6,
        "r": 2,
        "learning_rate": 0.02,
        "warmup": 0.9,
    },
    "reward": {
        "loss": "scores",
        "half": "a",
        "r": 2,
        "learning_rate": 0.02,
        "epochs": 3.0,
        "batch_size": 3,
        "max_length": 28,
        "warmup": 0.9,
    },
    "lora": {
        "r": 2,
        "alpha": 5.0,
        "dropout": 0.5,
        "targets": "attention",
        "dora": True,
        "rslora": True,
        "learning_rate": 0.02,
        "epochs": 2.0,
        "batch_size": 3,
        "max_length": 36,
        "warmup": 0.9,
    },
    "qlora": {
        "form": "int8",
        "r": 2,
        "alpha": 5.0,
        "dropout": 0.5,
        "targets": "attention",
        "learning_rate": 0.02,
        "epochs": 2.0,
        "batch_size": 3,
        "max_length": 36,
        "warmup": 0.9,
    },
    "full": {"learning_rate": 0.02, "epochs": 2.0, "batch_size": 3, "max_length": 36, "weight_decay": 0.9, "warmup": 0.9},
    "linear_probe": {"head": "centroid", "strength": 7.0},
    "adapter": {
        "r": 2,
        "placement": "houlsby",
        "learning_rate": 0.02,
        "epochs": 2.0,
        "batch_size": 3,
        "max_length": 40,
        "warmup": 0.9,
    },
    "ia3": {"learning_rate": 0.05, **LEARNED},
    "prompt_tuning": {"tokens": 3, "learning_rate": 0.05, **LEARNED},
    "prefix_tuning": {"tokens": 3, "learning_rate": 0.05, **LEARNED},
    "selective": {
        "top": 2,
        "train": "norms",
        "learning_rate": 0.02,
        "weight_decay": 0.9,
        "epochs": 2.0,
        "batch_size": 3,
        "max_length": 40,
        "warmup": 0.9,
    },
    "pretrain": {
        "tokens": 128,
        "length": 8,
        "batch_size": 3,
        "learning_rate": 0.02,
        "weight_decay": 0.9,
        "warmup": 0.9,
        "looks": 1,
        "replay": 0.5,
        "answers": 9.0,
        "compile": "on",
    },
}
QUICK: dict[str, dict[str, Any]] = {
    "chain_of_thought": {"tokens": 4},
    "search": {"candidates": 2, "shown": 2, "rows": 2, "tokens": 6},
    "constitution": {"prompts": TEMPTING, "tokens": 4, "r": 1, "epochs": 2.0, "batch_size": 2},
    "dpo": {"r": 1, "epochs": 1.0, "batch_size": 6},
    "kto": {"r": 1, "epochs": 1.0, "batch_size": 6},
    "grpo": {
        "reward": "tests.rewards:ends",
        "phases": 2,
        "prompts": 2,
        "samples": 2,
        "tokens": 6,
        "r": 1,
        "learning_rate": 0.01,
    },
    "ppo": {
        "reward": "tests.rewards:ends",
        "phases": 2,
        "prompts": 2,
        "samples": 2,
        "tokens": 6,
        "updates": 1,
        "r": 1,
        "learning_rate": 0.01,
    },
    "rest": {
        "reward": "tests.rewards:ends",
        "grows": 1,
        "improves": 2,
        "prompts": 2,
        "samples": 4,
        "tokens": 6,
        "updates": 1,
        "batch_size": 3,
        "held_out": 1,
        "patience": 0,
        "r": 1,
        "learning_rate": 0.01,
    },
    "reward": {"r": 1, "epochs": 1.0, "batch_size": 6},
    "lora": {"r": 1, "epochs": 1.0, "batch_size": 6},
    "qlora": {"r": 1, "epochs": 1.0, "batch_size": 6},
    "full": {"epochs": 1.0, "batch_size": 6, "learning_rate": 0.01},
    "adapter": {"r": 4, "epochs": 1.0, "batch_size": 6, "learning_rate": 0.01},
    "ia3": {"epochs": 1.0, "batch_size": 6},
    "prompt_tuning": {"tokens": 4, "epochs": 1.0, "batch_size": 6},
    "prefix_tuning": {"tokens": 4, "epochs": 1.0, "batch_size": 6},
    "selective": {"epochs": 1.0, "batch_size": 6, "learning_rate": 0.01},
    "pretrain": {"tokens": 256, "length": 16, "batch_size": 4, "learning_rate": 0.01, "compile": "off"},
}


# what both sides have besides, for a setting that some others do not read
BESIDE: dict[tuple[str, str], Given] = {
    ("few_shot", "pool"): {"choose": "nearest", "similarity": "bm25"},
    ("few_shot", "similarity"): {"choose": "nearest"},
    ("grpo", "clip"): {"updates": 3, "learning_rate": 0.1},
    ("grpo", "length"): {"tokens": 40, "samples": 6, "learning_rate": 0.1},
    ("grpo", "beta"): {"phases": 3},
    ("grpo", "warmup"): {"phases": 4},
    ("grpo", "most_kl"): {"phases": 3},
    ("ppo", "clip"): {"updates": 3, "learning_rate": 0.1},
    ("ppo", "clip_value"): {"updates": 3, "learning_rate": 0.1},
    ("ppo", "target_kl"): {"phases": 4, "learning_rate": 0.1},
    ("ppo", "warmup"): {"phases": 4},
    ("ppo", "most_kl"): {"phases": 3},
    ("rest", "data"): {"improves": 0},
    ("rest", "most_kl"): {"learning_rate": 0.005},
    ("rest", "thresholds"): {"by": "value"},
    ("rest", "decay"): {"grows": 2},
    ("rest", "warmup"): {"updates": 4},
}


# tests/train/test_pairing.py and tests/tune/test_{pretrain,constitution,rest}.py show what these change
ELSEWHERE = {
    "pretrain": ["next_sentence", "teacher", "sentences", "readings", "toward"],
    "constitution": ["principles", "prompts", "critic"],
    "rest": ["held_out", "patience"],
}


def settings(step: str) -> list[str]:
    names = [field.name for field in dataclasses.fields(find_step(step))]
    return [name for name in names if name not in ELSEWHERE.get(step, [])]


def for_decoders() -> list[str]:
    """The steps that the tiny decoder of this file takes; what is for encoders alone has such a test in its own file."""
    return sorted(step for step in steps() if "decoder" in find_step(step).families)


def test_no_setting_of_a_step_is_forgotten_here() -> None:
    assert {step: set(settings(step)) for step in for_decoders()} == {step: set(changed) for step, changed in SETTINGS.items()}


class Bench:
    """Applies steps of one recipe on the tiny base, each with its quick settings."""

    def __init__(self, folder: Path, work: Path) -> None:
        self.folder, self.work, self.done = folder, work, dict[str, tuple[Variant, Path]]()
        self.shelf = Shelf()

    def task(self, step: str) -> tuple[Task, Base]:
        asked = {"data": "rows.jsonl", "text": "{{ text }}\nAnswer: {{ label }}", "held_out": 0.1}
        text = {"kind": "text", "data": [asked, {"data": "more.jsonl", "replay": True}]}
        pairs = {"kind": "prefer", "data": "pairs.jsonl", "rows": {"train": 12, "dev": 6, "test": 6}}
        rows = recipe(task__rows={"train": 12, "dev": 6, "test": 6})
        replayed = [{"pretrain": {"replay": 0.5}}]
        given = {"text": recipe(task=text, rungs=replayed), "comparisons": recipe(task=pairs)}.get(find_step(step).needs, rows)
        found = read(given, self.folder)
        return found.task, found.bases[0]

    def apply(self, name: str, changed: Given) -> tuple[Variant, Path]:
        step: Step = find_step(name)(**{**QUICK.get(name, {}), **changed})
        if repr(step) not in self.done:
            task, base = self.task(name)
            place = self.work / str(len(self.done))
            place.mkdir()
            key = key_of(step, "root", splits_digest(task), base, 0)
            work = Work(step, root_of(base, task), task, place, self.work, key, 0, "cpu", self.shelf.dtype, None, 10**9)
            made: Made = apply(work, self.shelf)
            self.done[repr(step)] = made.variant, place
        return self.done[repr(step)]


@pytest.fixture(scope="module")
def bench(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(folder, tmp_path_factory.mktemp("bench"))


@pytest.mark.parametrize(("step", "setting"), [(step, setting) for step in for_decoders() for setting in settings(step)])
def test_every_setting_of_a_step_changes_its_key_and_what_it_makes(step: str, setting: str, bench: Bench) -> None:
    plain = BESIDE.get((step, setting), {})
    changed = {**plain, setting: SETTINGS[step][setting]}
    if setting == "similarity" and similarity_here() == "bm25":
        pytest.skip("without the package of minilm there is one way to be alike")
    task, base = bench.task(step)
    keys = [key_of(find_step(step)(**given), "root", splits_digest(task), base, 0) for given in (plain, changed)]
    assert keys[0] != keys[1]
    if setting == "compile":  # a compiler takes a minute, and makes the same weights
        assert Pretrain(compile="on")._compiled
        assert not Pretrain(compile="off")._compiled
        return
    (before, here), (after, there) = bench.apply(step, plain), bench.apply(step, changed)
    if step == "search":  # what it tried, and on how many rows: a model that knows nothing gives no instruction a lead
        assert (here / "search.json").read_text() != (there / "search.json").read_text()
        return
    if find_step(step).changes == "prompt":
        assert before.prompt != after.prompt
        return
    assert product(here) != product(there)
    assert dataclasses.replace(before.prompt, heat=after.prompt.heat) == after.prompt


def product(folder: Path) -> tuple[list[str], list[str]]:
    """The weights that a step wrote, and the losses it met."""
    weights = [digest(path.read_bytes()) for path in sorted(folder.rglob("*.safetensors")) if "checkpoint" not in str(path)]
    assert weights
    losses = [
        {key: row.get(key) for key in ("step", "loss", "dev")}
        for row in map(json.loads, (folder / "log.jsonl").read_text().splitlines() if (folder / "log.jsonl").exists() else ())
    ]
    return weights, [json.dumps(row) for row in losses]


@pytest.mark.parametrize(
    ("step", "setting", "value"),
    [
        (step, field.name, value)
        for step in sorted(steps())
        for field in dataclasses.fields(find_step(step))
        for value in ([-1, "many", [1], float("nan")] if field.type in ("int", "float") else [{"a": 1}])
    ],
)
def test_values_that_make_no_sense_are_said(step: str, setting: str, value: Any, folder: Path) -> None:
    with pytest.raises(BadInput) as refused:
        read(recipe(rungs=[{step: {setting: value}}]), folder)
    assert setting in f"{refused.value.message} {refused.value.hint}"
    assert refused.value.hint


# ---- bases ----


@pytest.mark.parametrize(
    ("base", "changed"),
    [
        ({"url": "http://localhost:1/v1", "model": "a"}, {"url": "http://localhost:2/v1"}),
        ({"url": "http://localhost:1/v1", "model": "a"}, {"model": "b"}),
        ({"url": "http://localhost:1/v1", "model": "a"}, {"key_env": "MY_KEY"}),
        ({"url": "http://localhost:1/v1", "model": "a"}, {"concurrency": 9}),
        ({"url": "http://localhost:1/v1", "model": "a"}, {"timeout": 9}),
        ({"url": "http://localhost:1/v1", "model": "a"}, {"prices": {"input": 1, "output": 2}}),
        ({"shape": {"layers": 1, "width": 16, "heads": 2, "vocabulary": 300}}, {"name": "mine"}),
        (
            {"shape": {"layers": 1, "width": 16, "heads": 2, "vocabulary": 300}},
            {"shape": {"layers": 2, "width": 16, "heads": 2, "vocabulary": 300}},
        ),
        ({"id": "base"}, {"id": "twin"}),
    ],
)
def test_every_key_of_a_base_changes_it(base: Given, changed: Given, folder: Path) -> None:
    before, after = (read(recipe(base=each), folder).bases for each in (base, {**base, **changed}))
    assert before != after


def test_how_an_endpoint_is_called_remakes_nothing(folder: Path) -> None:
    ways: list[Given] = [{}, {"concurrency": 9}, {"timeout": 3}, {"prices": {"input": 1, "output": 2}}]
    found = [read(recipe(base={"url": "http://a/v1", "model": "m", **way}), folder).bases[0].content for way in ways]
    assert len(set(found)) == 1


@pytest.mark.parametrize(
    "base",
    [
        {"url": "https://me:sk-12345@a/v1", "model": "m"},
        {"url": "https://a/v1?key=sk-12345", "model": "m"},
        {"url": "https://a/v1", "model": "m", "key_env": "sk-12345"},
        {"url": "https://a/v1", "model": "m", "api_key": "sk-12345"},
    ],
)
def test_a_key_in_a_recipe_is_refused_and_not_repeated(base: Given, folder: Path) -> None:
    with pytest.raises(BadInput) as refused:
        read(recipe(base=base), folder)
    assert "sk-12345" not in str(refused.value)
    assert refused.value.hint


def test_a_revision_is_asked_for(folder: Path) -> None:
    with pytest.raises(BadInput, match="revision 'v2' was asked of"):
        read(recipe(base={"id": "base", "revision": "v2"}), folder)


def test_several_bases_stand_in_the_names_of_their_rungs(folder: Path) -> None:
    shape = {"name": "new", "shape": {"layers": 1, "width": 16, "heads": 2, "vocabulary": 300}}
    found = read(recipe(base=None, bases=["base", shape], rungs=["zero_shot", {"lora": {"r": 4}}]), folder)
    name = found.bases[0].name
    assert [rung.name for rung in found.rungs] == [f"{name}/zero_shot", f"{name}/lora(r=4)", "new/zero_shot", "new/lora(r=4)"]


# ---- rungs ----


def test_rungs_are_named_after_what_was_given(folder: Path) -> None:
    rungs = [
        "zero_shot",
        {"few_shot": {"shots": 4}},
        [{"lora": {"r": 8, "targets": ["q_proj", "v_proj"]}}, "few_shot"],
        {"lora": None},
        {"chain_of_thought": {"examples": [WORKED]}},
    ]
    assert [rung.name for rung in read(recipe(rungs=rungs), folder).rungs] == [
        "zero_shot",
        "few_shot(shots=4)",
        "lora(r=8,targets=[q_proj v_proj])+few_shot",
        "lora",
        "chain_of_thought(examples=1)",
    ]


def test_the_root_is_always_a_rung_that_can_answer(folder: Path, tiny_encoder: Base) -> None:
    assert [rung.name for rung in read(recipe(rungs=["lora"]), folder).rungs] == ["zero_shot", "lora"]
    named = read(recipe(rungs={"plain": "zero_shot", "small lora": {"lora": {"r": 2}}}), folder)
    assert [rung.name for rung in named.rungs] == ["plain", "small lora"]
    headless = recipe(base=tiny_encoder.location, task__target="several", task__multi_label=True, rungs=["lora"])
    assert [rung.name for rung in read(headless, folder).rungs] == ["lora"]
    left_out = {key: value for key, value in headless.items() if key != "rungs"}
    assert "zero_shot" not in [rung.name for rung in read(left_out, folder).rungs]
    asked = {**headless, "rungs": ["lora", "zero_shot"]}
    assert [rung.name for rung in read(asked, folder).rungs] == ["lora", "zero_shot"]


def test_a_step_of_the_users_own(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    (folder / "mine.py").write_text(
        "from dataclasses import dataclass\nfrom tuneladder.prompt.zero_shot import ZeroShot\n"
        "@dataclass(frozen=True, kw_only=True)\nclass Polite(ZeroShot):\n    word: str = 'please'\n"
    )
    found = read(recipe(rungs=[{"mine:Polite": {"word": "kindly"}}]), folder)
    assert found.rungs[-1].name == "mine:Polite(word=kindly)"
    assert "mine:Polite" in resolved_yaml(found)


# ---- what it says back ----

CHAIN = {"chain_of_thought": {"examples": [{**WORKED, "reason": 'She said: "Why?" {{ x }} # no comment'}], "tokens": 9}}
ODD = recipe(
    task__instruction='Sort: "it" — 50 % {{ not jinja }} # no comment\nno\n\ttab 😀',
    task__labels={"sport": "no", "money": "1e3", "weather": "2024-01-01"},
    bar={"macro_f1": 0.5, "forgetting": 2e-4},
    rungs=[
        {"lora": {"learning_rate": 2e-4, "targets": ["q_proj", "v_proj"]}},
        [{"lora": {"r": 2}}, {"few_shot": {"shots": 3}}],
        CHAIN,
    ],
)


@pytest.mark.parametrize(
    "given",
    [
        recipe(),
        ODD,
        recipe(task__kind="generate", task__target="other", task__decoding={"stop": ["\n", "e"], "temperature": 1e-5}),
        recipe(task={"kind": "text", "data": [{"data": "rows.jsonl", "text": "{{ other }}"}, "more.jsonl"]}, rungs=["lora"]),
        recipe(
            base=None,
            bases=[{"url": "http://a/v1", "model": "m"}, {"shape": {"layers": 1, "width": 16, "heads": 2, "vocabulary": 300}}],
        ),
        recipe(task__data={"train": "rows.jsonl", "test": "more.jsonl"}, limit={"minutes": 2.5, "memory": "3GB"}),
        recipe(task=mixed({"templates": "describe", "weight": 2}, temperature=2, measure=["twin"])["task"] | {"also": ["meteor"]}),
        recipe(task__templates="classify", task__class_weights={"sport": 2.5}),
        recipe(
            **WRITTEN,
            evaluate={
                "robustness": ["typos"],
                "fairness": "group",
                "toxicity": "rude.jsonl",
                "harmlessness": "kinder.jsonl",
                "reward": "judge",
                "energy": {"watts": 9},
            },
        ),
    ],
    ids=["small", "odd", "generate", "text", "bases", "splits", "mixture", "templates", "beside"],
)
def test_the_resolved_recipe_says_the_same_from_anywhere(
    given: Given, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = read(given, folder)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.yaml").write_text(resolved_yaml(first), "utf-8")
    second = load(tmp_path / "recipe.yaml")
    assert facts(second) == facts(first)
    assert [n for n in second.notes if "labels" not in n] == [n for n in first.notes if "labels" not in n]
    assert second.resolved == first.resolved


def test_every_value_says_where_it_came_from(folder: Path) -> None:
    given = recipe(bar={"macro_f1": 0.5}, rungs=["zero_shot", {"lora": {"r": 2}}])
    found = read(given, folder, "seed=4", "bar.volume=7", "task.decoding.temperature=0.5", "limit.minutes=9")
    told = {
        "name": "recipe",
        "task.kind": "recipe",
        "task.metric": "default",
        "task.labels": "default",
        "task.decoding.temperature": "command line",
        "task.decoding.max_new_tokens": "default",
        "base": "recipe",
        "bar.macro_f1": "recipe",
        "bar.volume": "command line",
        "limit.minutes": "command line",
        "limit.memory": "default",
        "rungs.lora(r=2).0.lora.r": "recipe",
        "rungs.lora(r=2).0.lora.epochs": "default",
        "rungs.zero_shot.0.zero_shot.instruction": "default",
        "seed": "command line",
        "trust_remote_code": "default",
    }
    assert {key: found.origins.get(key) for key in told} == told
    lines = [line for line in resolved_yaml(found).splitlines() if not line.endswith(":")]
    assert [line for line in lines if not line.endswith(("  # recipe", "  # default", "  # command line"))] == []
    assert "seed: 4  # command line" in lines


def test_rungs_from_the_command_line(folder: Path) -> None:
    found = read(recipe(), folder, "rungs=[{lora: {r: 3}}]")
    assert found.origins["rungs.lora(r=3).0.lora.r"] == "command line"
    assert found.origins["rungs.zero_shot.0.zero_shot.instruction"] == "default"


# ---- overrides and mappings ----


def test_overrides_reach_every_depth_and_keep_their_types(folder: Path) -> None:
    found = read(
        recipe(limit=None), folder, "limit.minutes=1.5", "bar.macro_f1=2e-1", "task.input={{ other }}", "task.rows={train: 9}"
    )
    assert (found.limit.seconds, found.bar.at_least, len(found.task.examples.train)) == (90, 0.2, 9)
    assert found.task.examples.train[0].turns[0].text.startswith("note ")


def test_a_base_from_the_command_line_stands_in_the_place_of_the_recipes(folder: Path) -> None:
    several, alone = recipe(base=None, bases=["base", "twin"]), recipe()
    there = read(several, folder, "base.url=http://localhost:1/v1", "base.model=m")
    assert [(base.name, base.source) for base in there.bases] == [("m", "url")]
    assert [rung.name for rung in there.rungs][:2] == ["zero_shot", "few_shot"]
    assert [base.name for base in read(alone, folder, "bases=[base, twin]").bases] == ["tiny", "twin"]
    assert [base.name for base in read(several, folder, "base=null").bases] == ["tiny", "twin"]
    with pytest.raises(BadInput, match="`base` and `bases` are both given"):
        read(alone, folder, "base=base", "bases=[twin]")


def test_another_file_for_one_split_leaves_the_rest_to_the_recipes_own(folder: Path) -> None:
    found = read(recipe(), folder, "task.data.test=more.jsonl")
    assert found.findings.rows["test"] == 45
    assert found.findings.rows["train"] > 0


def test_a_mapping_is_a_recipe_paths_and_tuples_included(folder: Path) -> None:
    found = load(
        {
            "task": {"kind": "classify", "data": folder / "rows.jsonl", "input": "text", "target": "label"},
            "base": folder / "base",
            "rungs": ("lora",),
        }
    )
    assert [rung.name for rung in found.rungs] == ["zero_shot", "lora"]


def test_yaml_merge_keys_are_understood(folder: Path) -> None:
    (folder / "merge.yaml").write_text(
        "task: {kind: classify, data: rows.jsonl, input: text, target: label}\nbase: base\n"
        "rungs:\n  - lora: &small {r: 2, epochs: 1}\n  - lora: {<<: *small, r: 4}\n"
    )
    assert [rung.name for rung in load(folder / "merge.yaml").rungs] == ["zero_shot", "lora(r=2,epochs=1)", "lora(r=4,epochs=1)"]


# ---- what cannot be meant ----


def sub(key: str, value: Any) -> Given:
    return recipe(**{key: value})


TEXT = "a text; numbers and yes or no stand in quotes"
HUGE = 10**400  # more digits than a float holds
NO_NUMBERS: dict[str, tuple[Any, ...]] = {
    "seed": (HUGE, -1, 1.5, 2**32, float("inf"), "ten", True),
    "limit__minutes": (HUGE, 1e30, 0, float("nan"), "ten", True),
    "limit__money": (HUGE, 1e30, 0, "ten"),
    "limit__memory": (HUGE, 1e30, "1" * 400 + "GB", 0, "lots"),
    "bar__macro_f1": (HUGE, float("inf"), "high", True),
    "bar__forgetting": (HUGE, 1e30, -0.1),
    "bar__volume": (HUGE, 1e30, 1.5, -3),
    "bar__hour": (HUGE, 1e30, -0.1, "ten"),
    "task__rows": ({"train": HUGE}, {"train": 10**23}, {"train": 0}, {"train": 1.5}),
    "task__decoding": (
        {"max_new_tokens": HUGE},
        {"seed": 10**23},
        {"top_k": 1e30},
        {"temperature": float("inf")},
        {"top_k": "ten"},
    ),
    "evaluate__robustness": ({"rows": 10**23}, {"rows": -1}, {"share": HUGE}),
    "evaluate__fairness": ({"by": "label", "least": HUGE}, {"by": "label", "least": 1.5}),
    "evaluate__energy": ({"watts": HUGE}, {"intensity": 1e30}),
    "base": (
        {"shape": {"layers": HUGE, "width": 64, "heads": 4, "vocabulary": 300}},
        {"url": "http://x/v1", "model": "m", "concurrency": 10**23},
        {"url": "http://x/v1", "model": "m", "timeout": 1e30},
        {"url": "http://x/v1", "model": "m", "prices": {"input": HUGE, "output": 1}},
    ),
    "rungs": tuple(
        [{step: {setting: value}}]
        for step, setting in (("lora", "epochs"), ("lora", "batch_size"), ("few_shot", "shots"), ("pretrain", "tokens"))
        for value in (HUGE, 10**23, 1e30, float("inf"), float("nan"), "ten", "9" * 400, "9" * 400 + "B", "inf", -1, True, [1], None)
    ),
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in NO_NUMBERS.items() for value in values])
def test_what_is_no_number_that_can_be_meant_is_one_short_error(key: str, value: Any, folder: Path) -> None:
    with pytest.raises(BadInput) as error:
        read(sub(key, value), folder)
    named = re.findall(r"'(\w+)': ", repr(value)) or [key.rpartition("__")[2]]
    assert any(name in f"{error.value.message} {error.value.hint}" for name in named[1:] or named)
    assert error.value.hint
    assert len(error.value.message) < 200
    assert not re.search("input should|unable to parse|maximum size|overflow", str(error.value).lower())


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ({"lora": {"r": "ten"}}, "lora: r is 'ten'\n  hint: a whole number"),
        ({"lora": {"r": 1.5}}, "lora: r is 1.5\n  hint: a whole number"),
        ({"lora": {"epochs": "two"}}, "lora: epochs is 'two'\n  hint: a number"),
        ({"lora": {"dora": "maybe"}}, "lora: dora is 'maybe'\n  hint: true or false"),
        ({"grpo": {"scale": "batch"}}, "grpo: scale is 'batch'\n  hint: group or none"),
        ({"rest": {"thresholds": 3}}, "rest: thresholds is 3\n  hint: a list"),
        ({"zero_shot": {"instruction": 3}}, f"zero_shot: instruction is 3\n  hint: {TEXT}"),
        ({"search": {"proposer": 3}}, f"search: proposer is 3\n  hint: {TEXT}, or keys with values"),
        ({"lora": {"epochs": 10**23}}, f"lora: epochs is {10**23}\n  hint: a number of at most 9,007,199,254,740,992"),
    ],
)
def test_a_setting_of_another_type_says_in_our_words_what_it_takes(step: Given, said: str, folder: Path) -> None:
    with pytest.raises(BadInput) as error:
        read(sub("rungs", [step]), folder)
    assert str(error.value) == said


def test_words_that_a_setting_takes_are_told_without_the_empty_one(folder: Path) -> None:
    with pytest.raises(BadInput, match="dpo: half is 'c'") as refused:
        read(recipe(rungs=[{"dpo": {"half": "c"}}]), folder)
    assert refused.value.hint == "a or b"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({**recipe(), "tasks": {}}, "no key 'tasks': did you mean 'task'?"),
        (sub("task__inputs", "text"), "no key of task 'inputs': did you mean 'input'?"),
        (sub("limit__minute", 3), "no key of limit 'minute': did you mean 'minutes'?"),
        (sub("bar__macro_f2", 0.5), "did you mean 'macro_f1'?"),
        (sub("bar__forgeting", 0.5), "did you mean 'forgetting'?"),
        (sub("bar", {"macro_f1": 0.5, "accuracy": 0.5}), "the bar names 2 metrics"),
        (sub("bar__macro_f1", 85), "nothing can clear it: its best is 1"),
        (sub("bar__macro_f1", -0.1), "bar: macro_f1 is -0.1, and everything clears it: it is never below 0"),
        (sub("bar__matthews", -1.5), "everything clears it: it is never below -1"),
        (recipe(task__target="tags", task__separator="&", bar__hamming_loss=1.5), "everything clears it: it is never above 1"),
        (sub("bar__forgetting", -0.1), "bar: forgetting is -0.1, and the untouched base forgets nothing"),
        (sub("bar__macro_f1", "high"), "bar: macro_f1 is 'high', not a number"),
        (sub("bar__macro_f1", float("nan")), "not a number"),
        (sub("bar__rouge_l", 0.5), "the bar is set on rouge_l, which is not measured in this task"),
        (sub("bar__volume", -3), "volume is -3"),
        (sub("bar", [1]), "bar is [1]"),
        (sub("evaluate__robust", True), "no key of evaluate 'robust': did you mean 'robustness'?"),
        (sub("evaluate__robustness", ["typo"]), "no perturbation 'typo': did you mean 'typos'?"),
        (sub("evaluate__robustness", {"shares": 1}), "no setting of robustness 'shares': did you mean 'share'?"),
        (sub("evaluate__robustness", []), "robustness: perturb is []"),
        (sub("evaluate__robustness", ["case", "case"]), "robustness: perturb is ['case', 'case']"),
        (sub("evaluate__robustness", {"share": 0}), "robustness: share is 0"),
        (sub("evaluate__robustness", {"rows": -1}), "robustness: rows is -1"),
        (
            sub("evaluate__robustness", {"perturb": ["case"], "instructions": ["Sort."]}),
            "instructions are given, and they are not asked",
        ),
        (sub("evaluate__robustness", {"instructions": [" "]}), "instructions are given, and one is empty"),
        (sub("evaluate__robustness", 3), "the settings of robustness are 3"),
        (sub("evaluate__fairness", "groups"), "no column 'groups': did you mean 'group'?"),
        (sub("evaluate__fairness", {"by": "group", "least": 0}), "fairness: least is 0"),
        (sub("evaluate__fairness", ""), "fairness: by is an empty text"),
        (sub("evaluate__fairness", {"least": 3}), "fairness names no by"),
        ({**mixed({}), "evaluate": {"fairness": "group"}}, "fairness is of one data set"),
        (sub("evaluate__toxicity", "rude.jsonl"), "toxicity is of text that is written freely, and this task is of kind classify"),
        (sub("evaluate__harmlessness", "kinder.jsonl"), "harmlessness is of text that is written freely"),
        (sub("evaluate__reward", "judge"), "reward is of text that is written freely"),
        (recipe(**WRITTEN, evaluate={"reward": "gone"}), "reward is gone, which is no reward model"),
        (recipe(**WRITTEN, evaluate={"reward": "no_judge"}), "reward is no_judge, which is no reward model"),
        (recipe(**WRITTEN, evaluate={"reward": {"node": "judge", "tokens": 0}}), "reward: tokens is 0"),
        (recipe(**WRITTEN, evaluate={"harmlessness": "gone.jsonl"}), "harmlessness: there is no"),
        (recipe(**WRITTEN, evaluate={"harmlessness": "rude.jsonl"}), "rude.jsonl holds no preferences"),
        (recipe(**WRITTEN, evaluate={"harmlessness": {"data": "kinder.jsonl", "tokens": 0}}), "tokens is 0"),
        (recipe(**WRITTEN, evaluate={"toxicity": "bare.jsonl"}), "toxicity: cannot tell which column"),
        (recipe(**WRITTEN, evaluate={"toxicity": "gone.jsonl"}), "toxicity: there is no"),
        (
            recipe(**WRITTEN, evaluate={"toxicity": {"data": "rows.jsonl", "input": "text", "target": "label"}}),
            "which of money, sport, weather are toxic texts called?",
        ),
        (recipe(**WRITTEN, evaluate={"toxicity": {"data": "rude.jsonl", "toxic": "rude"}}), "toxic is 'rude', which no row has"),
        (sub("evaluate__energy", {"intensity": -1}), "energy: intensity is -1"),
        (sub("evaluate__energy", {"watts": -1}), "energy: watts is -1"),
        (sub("evaluate__energy", {"intensity": float("nan")}), "energy: intensity is nan"),
        (
            {"task": {"kind": "text", "data": "rows.jsonl"}, "base": "base", "evaluate": {"robustness": True}},
            "this task is of kind text",
        ),
        (COMPARED | {"evaluate": {"robustness": True}}, "evaluate: robustness is of rows that are asked and answered"),
        (COMPARED | {"evaluate": {"fairness": "group"}}, "evaluate: fairness is of rows that are asked and answered"),
        (sub("task__metric", "macrof1"), "no metric 'macrof1': did you mean 'macro_f1'?"),
        (sub("task__metric", "own:halve"), "no metric in own 'halve': did you mean 'half'?"),
        (sub("task__metric", 3), "metric"),
        (sub("task__also", "accuracy"), "also is 'accuracy'"),
        (sub("task__also", ["acuracy"]), "no metric 'acuracy': did you mean 'accuracy'?"),
        (sub("task__references", "togeter"), "no way to take references 'togeter': did you mean 'together'?"),
        (sub("task__references", "together"), "a row of kind classify has one right answer"),
        (sub("task__target", {"train": "label", "tset": "label"}), "no split 'tset': did you mean 'test'?"),
        (sub("task__target", {"train": "label", "test": "label"}), "target names train, test, and the data has train"),
        (sub("task__target", {"train": 3}), "target: train is 3"),
        (sub("task__kind", "classification"), "no kind of task 'classification': did you mean 'classify'?"),
        (sub("task__kind", None), "does not say what kind of task"),
        (sub("task__data", None), "names no data"),
        (sub("task__data", 7), "data is 7"),
        (sub("task__data", {"trian": "rows.jsonl"}), "no split 'trian': did you mean 'train'?"),
        (sub("task__data", {"hub": "a/b", "subst": "x"}), "no key of hub data 'subst': did you mean 'subset'?"),
        (sub("task__target", "labels"), "did you mean 'label'?"),
        (sub("task__input", "{{ txt }}"), "txt"),
        (sub("task__input", ["text"]), "input is ['text']"),
        (sub("task__labels", "sport"), "labels is 'sport'"),
        (sub("task__labels", ["sport", "money"]), "is none of the labels"),
        (sub("task__rows", {"trains": 3}), "no split 'trains': did you mean 'train'?"),
        (sub("task__rows", {"train": -3}), "rows: train is -3"),
        (sub("task__rows", 100), "rows is 100"),
        (sub("task__template", "no row"), "never shows the row"),
        (sub("task__template", "{{ input"), "template"),
        (sub("task__templates", "clasify"), "no set of templates 'clasify': did you mean 'classify'?"),
        (sub("task__templates", 7), "templates is 7"),
        (sub("task__templates", ["no row"]), "never shows the row"),
        (recipe(task__templates="classify", task__template="{{ input }}"), "`template` and `templates` are both given"),
        (sub("task__class_weights", "balance"), "class_weights is 'balance'"),
        (sub("task__class_weights", [1]), "class_weights is [1]"),
        (sub("task__class_weights", {"sports": 2}), "no label to weigh 'sports': did you mean 'sport'?"),
        (sub("task__class_weights", {"sport": 0}), "class_weights: sport is 0"),
        (sub("task__class_weights", {"sport": float("nan")}), "class_weights: sport is nan"),
        (recipe(task__kind="generate", task__class_weights="balanced"), "this task is of kind generate"),
        (recipe(**COUNTED, task__answer="numbr"), "no way to read an answer 'numbr': did you mean 'number'?"),
        (recipe(**COUNTED, task__answer=7), "answer is 7"),
        (sub("task__answer", "number"), "answer: number reads a text that is written, and this task is of kind classify"),
        (recipe(**COUNTED, task__answer="number", task__tests="other"), "answer: number, and tests is given"),
        (recipe(task__kind="generate", task__answer="number"), "holds none: 'sport'"),
        (recipe(**OBJECTS, task__answer="number"), "answer: number, and the target holds objects"),
        ({**mixed(), "task": {**mixed()["task"], "answer": "number"}}, "'answer' is said of the whole mixture"),
        (sub("task__multi_label", "yes"), "multi_label is 'yes'"),
        (recipe(task__kind="generate", task__multi_label=True), "this task is of kind generate"),
        (recipe(task__kind="generate", task__separator=";"), "this task is of kind generate"),
        (recipe(task__kind="generate", task__target=["daily", "weekly"]), "this task is of kind generate"),
        (recipe(task__target="tags", task__separator=";", task__multi_label=False), "multi_label is false, but separator is ';'"),
        (recipe(task__target=["daily", "weekly"], task__multi_label=False), "multi_label is false, but target lists a column"),
        (recipe(task__target=["daily", "weekly"], task__separator=";"), "separator parts labels in one"),
        (sub("task__target", ["daily"]), "target lists the columns daily"),
        (sub("task__target", ["daily", "weakly"]), "no column 'weakly': did you mean 'weekly'?"),
        (sub("task__target", ["daily", "text"]), "`text` is 'match and goal"),
        (recipe(task__target="tags", task__separator=""), "separator is an empty text"),
        (recipe(task__separator=";"), "separator is ';', and it stands in no row's label"),
        (recipe(task__multi_label=True), "no row has two labels"),
        (recipe(task__target="tags", task__separator="&", task__class_weights="balanced"), "these rows may have several"),
        (recipe(task__target="tags", task__separator="&", task__templates="classify"), "ask for one label"),
        (mixed({"wieght": 2}), "no setting of a set of the mixture 'wieght': did you mean 'weight'?"),
        (mixed({"at_most": 5}), "'at_most' is said of the whole mixture"),
        (mixed(temprature=2), "no setting of a mixture 'temprature': did you mean 'temperature'?"),
        (mixed(temperature="hot"), "a mixture: temperature is 'hot'"),
        ({**mixed(), "task": {**mixed()["task"], "input": "text"}}, "'input' is said of the whole mixture"),
        ({**mixed(), "task": {"kind": "generate", "data": {"mixture": "rows.jsonl"}}}, "mixture is 'rows.jsonl'"),
        ({**mixed(), "task": {**mixed()["task"], "kind": "choose"}}, "this task is of kind choose"),
        (sub("task__decoding", {"temprature": 1}), "did you mean 'temperature'?"),
        (sub("task__decoding", {"temperature": -1}), "temperature is -1"),
        (sub("task__decoding", {"top_p": 2}), "top_p is 2"),
        (sub("task__decoding", {"max_new_tokens": 0}), "max_new_tokens is 0"),
        (sub("task__decoding", {"samples": 5}), "5 samples at temperature 0 are all the same"),
        (sub("task", "news.csv"), "'task' is 'news.csv', not a set of keys"),
        (recipe(task={"kind": "text", "data": "rows.jsonl", "system": "Hi"}), "'system' means nothing for plain text"),
        (recipe(task={"kind": "text", "data": "rows.jsonl", "metric": "accuracy"}), "plain text is not measured by accuracy"),
        (recipe(task__metric="perplexity"), "perplexity is of plain text, and this task is of kind classify"),
        (recipe(task__also=["bits_per_byte"]), "bits_per_byte is of plain text"),
        (recipe(task__metric="rouge_l"), "rouge_l is of text that is written, and this task is of kind classify"),
        (recipe(task__also=["span_f1"]), "span_f1 is of tags of words, and this task is of kind classify"),
        (recipe(**WRITTEN, task__metric="macro_f1"), "macro_f1 is of labels, and this task is of kind generate"),
        (recipe(**CHOSEN, task__also=["macro_f1"]), "macro_f1 counts labels, and the rows of this task bring options of their own"),
        (
            recipe(task={"kind": "text", "data": "rows.jsonl"}, base=None, bases=["base", "twin"], bar={"perplexity": 20}),
            "the bar is set on perplexity, which is per token",
        ),
        (recipe(task={"kind": "text", "data": [{"data": "rows.jsonl", "weigth": 2}]}), "did you mean 'weight'?"),
        (recipe(task={"kind": "text", "data": [{"data": "rows.jsonl", "weight": -2}]}), "weight -2"),
        (recipe(task={"kind": "text", "data": [{"data": "rows.jsonl", "episode": 0}]}), "episode"),
        (recipe(task={"kind": "text", "data": [{"data": "rows.jsonl", "where": "((("}]}), "cannot be made"),
        (recipe(task={"kind": "text", "data": [{"data": "rows.jsonl", "text": "nothing_there"}]}), "cannot be made"),
        (recipe(task={"kind": "text", "data": []}), "data is an empty list"),
        (sub("rungs", ["zero_shots"]), "no step 'zero_shots': did you mean 'zero_shot'?"),
        (sub("rungs", ["train"]), "no step 'train'"),
        (sub("rungs", [{"lora": {"rank": 8}}]), "no setting of lora 'rank'"),
        (sub("rungs", [{"lora": {"epoch": 8}}]), "no setting of lora 'epoch': did you mean 'epochs'?"),
        (sub("rungs", [{"lora": {"r": -8}}]), "lora cannot have rank -8"),
        (sub("rungs", [{"lora": {"r": "big"}}]), "lora: r is 'big'"),
        (sub("rungs", [{"lora": 8}]), "the settings of lora are 8"),
        (sub("rungs", [{"lora": {}, "full": {}}]), "is no step"),
        (sub("rungs", [{"few_shot": {"choose": "nearer"}}]), "choose is 'nearer'"),
        (sub("rungs", [{"few_shot": {"choose": "nearest", "order": "grouped"}}]), "cannot use order: grouped with choose: nearest"),
        (sub("rungs", [{"few_shot": {"pool": 50}}]), "reads neither pool nor similarity"),
        (sub("rungs", [{"few_shot": {"choose": "diverse", "pool": 5}}]), "cannot choose 8 examples of a pool of 5"),
        (sub("rungs", [{"chain_of_thought": {"tokens": 0}}]), "chain_of_thought cannot use tokens 0"),
        (sub("rungs", [{"chain_of_thought": {"examples": [{"input": "a", "reason": "b"}]}}]), "chain_of_thought names no examples"),
        (sub("rungs", [{"chain_of_thought": {"examples": [{**WORKED, "why": "c"}]}}]), "chain_of_thought: examples is 'c'"),
        (sub("rungs", [{"self_consistency": {"temperature": 0}}]), "self_consistency cannot use temperature 0"),
        (sub("rungs", [{"self_consistency": {"samples": 1}}]), "self_consistency cannot use samples 1"),
        (sub("rungs", [{"search": {"candidates": 0}}]), "search cannot use candidates 0"),
        (sub("rungs", [{"lora": {"learning_rate": 1e9}}]), "lora cannot use learning_rate 1000000000.0"),
        (sub("rungs", [{"few_shot": {"shots": 0}}]), "few_shot cannot show 0 examples"),
        (sub("rungs", ["lora", "lora"]), "the rung lora stands twice"),
        (sub("rungs", [[]]), "a rung has no steps"),
        (sub("rungs", []), "rungs is []"),
        (sub("rungs", "lora"), "rungs is 'lora'"),
        (sub("rungs", [7]), "7 is no step"),
        (sub("rungs", {"zero_shot": "lora"}), "a rung with other steps is called zero_shot"),
        (sub("rungs", ["own:Missing"]), "step in own 'Missing'"),
        (sub("rungs", ["own:Unfinished"]), "does not say its needs"),
        (sub("rungs", ["nowhere:Step"]), "cannot import 'nowhere'"),
        (sub("rungs", [":Step"]), "cannot import ''"),
        (sub("base", "nowhere/at/all"), "there is no base at 'nowhere/at/all'"),
        (sub("base", "rows.jsonl"), "is a file, not a base"),
        (sub("base", 7), "base is 7"),
        (sub("base", {"shape": {"layer": 1}}), "no key of a shape 'layer': did you mean 'layers'?"),
        (sub("base", {"shape": {"layers": 0, "width": 16, "heads": 2, "vocabulary": 300}}), "layers of the shape"),
        (sub("base", {"url": "localhost", "model": "m"}), "the url of the base is 'localhost'"),
        (sub("base", {"url": "http://a"}), "names no model"),
        (sub("base", {"url": "http://a", "modle": "m"}), "no key of a remote base 'modle': did you mean 'model'?"),
        (sub("base", {"url": "http://a", "model": "m", "concurrency": 0}), "concurrency is 0"),
        (sub("base", {"url": "http://a", "model": "m", "timeout": 0}), "timeout is 0"),
        (sub("base", {"url": "http://a", "model": "m", "timeout": "long"}), "timeout is 'long'"),
        (sub("base", {"url": "http://a", "model": "m", "prices": 3}), "prices is 3"),
        (sub("base", {"url": "http://a", "model": "m", "prices": {"input": 1}}), "the prices name no output"),
        (sub("base", {"url": "http://a", "model": "m", "prices": {"input": 1, "outptu": 1}}), "did you mean 'output'?"),
        (sub("base", {"url": "http://a", "model": "m", "prices": {"input": -1, "output": 1}}), "prices: input is -1"),
        (sub("base", {"url": "http://a", "model": "m", "key_env": 7}), "key_env is no name of an environment variable"),
        (sub("limit__money", 0), "limit: money is 0"),
        (sub("limit__money", "much"), "limit: money is 'much'"),
        (recipe(base={"url": "http://a", "model": "m"}, limit__money=1), "limit: money is 1, and nothing says what m costs"),
        (sub("base", {"id": "base", "revison": "m"}), "no key of a base 'revison': did you mean 'revision'?"),
        (sub("bases", ["base"]), "`base` and `bases` are both given"),
        (recipe(base=None, bases=[]), "bases is []"),
        (recipe(base=None, bases=["base", "base"]), "two bases are called"),
        (sub("limit__memory", "lots"), "limit: memory is 'lots'"),
        (sub("limit__memory", "0GB"), "limit: memory is '0GB'"),
        (sub("limit__memory", 16), "limit: memory is 16, and no unit says of what"),
        (sub("limit__minutes", 0), "limit: minutes is 0"),
        (sub("limit__minutes", float("inf")), "limit: minutes is inf"),
        (sub("seed", "one"), "seed 'one' is not a whole number"),
        (sub("seed", -1), "seed -1 is not a whole number"),
        (sub("name", "a/b"), "name 'a/b' cannot be a folder's"),
        (sub("name", [1]), "name [1] cannot be a folder's"),
        (sub("name", "x" * 101), "cannot be a folder's"),
        (sub("base", []), "base is []"),
        (sub("task__input", "label"), "input and target are both 'label'"),
        (sub("task__data", {"train": "rows.jsonl", "valid": "rows.jsonl"}), "no split 'valid'"),
        (sub("rungs", [{"lora": {"epochs": True}}]), "lora: epochs is true"),
        (sub("rungs", [{"lora": {"epochs": "30k"}}]), "lora: epochs is '30k'"),
        (sub("trust_remote_code", "yes"), "neither true nor false"),
    ],
)
def test_what_cannot_be_meant_is_said(given: Given, said: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(BadInput) as refused:
        read(given, folder)
    assert said in refused.value.message
    assert refused.value.hint or said.startswith("bar")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "it holds nothing"),
        (b"- a\n- b\n", "it holds a list"),
        (b"just a word", "it holds a text"),
        (b"task: [unclosed", "is not YAML, line"),
        (b"task:\n\tkind: x", "is not YAML, line 2"),
        (b"task: {kind: classify}\ntask: {kind: text}\n", "the key 'task' stands twice"),
        (b"task: {kind: a, input: {{ text }}}\n", "a key that is itself a list or a set of keys"),
        (b"seed: 2024-99-99", "is not YAML"),
        (b"a: " + b"[" * 5000, "is not YAML"),
        (b"\x89PNG\r\n\x1a\n\x00\xff", "is not text"),
        (b"a: \x00", "is not YAML"),
        (b"--- 1\n--- 2\n", "is not YAML"),
        (b"!!python/object:os.system ls", "is not YAML"),
        (b"1: 2", "no key '1'"),
    ],
)
def test_files_that_are_no_recipe(text: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_bytes(text)
    with pytest.raises(BadInput, match=said) as refused:
        load(tmp_path / "r.yaml")
    assert refused.value.hint


def test_a_byte_order_mark_is_no_part_of_a_recipe(folder: Path) -> None:
    (folder / "bom.yaml").write_bytes(b"\xef\xbb\xbf" + yaml.safe_dump(recipe()).encode())
    assert load(folder / "bom.yaml").name == "small"


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("seed", "'seed' is not key=value"),
        ("=3", "'=3' is not key=value"),
        ("sed=3", "no key 'sed': did you mean 'seed'?"),
        ("task.metrik=x", "no key of task 'metrik': did you mean 'metric'?"),
        ("base.id=3", "'base.id' cannot be set: base is 'base', not keys"),
        ("rungs.lora=3", "'rungs.lora' cannot be set"),
        ("seed=[1", "the value of 'seed=[1' is not YAML"),
        ("task.data.test=nowhere.csv", "there is no file nowhere.csv"),
    ],
)
def test_overrides_that_cannot_be_meant(word: str, said: str, folder: Path) -> None:
    with pytest.raises(BadInput) as refused:
        read(recipe(rungs=["lora"]), folder, word)
    assert said in refused.value.message
    assert refused.value.hint


def test_a_bar_may_lie_where_its_metric_goes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert read(recipe(bar={"matthews": -0.5}), folder).bar.at_least == -0.5
    assert read(recipe(task__metric="own:half", bar={"own:half": -3}), folder).bar.at_least == -3
    assert read(recipe(**WRITTEN, task__metric="accuracy"), folder).task.metric == "accuracy"


def test_every_metric_is_found_by_its_name() -> None:
    found: Sequence[str] = metric_names()
    assert {"accuracy", "macro_f1", "bits_per_byte"} <= set(found)


def test_metrics_may_have_settings(folder: Path) -> None:
    also = [{"length": {"at_most": 3, "unit": "words"}}, "format {of: line}", {"forbidden_words": {"words": ["no, never", "[x]"]}}]
    found = read(recipe(task__also=also), folder)
    assert found.task.also == (
        "length {at_most: 3, unit: words}",
        "format {of: line}",
        "forbidden_words {words: ['no, never', '[x]']}",
    )
    assert [find_metric(name).name for name in found.task.also] == list(found.task.also)
    assert load(yaml.safe_load(resolved_yaml(found))).task.also == found.task.also
    full = "bert_score {encoder: pocket-encoder, layer: 3}"  # one that is called by all of them
    for named in ("bert_score", {"bert_score": {"layer": 3}}):
        found = read(recipe(task__metric=named, bar={"bert_score": 0.9}), folder)
        assert (found.task.metric, found.bar.metric) == (full, full)
        assert load(yaml.safe_load(resolved_yaml(found))).bar == found.bar
    for wrong, said in (
        ({"length": {"at_mots": 3}}, "no setting of length 'at_mots': did you mean 'at_most'?"),
        ({"length": 3}, "is no metric"),
        ({"accuracy": {"at_most": 3}}, "accuracy takes no settings"),
        ("length", "length sets no limit"),
        ({"length": {"at_most": "many"}}, "length: at_most is 'many'"),
    ):
        with pytest.raises(BadInput) as refused:
            read(recipe(task__also=[wrong]), folder)
        assert said in refused.value.message
        assert refused.value.hint


def test_the_pocket_encoder_is_small() -> None:
    written = yaml.safe_load((Path(__file__).parents[1] / "recipes" / "pocket-encoder.yaml").read_text("utf-8"))
    base = from_shape("pocket-encoder", written["base"]["shape"])
    assert base.parameters <= 12e6  # 24 MB in bfloat16
    steps = [find_step(name)(**settings) for one in written["rungs"][-1] for name, settings in one.items()]
    assert [type(step).__name__ for step in steps] == ["Pretrain", "SentenceDistil"] * 2  # in two editions


@pytest.mark.parametrize(("written", "meant"), [("30k", 30_000), ("1.5M", 1_500_000), ("2B", 2_000_000_000), (7, 7)])
def test_a_whole_number_may_be_written_short(written: Any, meant: int) -> None:
    assert recipes._settings(Pretrain, {"tokens": written}, "pretrain").tokens == meant


@pytest.mark.parametrize("given", [5, ["a"]])
def test_what_is_no_recipe_at_all(given: Any) -> None:
    with pytest.raises(BadInput, match="is no recipe"):
        load(given)
    with pytest.raises(BadInput, match="is not key=value"):
        load(recipe(), [{"seed": 1}])  # type: ignore[list-item]


def test_text_of_which_nothing_is_held_out_is_refused(tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("hello world\n")
    given = {"task": {"kind": "text", "data": str(tmp_path / "one.txt")}, "rungs": ["zero_shot"]}
    with pytest.raises(BadInput, match="no text is held out for dev: there is nothing to measure on; one: 1 documents; 11 char"):
        load(given)
