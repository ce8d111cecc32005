"""Steps on decoders of other shapes than Llama's: what they save is opened by plain transformers and PEFT, and answers the same."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from tuneladder.errors import Refused
from tuneladder.ladder.tree import root_of
from tuneladder.model.ask import turns_of
from tuneladder.model.attach import merged
from tuneladder.model.bottleneck import bottleneck_parameters
from tuneladder.model.inspect import inspect
from tuneladder.model.memory import skeleton_of
from tuneladder.model.pace import measured_pace
from tuneladder.model.shelf import Shelf
from tuneladder.store import Store
from tuneladder.train.loop import read_log
from tuneladder.tune.adapter import Adapter
from tuneladder.tune.full import Full
from tuneladder.tune.ia3 import Ia3
from tuneladder.tune.lora import Lora
from tuneladder.tune.prefix_tuning import PrefixTuning
from tuneladder.tune.prompt_tuning import PromptTuning
from tuneladder.tune.selective import Selective
from tuneladder.types import Kit, Pace, Split

PACE = Pace(1e9)
STEPS = {
    "lora": Lora(r=2, epochs=2, learning_rate=1e-2, batch_size=5),
    "full": Full(epochs=2, learning_rate=2e-3, batch_size=5),
    "prompt_tuning": PromptTuning(tokens=4, epochs=2, learning_rate=1e-1, batch_size=5),
    "selective": Selective(epochs=2, learning_rate=2e-3, batch_size=5),
    "ia3": Ia3(epochs=2, learning_rate=5e-2, batch_size=5),
    "prefix_tuning": PrefixTuning(tokens=4, epochs=2, learning_rate=1e-1, batch_size=5),
    "adapter": Adapter(r=4, placement="houlsby", epochs=2, learning_rate=1e-2, batch_size=5),
}
NAMES = ("mixtral", "qwen2_moe", "mamba", "mamba2", "gpt2", "neox", "phi3")


@pytest.fixture(scope="module")
def few(tiny_task):
    rows = tiny_task.examples
    return replace(tiny_task, examples=Split(rows.train[:10], rows.dev[:3], rows.test[:3]))


@pytest.fixture(scope="module")
def made(shaped, few, tmp_path_factory):
    """Each step on each shape, made once."""
    shelf, found = Shelf("cpu", dtype=torch.float32), {}

    def of(step, name):
        if (step, name) not in found:
            root, folder = root_of(inspect(str(shaped(name))), few), tmp_path_factory.mktemp(f"{step}-{name}")
            kit = Kit(folder, Store(tmp_path_factory.mktemp("store")), 0, "cpu", None, None, shelf)
            STEPS[step].plan(root, few, PACE)
            found[step, name] = STEPS[step].apply(root, few, kit)
        return found[step, name]

    return of


def scores(variant, task):
    with Shelf("cpu", dtype=torch.float32).engine(variant) as engine:
        return engine.score([turns_of(variant.prompt, row) for row in task.examples.dev], [task.labels] * 3)


def same_by(plain, variant, task):
    """What plain transformers or PEFT says of the same rows is what we say."""
    with Shelf("cpu", dtype=torch.float32).live(variant) as live:
        coder = replace(live, soft=()).coder
    for row, own in zip(task.examples.dev, scores(variant, task), strict=True):
        for label, score in zip(task.labels, own, strict=True):
            encoded = coder.encode(turns_of(variant.prompt, row), label, close=False)
            ids = torch.tensor([encoded.ids])
            with torch.no_grad():
                logs = torch.log_softmax(plain(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0], -1)
            logs = logs[-len(encoded.ids) :]
            theirs = sum(float(logs[at - 1, ids[0, at]]) for at, learn in enumerate(encoded.learn) if learn)
            assert score == pytest.approx(theirs, abs=2e-4)


@pytest.mark.parametrize("name", NAMES)
def test_a_lora_is_opened_by_peft_and_merged(name, made, few, tmp_path):
    variant = made("lora", name)
    assert scores(variant, few) != scores(replace(variant, adapter=None), few)
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(variant.base.location), variant.adapter).eval()
    same_by(plain, variant, few)
    merged(plain).save_pretrained(tmp_path)
    same_by(AutoModelForCausalLM.from_pretrained(tmp_path).eval(), variant, few)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("step", ["full", "selective"])
def test_weights_are_opened_by_transformers(step, name, made, few):
    variant = made(step, name)
    same_by(AutoModelForCausalLM.from_pretrained(variant.weights).eval(), variant, few)
    assert scores(variant, few) != scores(replace(variant, weights=None), few)
    losses = [tick.loss for tick in read_log(Path(variant.weights))]
    assert sum(losses[2:]) < sum(losses[:2])  # both epochs see the same rows


@pytest.mark.parametrize("name", NAMES)
def test_a_soft_prompt_is_opened_by_peft(name, made, few):
    variant = made("prompt_tuning", name)
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(variant.base.location), variant.adapter).eval()
    same_by(plain, variant, few)


@pytest.mark.parametrize("name", ["gpt2", "phi3"])
@pytest.mark.parametrize("step", ["ia3", "prefix_tuning"])
def test_on_keys_and_values_made_with_queries_peft_answers_the_same(step, name, made, few):
    variant = made(step, name)
    assert scores(variant, few) != scores(replace(variant, adapter=None), few)
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(variant.base.location), variant.adapter).eval()
    same_by(plain, variant, few)


@pytest.mark.parametrize("step", ["ia3", "prefix_tuning"])
def test_keys_that_lie_among_queries_are_refused(step, shaped, few):
    root = root_of(inspect(str(shaped("neox"))), few)
    with pytest.raises(Refused, match="finds no keys and values in GPTNeoX") as error:
        STEPS[step].plan(root, few, PACE)
    assert "query_key_value" in error.value.hint


@pytest.mark.parametrize("name", ["gpt2", "neox", "phi3"])
def test_bottlenecks_stand_behind_other_layers_too(name, made, few):
    variant = made("adapter", name)
    assert scores(variant, few) != scores(replace(variant, adapter=None), few)
    learned = load_file(Path(variant.adapter) / "adapter_model.safetensors")
    assert sum(weight.numel() for weight in learned.values()) == bottleneck_parameters(
        skeleton_of(variant.base), r=4, placement="houlsby"
    )
    assert len({key.rsplit(".", 2)[0] for key in learned}) == 2 * 2  # behind attention and MLP of two layers


@pytest.mark.parametrize("name", ["mixtral", "mamba"])
def test_full_goes_on_from_a_lora(name, made, few, lend):
    below, kit = made("lora", name), lend()
    variant = STEPS["full"].apply(below, few, kit)
    assert variant.adapter is None
    same_by(AutoModelForCausalLM.from_pretrained(variant.weights).eval(), variant, few)


def test_every_expert_has_a_lora_of_its_own(made):
    variant = made("lora", "mixtral")
    config = json.loads((Path(variant.adapter) / "adapter_config.json").read_text())
    assert config["target_parameters"] == ["experts.down_proj", "experts.gate_up_proj"]


@pytest.mark.parametrize("name", ["mamba", "mamba2"])
@pytest.mark.parametrize("step", [PrefixTuning(), Ia3(), Adapter()])
def test_what_needs_attention_or_mlps_is_refused_on_a_state(name, step, shaped, few):
    root = root_of(inspect(str(shaped(name))), few)
    with pytest.raises(Refused, match=r"needs attention|finds no layers to stand behind"):
        step.plan(root, few, PACE)


def test_what_has_no_form_for_experts_is_refused(shaped, few):
    root = root_of(inspect(str(shaped("mixtral"))), few)
    for step in (Lora(dora=True), Lora(dropout=0.1)):
        with pytest.raises(Refused, match="has no form for the experts of mixtral") as error:
            step.plan(root, few, PACE)
        assert "targets: attention" in error.value.hint
        replace(step, targets="attention").plan(root, few, PACE)


def test_a_lora_on_experts_is_planned_with_their_copies(shaped, few):
    root = root_of(inspect(str(shaped("mixtral"))), few)
    memory = [Lora(r=1, targets=targets).plan(root, few, PACE)[1].memory for targets in ("auto", "attention")]
    assert memory[0] - memory[1] >= 2 * 4 * 3 * 32 * 48 * 2


def test_where_the_copies_leave_less_room_passes_are_narrower(shaped, few):
    root = root_of(inspect(str(shaped("mixtral"))), few)
    whole = Lora(r=1).plan(root, few, PACE)[1].memory
    assert Lora(r=1).plan(root, few, replace(PACE, memory=whole - 1))[1].memory < whole


@pytest.mark.parametrize("name", ["mixtral", "mamba", "mamba2"])
def test_the_pace_is_measured(name, shaped):
    assert measured_pace(inspect(str(shaped(name))), Shelf("cpu", dtype=torch.float32)).flops > 0
