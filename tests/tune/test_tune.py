"""What each tuning step's settings do, what it refuses, and what it leaves in its folder."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import pytest
import torch
from safetensors.torch import load_file

from tuneladder.errors import BadInput, Refused
from tuneladder.ladder.tree import root_of
from tuneladder.model.shelf import Shelf
from tuneladder.train.loop import read_log
from tuneladder.tune.adapter import Adapter
from tuneladder.tune.full import Full
from tuneladder.tune.ia3 import Ia3
from tuneladder.tune.lora import Lora
from tuneladder.tune.prefix_tuning import PrefixTuning
from tuneladder.tune.pretrain import Pretrain
from tuneladder.tune.prompt_tuning import PromptTuning
from tuneladder.types import Pace, Shots, Split, Text

PACE = Pace(1e9)
LORA = Lora(epochs=2, batch_size=5, learning_rate=1e-2)
FULL = Full(epochs=2, batch_size=5, learning_rate=1e-3)
IA3 = Ia3(epochs=2, batch_size=5, learning_rate=1e-2)
ADAPTER = Adapter(epochs=2, batch_size=5, learning_rate=1e-2)
PROMPT = PromptTuning(tokens=4, epochs=2, batch_size=5, learning_rate=1e-2)
PREFIX = PrefixTuning(tokens=4, epochs=2, batch_size=5, learning_rate=1e-2)
PRETRAIN = Pretrain(tokens=512, length=32, batch_size=4, learning_rate=2e-3, compile="off", looks=2)

# every setting of every step, changed: something in the folder must change with it
CHANGES = [
    (LORA, {"r": 4}),
    (LORA, {"alpha": 4.0}),
    (LORA, {"dropout": 0.3}),
    (LORA, {"targets": "attention"}),
    (LORA, {"targets": ("q_proj",)}),
    (LORA, {"dora": True}),
    (LORA, {"r": 4, "rslora": True}),
    (LORA, {"learning_rate": 5e-3}),
    (LORA, {"learning_rate": 0.0}),
    (LORA, {"epochs": 1}),
    (LORA, {"batch_size": 4}),
    (LORA, {"max_length": 30}),
    (LORA, {"warmup": 0.9}),
    *(
        (step, change)
        for step in (IA3, ADAPTER, PROMPT, PREFIX)
        for change in ({"learning_rate": 5e-3}, {"epochs": 1}, {"batch_size": 4}, {"max_length": 34}, {"warmup": 0.9})
    ),
    (ADAPTER, {"learning_rate": 0.0}),
    (ADAPTER, {"r": 4}),
    (ADAPTER, {"placement": "houlsby"}),
    (PROMPT, {"tokens": 5}),
    (PREFIX, {"tokens": 5}),
    (FULL, {"learning_rate": 5e-4}),
    (FULL, {"learning_rate": 0.0}),
    (FULL, {"epochs": 1}),
    (FULL, {"batch_size": 4}),
    (FULL, {"max_length": 30}),
    (FULL, {"weight_decay": 1.0}),
    (FULL, {"warmup": 0.9}),
    (PRETRAIN, {"tokens": 256}),
    (PRETRAIN, {"length": 16}),
    (PRETRAIN, {"batch_size": 2}),
    (PRETRAIN, {"learning_rate": 1e-3}),
    (PRETRAIN, {"weight_decay": 1.0}),
    (PRETRAIN, {"warmup": 0.9}),
    (PRETRAIN, {"looks": 1}),
]
STEPS = (LORA, FULL, IA3, ADAPTER, PROMPT, PREFIX, PRETRAIN)
# of pretrain: tried below, in test_pretrain.py, and on an encoder in train/test_pairing.py
ELSEWHERE = {"answers", "compile", "replay", "next_sentence", "teacher", "sentences", "readings", "toward"}


def outcome(step, base, task, kit):
    """All that a step learned, and how often it looked."""
    step.apply(root_of(base, task), task, kit)
    weights = b"".join(path.read_bytes() for path in sorted(kit.folder.glob("*.safetensors")))
    return weights, [tick.dev for tick in read_log(kit.folder)]


@pytest.fixture(scope="module")
def few(tiny_task):
    """A handful of rows: enough for a setting to show."""
    rows = tiny_task.examples
    return replace(tiny_task, examples=Split(rows.train[:10], rows.dev[:3], rows.test[:3]))


@pytest.fixture(scope="module")
def plain(tiny_base, few, tmp_path_factory):
    from tuneladder.store import Store
    from tuneladder.types import Kit

    shelf = Shelf("cpu", dtype=torch.float32)
    kits = {
        step: Kit(tmp_path_factory.mktemp("plain"), Store(tmp_path_factory.mktemp("store")), 0, "cpu", None, None, shelf)
        for step in STEPS
    }
    return {step: outcome(step, tiny_base, few, kit) for step, kit in kits.items()}


@pytest.mark.parametrize(("step", "change"), CHANGES, ids=[f"{type(step).__name__}-{change}" for step, change in CHANGES])
def test_every_setting_changes_what_is_learned(step, change, plain, tiny_base, few, lend):
    assert outcome(replace(step, **change), tiny_base, few, lend()) != plain[step]


def test_no_setting_is_left_out():
    for step in STEPS:
        named = {name for other, change in CHANGES if other is step for name in change}
        assert named | ELSEWHERE >= {field.name for field in fields(step)}, type(step)


def test_compile_is_for_work_that_outlasts_it(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    assert [Pretrain(tokens=tokens, compile=how)._compiled for tokens in (10_000, 10**7) for how in ("auto", "on", "off")] == [
        False, True, False, True, True, False,
    ]  # fmt: skip
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert not Pretrain(tokens=10**7)._compiled  # without a compiler there is nothing to compile with


@pytest.mark.parametrize("step", [LORA, FULL], ids=["lora", "full"])
def test_it_learns(step, tiny_base, tiny_task, lend):
    kit = lend()
    replace(step, epochs=5, batch_size=10).apply(root_of(tiny_base, tiny_task), tiny_task, kit)
    log = read_log(kit.folder)
    assert log[-1].loss < 0.75 * log[0].loss
    seen = [tick.dev for tick in log if tick.dev is not None]
    assert min(seen) < 0.85 * seen[0]


def test_lora_is_as_large_as_foretold(tiny_base, tiny_task, lend):
    kit, root = lend(), root_of(tiny_base, tiny_task)
    _, cost = LORA.plan(root, tiny_task, PACE)
    LORA.apply(root, tiny_task, kit)
    weights = load_file(kit.folder / "adapter_model.safetensors")
    assert 4 * sum(weight.numel() for weight in weights.values()) == cost.disk
    settings = json.loads((kit.folder / "adapter_config.json").read_text())
    assert (settings["r"], settings["lora_alpha"]) == (8, 16)
    assert settings["base_model_name_or_path"] == tiny_base.location


def test_rows_are_counted(tiny_base, tiny_task, lend):
    kit = lend()
    replace(LORA, max_length=40).apply(root_of(tiny_base, tiny_task), tiny_task, kit)
    rows = json.loads((kit.folder / "rows.json").read_text())
    assert rows["kept"] == len(tiny_task.examples.train)
    assert rows["cut"] > 0
    assert rows["dropped"] == 0


def test_bfloat16_weights_are_saved_where_they_are_held_so(tiny_base, tiny_task, lend):
    kit = lend(shelf=Shelf("cpu", dtype=torch.bfloat16))
    made = FULL.apply(root_of(tiny_base, tiny_task), tiny_task, kit)
    assert {weight.dtype for weight in load_file(kit.folder / "model.safetensors").values()} == {torch.bfloat16}
    assert json.loads((kit.folder / "config.json").read_text())["dtype"] == "bfloat16"
    with kit.shelf.live(made) as live:
        assert live.model.dtype == torch.bfloat16


def test_what_is_refused(tiny_base, tiny_task):
    root = root_of(tiny_base, tiny_task)
    with pytest.raises(Refused, match="lora learns from examples, and this task has none"):
        LORA.plan(root, replace(tiny_task, examples=Split()), PACE)
    apart = "one of `kind: text` pretrains, and the folder that it makes in runs/.store is the `base` of one with rows"
    with pytest.raises(Refused, match=f"(?s)full learns from examples.*{apart}"):
        FULL.plan(root, replace(tiny_task, kind="text"), PACE)
    with pytest.raises(Refused, match=f"(?s)pretrain needs plain text.*{apart}"):
        PRETRAIN.plan(root, replace(tiny_task, text=Text()), PACE)
    with pytest.raises(Refused, match="another adapter"):
        LORA.plan(LORA.plan(root, tiny_task, PACE)[0], tiny_task, PACE)
    with pytest.raises(Refused, match="no linear module is called 'query'"):
        Lora(targets=("query",)).plan(root, tiny_task, PACE)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (Lora, {"r": 0}),
        (Lora, {"r": -8}),
        (Lora, {"dropout": 1.0}),
        (Lora, {"dropout": -0.1}),
        (Lora, {"alpha": -1.0}),
        (Lora, {"epochs": 0}),
        (Lora, {"batch_size": 0}),
        (Lora, {"learning_rate": -1.0}),
        (Lora, {"max_length": -1}),
        (Lora, {"warmup": -0.1}),
        (Lora, {"warmup": 1.5}),
        (Lora, {"targets": ()}),
        (Full, {"epochs": -1}),
        (Full, {"batch_size": 0}),
        (Full, {"learning_rate": -1.0}),
        (Full, {"max_length": -1}),
        (Full, {"weight_decay": -1}),
        (Full, {"warmup": 2}),
        (Pretrain, {"tokens": 0}),
        (Pretrain, {"length": -1}),
        (Pretrain, {"batch_size": 0}),
        (Pretrain, {"learning_rate": 0.0}),
        (Pretrain, {"looks": 0}),
        (Pretrain, {"weight_decay": -0.1}),
        (Pretrain, {"warmup": -1}),
    ],
)
def test_settings_that_make_no_sense(kind, settings):
    with pytest.raises(BadInput):
        kind(**settings)


@pytest.mark.parametrize("step", [LORA, FULL])
def test_a_row_that_the_prompt_shows_is_not_learned(step, tiny_base, few, lend):
    root = root_of(tiny_base, few)
    shown = replace(root, prompt=replace(root.prompt, shots=Shots(3, "fixed", few.examples.train[:3])))
    for variant, rows in ((root, 10), (shown, 7)):
        kit = lend(f"{type(step).__name__}-{rows}")
        step.apply(variant, few, kit)
        assert json.loads((kit.folder / "rows.json").read_text())["kept"] == rows


@pytest.mark.parametrize(("base", "times"), [("tiny_base", 1), ("tiny_encoder", 1), ("tiny_seq2seq", 5)])
def test_fulls_own_rate_is_five_times_as_high_for_a_t5(base, times, request, tiny_task, lend):
    kit, own = lend(), request.getfixturevalue(base)
    Full(epochs=2, batch_size=8).apply(root_of(own, tiny_task), tiny_task, kit)
    highest = max(tick.learning_rate for tick in read_log(kit.folder))
    assert highest == pytest.approx(times * 5e-5 * 1024 / own.width)
