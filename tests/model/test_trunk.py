"""Fused layers give what the layers' own way gives: logits, losses and gradients."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, GraniteConfig, LlamaConfig, Qwen2Config

from tuneladder.model import written
from tuneladder.model.attach import attach_lora
from tuneladder.model.packed import pack
from tuneladder.model.trunk import fuse
from tuneladder.task.encode import Encoded
from tuneladder.train.batches import packed
from tuneladder.train.losses import next_token

SMALL = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.2,
}
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
LENGTHS = (150, 64, 7, 130)  # longer rows than a stretch of attention, and shorter


def micro():
    draw = torch.Generator().manual_seed(3)
    ids = [torch.randint(1, 64, (length,), generator=draw).tolist() for length in LENGTHS]
    return packed([Encoded(own, [place % 3 == 1 for place in range(len(own))], 0) for own in ids])


def made(config, targets=(), *, dropout=0.0):
    """A packed model, all of which learns, or a LoRA on `targets` whose B is not zero; and its transformers model."""
    torch.manual_seed(1)
    core = AutoModelForCausalLM.from_config(deepcopy(config)).float()
    with torch.no_grad():
        for weight in core.parameters():
            if weight.dim() == 1:
                weight.add_(0.1 * torch.randn(weight.shape))  # norms that scale, biases that add
    model = attach_lora(core, r=2, alpha=4, dropout=dropout, targets=list(targets), seed=0) if targets else core
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight)
    assert pack(core)
    return model, core


def measured(model, *, autocast=False, bare=False):
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss = next_token(model, micro(), bare=bare)
    return [loss.detach(), *(own.float() for own in torch.autograd.grad(loss, weights))]


@pytest.mark.parametrize("targets", [(), ("q_proj", "v_proj"), ("o_proj", "down_proj"), ALL], ids=["full", "qv", "od", "all"])
@pytest.mark.parametrize("config", [LlamaConfig, Qwen2Config])
def test_loss_and_gradients_are_those_of_the_layers_own_way(config, targets):
    model, core = made(config(**SMALL), targets)
    expected = measured(model)
    assert fuse(core)
    for bare in (False, True):  # with a bare head the last layer goes on with what is read alone
        for mine, own in zip(measured(model, bare=bare), expected, strict=True):
            torch.testing.assert_close(mine, own, rtol=1e-4, atol=1e-3 * float(own.abs().max()))


def test_the_last_layer_computes_what_is_read_alone():
    _, core = made(LlamaConfig(**SMALL))
    assert fuse(core)
    sizes = []
    hooks = [layer.register_forward_hook(lambda own, given, out: sizes.append(out.shape[1])) for layer in core.model.layers]
    rows = micro()
    next_token(core, rows, bare=True)
    for hook in hooks:
        hook.remove()
    assert sizes == [rows.ids.shape[1], len(rows.rows)]


@pytest.mark.parametrize("targets", [(), ("q_proj", "v_proj")], ids=["full", "qv"])
def test_in_sixteen_bits_it_is_no_farther_from_the_truth(targets):
    model, core = made(LlamaConfig(**SMALL), targets)
    truth = measured(model)
    if targets:
        core.to(torch.bfloat16)  # a frozen base is held so; what learns stays float32
        for weight in model.parameters():
            weight.data = weight.data.float() if weight.requires_grad else weight.data
    plain = measured(model, autocast=True)
    assert fuse(core)
    found = measured(model, autocast=True)

    def off(one):
        return sum(float((own - true).norm() / true.norm()) for own, true in zip(one[1:], truth[1:], strict=True))

    assert found[0] == pytest.approx(float(truth[0]), rel=2e-2)
    assert off(found) < 1.2 * off(plain)
    assert [own.dtype for own in found] == [own.dtype for own in plain]


def test_a_lora_that_is_switched_off_is_off():
    model, core = made(LlamaConfig(**SMALL), ("q_proj", "down_proj"))
    with torch.no_grad(), model.disable_adapter():
        expected = next_token(model, micro())
    assert fuse(core)
    with torch.no_grad(), model.disable_adapter():
        assert float(next_token(model, micro())) == pytest.approx(float(expected), rel=1e-5)
    assert float(next_token(model, micro()).detach()) != pytest.approx(float(expected), rel=1e-3)


def test_rows_that_are_not_packed_take_the_layers_own_way():
    _, core = made(LlamaConfig(**SMALL))
    assert fuse(core)
    core.set_attn_implementation("eager")
    ids = torch.tensor([[1, 2, 3, 4]])
    with torch.no_grad():
        cached = core(input_ids=ids, use_cache=True)
        after = core(input_ids=ids[:, -1:], past_key_values=core(input_ids=ids[:, :-1], use_cache=True).past_key_values)
    torch.testing.assert_close(cached.logits[:, -1], after.logits[:, -1])


def test_of_layers_that_differ_in_numbers_alone_one_is_tried(monkeypatch):
    tried, own = [], written._both
    monkeypatch.setattr(written, "_both", lambda layer, *given: tried.append(layer) or own(layer, *given))
    _, core = made(LlamaConfig(**SMALL | {"num_hidden_layers": 4}))
    assert fuse(core)
    assert tried == [core.model.layers[0]]
    tried.clear()
    _, core = made(LlamaConfig(**SMALL | {"num_hidden_layers": 4}))
    core.model.layers[2].self_attn.reach = 3  # a setting that the others have not
    core.model.layers[3].mlp.up_proj.requires_grad_(False)
    assert fuse(core)
    assert tried == [core.model.layers[at] for at in (3, 2, 0)]


def test_one_layer_that_says_other_things_leaves_all_as_they_were():
    _, core = made(LlamaConfig(**SMALL | {"num_hidden_layers": 3}))
    odd = core.model.layers[1].self_attn
    odd.times = 2.0
    plain = type(odd).forward

    def twice(hidden_states, **named):
        out, weights = plain(odd, hidden_states, **named)
        return odd.times * out, weights

    odd.forward = twice
    assert not fuse(core)
    assert not any("forward" in vars(layer) for layer in core.model.layers)


def test_what_is_of_another_form_is_left_as_it_was():
    gpt = GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4, attn_pdrop=0.0, resid_pdrop=0.0, embd_pdrop=0.0)
    # Granite's modules have Llama's names, and it scales what a layer adds
    for config in (gpt, GraniteConfig(**SMALL, residual_multiplier=0.5)):
        _, core = made(config)
        assert not fuse(core)
        assert not any("forward" in vars(module) for module in core.modules())
    _, dropping = made(LlamaConfig(**SMALL), ("q_proj",), dropout=0.1)
    assert not fuse(dropping)
    _, plain = made(LlamaConfig(**SMALL))
    plain.set_attn_implementation("eager")
    assert not fuse(plain)
