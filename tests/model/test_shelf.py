"""The shelf: what was lent comes back as it was, whatever was done to it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tuneladder.errors import BadInput, Failed, Refused
from tuneladder.model.attach import attach_lora, linear_targets, merged, save_adapter
from tuneladder.model.inspect import inspect
from tuneladder.model.shelf import Shelf, open_tokenizer
from tuneladder.types import Base, Prompt, Turn, Variant

ASK = (Turn("user", "Where did my parcel go?"),)


@pytest.fixture
def shelf(settled):
    return Shelf("cpu", dtype=torch.float32)


@pytest.fixture
def root(tiny_base):
    return Variant(tiny_base, Prompt())


def logits(model):
    with torch.no_grad():
        return model(input_ids=torch.arange(3, 15)[None]).logits


def held(shelf):
    return shelf._held[1]


def lora(model, **settings):
    chosen = {"r": 4, "alpha": 8, "dropout": 0.0, "targets": linear_targets(model, "all"), "seed": 0} | settings
    return attach_lora(model, **chosen)


def vandalise(model):
    """All that a careless step could do without writing to a weight."""
    model.train()
    model.requires_grad_(True)
    logits(model)
    model(input_ids=torch.arange(3, 9)[None]).logits.sum().backward()
    model.register_forward_hook(lambda *_: None)
    model.model.layers[0].register_forward_pre_hook(lambda *_: None)
    model.get_input_embeddings().register_full_backward_hook(lambda *_: None)
    model.enable_input_require_grads()
    model.gradient_checkpointing_enable()
    model.model.layers[1].mlp.down_proj = torch.nn.Identity()
    model.model.layers[0].self_attn.o_proj = torch.nn.Linear(32, 32)
    model.model.layers.append(torch.nn.Linear(2, 2))
    model.model.layers[0].mlp.register_buffer("left", torch.ones(2), persistent=False)
    model.model.layers[0].mlp.__class__ = torch.nn.Identity
    model.lm_head = torch.nn.Linear(32, 7)
    model.forward = lambda *_: None
    model.left_behind = "something"
    model.config.use_cache = False
    model.config.rope_parameters["rope_theta"] = 3.0
    model.generation_config.max_new_tokens = 3
    model.set_attn_implementation("eager")


@pytest.mark.parametrize("broken", [False, True])
def test_what_was_lent_comes_back_as_it_was(shelf, root, fingerprint, broken):
    before = fingerprint(shelf, root)
    model, expected = held(shelf), logits(held(shelf))
    try:
        with shelf.live(root) as live:
            vandalise(live.model)
            if broken:
                raise ZeroDivisionError
    except ZeroDivisionError:
        assert broken
    assert fingerprint(shelf, root) == before
    assert held(shelf) is model
    assert torch.equal(logits(model), expected)


@pytest.mark.parametrize("broken", [False, True])
def test_an_adapter_leaves_nothing_behind(shelf, root, fingerprint, tmp_path, broken):
    before = fingerprint(shelf, root)
    model, expected = held(shelf), logits(held(shelf))
    with shelf.live(root) as live:
        wrapped = lora(live.model, dropout=0.1)
        wrapped.train()
        for name, weight in wrapped.named_parameters():
            if "lora_B" in name:
                torch.nn.init.ones_(weight)
        wrapped(input_ids=torch.arange(3, 9)[None]).logits.sum().backward()
        save_adapter(wrapped, tmp_path, base=root.base.location)
        changed = logits(wrapped.eval())
    assert not torch.allclose(changed, expected)
    adapted = replace(root, adapter=str(tmp_path))
    for _ in range(2):
        with shelf.live(adapted) as live:
            assert not any(weight.requires_grad for weight in live.model.parameters())
            assert torch.equal(logits(live.model), changed)
            if broken:
                break
    assert fingerprint(shelf, root) == before
    assert held(shelf) is model
    assert torch.equal(logits(model), expected)


def through_data(model):
    model.model.layers[0].mlp.up_proj.weight.data.add_(1e-3)


def in_place(model):
    with torch.no_grad():
        model.model.norm.weight[3] = 2.0


def fused_optimizer(model):
    """Its steps do not count in autograd's version counters."""
    model.requires_grad_(True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    model(input_ids=torch.arange(3, 9)[None]).logits.logsumexp(-1).sum().backward()
    optimizer.step()


def merging(model):
    wrapped = lora(model)
    for name, weight in wrapped.named_parameters():
        if "lora_B" in name:
            torch.nn.init.ones_(weight)
    merged(wrapped)


def another_dtype(model):
    model.to(torch.bfloat16)


def another_buffer(model):
    model.model.rotary_emb.inv_freq.mul_(2)


@pytest.mark.parametrize("write", [through_data, in_place, fused_optimizer, merging, another_dtype, another_buffer])
def test_weights_that_were_written_to_are_read_anew(shelf, root, fingerprint, write):
    before = fingerprint(shelf, root)
    model, expected = held(shelf), logits(held(shelf))
    with shelf.live(root) as live:
        write(live.model)
    assert fingerprint(shelf, root) == before
    assert held(shelf) is not model
    assert torch.equal(logits(held(shelf)), expected)


def test_one_base_is_read_once(shelf, root):
    with shelf.engine(root) as engine:
        first = engine.score([ASK], [["parcels", "money"]])
    model = held(shelf)
    with shelf.engine(replace(root, prompt=Prompt(instruction="another"))) as engine:
        assert engine.score([ASK], [["parcels", "money"]]) == first
    assert held(shelf) is model


def test_another_content_at_the_same_place_is_another_base(shelf, root, tmp_path):
    """Two revisions of a hub's model share a name."""
    folder = tmp_path / "base"
    shutil.copytree(root.base.location, folder)
    one = replace(root, base=replace(root.base, location=str(folder), content="one"))
    with shelf.live(one):
        model = held(shelf)
    with shelf.live(replace(one, base=replace(one.base, content="two"))):
        assert held(shelf) is not model


def test_a_model_is_lent_to_one_at_a_time(shelf, root):
    with shelf.live(root), pytest.raises(AssertionError, match="one model at a time"), shelf.live(root):
        pass
    with shelf.live(root) as live:
        assert not live.model.training


def test_a_broken_adapter_leaves_the_base_whole(shelf, root, fingerprint, tmp_path):
    before = fingerprint(shelf, root)
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 4, "target_modules": ["nothing_is_called_this"]}')
    save_file({}, tmp_path / "adapter_model.safetensors")
    with pytest.raises(BadInput, match="nothing_is_called_this"), shelf.live(replace(root, adapter=str(tmp_path))):
        pass
    assert fingerprint(shelf, root) == before


