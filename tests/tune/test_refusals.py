"""Bases and settings that do not go together are refused in the plan, with what to do; those that only look so work."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, BertConfig, GPT2Config

from tuneladder.errors import Refused
from tuneladder.ladder.tree import root_of
from tuneladder.model.inspect import inspect
from tuneladder.model.packed import pack
from tuneladder.model.shelf import Shelf
from tuneladder.model.soft import attach_prompt
from tuneladder.task.encode import Encoded
from tuneladder.task.pairs import Paired
from tuneladder.train.batches import packed, pad, pad_pairs
from tuneladder.train.losses import next_token
from tuneladder.tune.full import Full
from tuneladder.tune.linear_probe import LinearProbe
from tuneladder.tune.lora import Lora
from tuneladder.types import Pace, Split

PACE = Pace(1e9)
LORA = Lora(r=2, epochs=1, batch_size=5, learning_rate=1e-2)


@pytest.fixture
def few(tiny_task):
    rows = tiny_task.examples
    return replace(tiny_task, examples=Split(rows.train[:10], rows.dev[:3], ()))


def test_a_head_of_another_size_is_refused(tmp_path, few):
    config = BertConfig(
        vocab_size=50, hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=48, num_labels=2
    )
    config.architectures = ["BertForSequenceClassification"]
    config.save_pretrained(tmp_path / "judge")
    root = root_of(inspect(str(tmp_path / "judge")), few)
    for step in (LORA, Full()):
        with pytest.raises(Refused, match="judge brings a head of 2 classes, and the task has 3 labels") as error:
            step.plan(root, few, PACE)
        assert "as many labels" in error.value.hint
    two = replace(few, labels=few.labels[:2])
    LORA.plan(root_of(root.base, two), two, PACE)
    LinearProbe().plan(root, few, PACE)  # a head of its own, on the body alone


def test_a_lora_on_a_head_alone_is_refused(tmp_path, tiny_encoder, few):
    config = BertConfig(vocab_size=50, hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=48)
    config.architectures = ["BertModel"]
    config.save_pretrained(tmp_path / "bare")
    for base, target, has in ((tiny_encoder, "head.dense", "Wqkv"), (inspect(str(tmp_path / "bare")), "pooler.dense", "query")):
        with pytest.raises(Refused, match=f"LoRA cannot go on '{target}' of .*: a head learns whole") as error:
            replace(LORA, targets=(target,)).plan(root_of(base, few), few, PACE)
        assert has in error.value.hint


def test_rows_longer_than_the_positions_are_cut_and_counted(shaped, few, lend):
    base, kit = inspect(str(shaped("gpt2"))), lend()
    assert base.context == 128
    with pytest.raises(Refused, match="max_length 129 is more than the 128 tokens that gpt2 reads at once") as error:
        replace(LORA, max_length=129).plan(root_of(base, few), few, PACE)
    assert "leave it out" in error.value.hint
    row = few.examples.train[0]
    long = replace(row, turns=(replace(row.turns[-1], text="Where did my parcel go? " * 60),))
    task = replace(few, examples=replace(few.examples, train=(long, *few.examples.train[1:])))
    LORA.apply(root_of(base, task), task, kit)
    counted = json.loads((kit.folder / "rows.json").read_text())
    assert (counted["kept"], counted["cut"], counted["dropped"]) == (10, 1, 0)


def test_rows_are_padded_to_no_more_than_the_positions(shaped, few, lend, tmp_path):
    """Padding comes in whole tiles, and a position table may end within one. With dropout, no rows lie side by side."""
    odd = Path(shutil.copytree(shaped("gpt2"), tmp_path / "odd"))
    config = GPT2Config.from_pretrained(odd, n_positions=100, resid_pdrop=0.1)
    AutoModelForCausalLM.from_config(config).float().save_pretrained(odd)
    row = few.examples.train[0]
    long = replace(row, turns=(replace(row.turns[-1], text="Where did my parcel go? " * 60),))
    task = replace(few, examples=replace(few.examples, train=(long, *few.examples.train[1:])))
    base, kit = inspect(str(odd)), lend()
    LORA.apply(root_of(base, task), task, kit)
    assert json.loads((kit.folder / "rows.json").read_text())["cut"] == 1
    pairs = [Paired([1] * size, [2] * size) for size in (100, 90)]
    micro = pad_pairs(pairs, start=0, most=base.context)
    assert micro.ids.shape == micro.answers.shape == (2, 100)
    assert pad_pairs(pairs, start=0).ids.shape == (2, 112)


def test_a_tokenizer_without_a_pad_token_changes_nothing(tiny_folder, few, lend, tmp_path):
    bare = Path(shutil.copytree(tiny_folder, tmp_path / "bare" / "tiny"))
    config = json.loads((bare / "tokenizer_config.json").read_text())
    del config["pad_token"]
    (bare / "tokenizer_config.json").write_text(json.dumps(config))
    assert AutoTokenizer.from_pretrained(bare).pad_token is None
    made = []
    for place in (tiny_folder, bare):
        kit = lend(place.parent.name)
        variant = LORA.apply(root_of(inspect(str(place)), few), few, kit)
        with Shelf("cpu", dtype=torch.float32).engine(variant) as engine:
            scores = engine.score([row.turns for row in few.examples.dev], [few.labels] * 3)
        made.append(((kit.folder / "adapter_model.safetensors").read_bytes(), scores))
    assert made[0] == made[1]


def test_rows_with_a_soft_prompt_are_packed_without_hearing_each_other(tiny_folder):
    """PEFT's soft prompts cannot be packed: a prompt stands before the whole sequence. Ours is tokens of each row."""
    model = AutoModelForCausalLM.from_pretrained(tiny_folder).float()
    made = attach_prompt(model, [7, 9, 11], seed=0)
    rows = [Encoded([*made.soft, *ids], [False] * 5 + [True] * (len(ids) - 2), 0) for ids in ([5, 6, 7, 8, 30], [9, 12, 40])]
    apart = next_token(made.model, pad(rows))
    core = next(module for module in made.model.modules() if hasattr(module, "set_attn_implementation"))
    assert pack(core)
    assert next_token(made.model, packed(rows)).item() == pytest.approx(apart.item(), rel=1e-5)


@pytest.mark.parametrize(
    ("below", "hint"), [("lora", "`full` after it adds the first into the weights"), ("prompt_tuning", "no weights")]
)
def test_the_hint_about_two_adapters_leads_somewhere(tiny_base, few, below, hint):
    variant = replace(root_of(tiny_base, few), steps=(below,), adapter="somewhere")
    with pytest.raises(Refused, match="lora cannot lie over another adapter") as caught:
        LORA.plan(variant, few, PACE)
    assert hint in caught.value.hint
