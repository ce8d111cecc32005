"""Fused sublayers give what the sublayers' own way gives: logits, losses and gradients."""

from __future__ import annotations

import pytest
import torch
from transformers import BartConfig, BartForConditionalGeneration, T5Config, T5ForConditionalGeneration

from tuneladder.model import masked
from tuneladder.model.attach import attach_lora
from tuneladder.model.chance import Dropout
from tuneladder.model.sublayers import fuse
from tuneladder.task.pairs import Paired
from tuneladder.train.batches import pad_pairs
from tuneladder.train.losses import answer_token

ENDS = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}


def micro():
    draw = torch.Generator().manual_seed(3)

    def words(length):
        return torch.randint(2, 64, (length,), generator=draw).tolist()

    return pad_pairs([Paired(words(read), words(written)) for read, written in ((40, 9), (17, 20), (33, 3))], start=0)


def made(act="gated-gelu", *, targets=(), dropout=0.0):
    """A model with masked attention, all of it or a LoRA on `targets` to be learned; and its transformers model."""
    torch.manual_seed(1)
    sizes = {"vocab_size": 64, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_decoder_layers": 2, "num_heads": 4}
    core = T5ForConditionalGeneration(
        T5Config(**sizes, **ENDS, feed_forward_proj=act, dropout_rate=dropout, initializer_factor=0.5)
    )
    core.set_attn_implementation("eager")
    model = attach_lora(core, r=2, alpha=4, dropout=0.0, targets=list(targets), seed=0) if targets else core
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    assert masked.try_on(core)
    return model, core


def measured(model, *, autocast=False):
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    with Dropout(5), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss = answer_token(model, micro())
    return [loss.detach(), *(own.float() for own in torch.autograd.grad(loss, weights))]


def same(model, core):
    expected = measured(model)
    assert fuse(core)
    for mine, own in zip(measured(model), expected, strict=True):
        assert float((mine - own).norm()) <= 1e-3 * float(own.norm()) + 1e-6


@pytest.mark.parametrize("act", ["gated-gelu", "relu", "gated-silu", "gelu"])
def test_loss_and_gradients_are_those_of_the_sublayers_own_way(act):
    same(*made(act))


@pytest.mark.parametrize("targets", [("q", "v"), ("wo",), ("q", "k", "v", "o", "wi_0", "wi_1", "wo")], ids=["qv", "wo", "all"])
def test_so_are_a_loras(targets):
    same(*made(targets=targets))


def test_so_are_they_where_something_is_dropped():
    model, core = made(dropout=0.3)
    same(model.train(), core)


def test_in_sixteen_bits_it_is_no_farther_from_the_truth():
    model, core = made()
    truth = measured(model)
    core.set_attn_implementation("eager")
    plain = measured(model, autocast=True)
    assert masked.try_on(core)
    assert fuse(core)
    found = measured(model, autocast=True)

    def off(one):
        return sum(float((own - true).norm() / true.norm()) for own, true in zip(one[1:], truth[1:], strict=True))

    assert found[0] == pytest.approx(float(truth[0]), rel=2e-2)
    assert off(found) < 1.2 * off(plain)
    assert [own.dtype for own in found] == [own.dtype for own in plain]


def test_a_lora_that_is_switched_off_is_off():
    model, core = made(targets=("q", "wi_0"))
    with torch.no_grad(), model.disable_adapter():
        expected = answer_token(model, micro())
    assert fuse(core)
    with torch.no_grad(), model.disable_adapter():
        assert float(answer_token(model, micro())) == pytest.approx(float(expected), rel=1e-6)
    assert float(answer_token(model, micro()).detach()) != pytest.approx(float(expected), rel=2e-5)


def test_writing_with_a_cache_says_what_it_said():
    _, core = made()
    ids = torch.arange(2, 14).view(2, 6)
    expected = core.generate(ids, max_new_tokens=8, do_sample=False)
    assert fuse(core)
    assert torch.equal(core.generate(ids, max_new_tokens=8, do_sample=False), expected)


def test_what_is_of_another_form_is_left_as_it_was():
    sizes = {"vocab_size": 64, "d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "max_position_embeddings": 64}
    heads = {"encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48}
    bart = BartForConditionalGeneration(BartConfig(**sizes, **heads, **ENDS, bos_token_id=0, forced_eos_token_id=1))
    _, plain = made()
    plain.set_attn_implementation("eager")
    for core in (bart, plain):
        assert not fuse(core)
        assert not any("forward" in vars(module) for module in core.modules())