def test_a_base_that_cannot_be_opened_is_named(shelf, root, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(Failed, match=f"tiny cannot be opened from {tmp_path}"), shelf.live(replace(root, weights=str(tmp_path))):
        pass
    with shelf.live(root) as live:  # and the shelf still lends
        assert live.model


def test_frozen_in_its_own_precision_and_learning_in_float32(root):
    shelf = Shelf("cpu", dtype=torch.bfloat16)
    assert shelf.autocast == torch.bfloat16
    with shelf.live(root) as live:
        assert live.model.dtype == torch.bfloat16
        assert not any(weight.requires_grad for weight in live.model.parameters())
        wrapped = lora(live.model)
        assert {weight.dtype for weight in wrapped.parameters() if weight.requires_grad} == {torch.float32}
    with shelf.live(root, dtype=torch.float32) as live:
        assert live.model.dtype == torch.float32


def test_targets_are_found_by_looking(shelf, root):
    with shelf.live(root) as live:
        assert linear_targets(live.model, "attention") == ["k_proj", "o_proj", "q_proj", "v_proj"]
        assert linear_targets(live.model, "all") == ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]
        assert linear_targets(live.model, ("v_proj", "q_proj")) == ["q_proj", "v_proj"]
        with pytest.raises(Refused, match="no linear module is called 'query'"):
            linear_targets(live.model, ("query",))


def test_the_shelf_is_empty_once_closed(shelf, root: Variant):
    with shelf.live(root):
        pass
    shelf.close()
    assert shelf._held is None
    assert isinstance(root.base, Base)


def test_gpt2s_two_projections_of_one_name_are_told_apart() -> None:
    from transformers import AutoModelForCausalLM, GPT2Config

    model = AutoModelForCausalLM.from_config(GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4, n_positions=64))
    targets = linear_targets(model, "attention")
    assert targets == ["attn.c_proj", "c_attn"]
    assert linear_targets(model, targets) == targets
    assert linear_targets(model, "all") == ["c_attn", "c_fc", "c_proj"]
    tuned = attach_lora(model, r=2, alpha=4, dropout=0.0, targets=targets, seed=0)
    taught = {name.rpartition(".lora_")[0] for name, weight in tuned.named_parameters() if weight.requires_grad}
    assert len(taught) == 4
    assert not any(".mlp." in name for name in taught)


@pytest.mark.parametrize("content", ["{}", "nonsense", None])
def test_a_tokenizer_that_cannot_be_opened_is_said_to_be(tiny_folder: Path, tmp_path: Path, content: str | None) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(tiny_folder, folder)
    if content is None:
        for path in (*folder.glob("tokenizer*"), *folder.glob("special_tokens*")):
            path.unlink()
    else:
        (folder / "tokenizer.json").write_text(content)
    with pytest.raises(BadInput, match=r"the tokenizer of broken cannot be opened: .{8}") as refused:
        open_tokenizer(inspect(str(folder)))
    assert not refused.value.message.endswith(":")
