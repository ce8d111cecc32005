"""What the frozen part of a model said: kept in a file, read a row at a time; and which models can be parted."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from tests.shapes import BART
from transformers import AutoModelForCausalLM, LlamaConfig, ModernBertConfig, T5Config

from tuneladder.model.frozen import States, divisible, rounded, stack_of
from tuneladder.model.inspect import skeleton

T5 = T5Config(vocab_size=50, d_model=32, d_kv=8, d_ff=48, num_heads=4, num_layers=3, num_decoder_layers=2)


def test_a_row_is_read_as_it_was_put(tmp_path):
    rows = [torch.randn(size, 4) for size in (3, 1, 2)]
    held = States(tmp_path, [3, 1, 2], 4)
    for at in (2, 0, 1):
        held.put(at, rows[at])
    again = States(tmp_path, [3, 1, 2], 4)
    assert all(torch.equal(again[at], row) for at, row in enumerate(rows))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux says what is mapped")
def test_what_is_read_is_not_mapped(tmp_path):
    held = States(tmp_path, [5], 4)
    held.put(0, torch.ones(5, 4))
    row = held[0]
    assert str(tmp_path) not in Path("/proc/self/maps").read_text()
    assert row.sum() == 20


@pytest.mark.parametrize(("config", "name", "layers"), [(T5, "block", 2), (BART, "layers", 3)], ids=["t5", "bart"])
def test_a_decoders_stack_is_found_beside_an_encoders(config, name, layers):
    model = skeleton(config, "seq2seq")
    owner, found = stack_of(model, decoder=True)
    assert (owner is model.get_decoder(), found, len(getattr(owner, found))) == (True, name, layers)


@pytest.mark.parametrize(("every", "whole"), [(1, True), (3, False)])
def test_layers_of_two_kinds_are_not_parted(every, whole):
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 6, "num_attention_heads": 4, "vocab_size": 50}
    marks = dict.fromkeys(("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id", "pad_token_id"))
    assert divisible(skeleton(ModernBertConfig(**sizes, **marks, global_attn_every_n_layers=every), "encoder")) == whole


@pytest.mark.parametrize("tied", [True, False])
def test_what_does_not_learn_is_rounded_once_and_comes_back(tied):
    config = LlamaConfig(vocab_size=50, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4)
    config.tie_word_embeddings = tied
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).requires_grad_(False)
    learns = model.model.layers[1].requires_grad_(True)
    before = {name: (weight, weight.clone()) for name, weight in model.named_parameters()}
    ids = torch.tensor([[1, 2, 3]])
    with torch.autocast("cpu", torch.bfloat16):
        plain = model(input_ids=ids).logits
        with rounded(model.modules(), torch.bfloat16):
            assert model.lm_head.weight.dtype == model.model.layers[0].mlp.up_proj.weight.dtype == torch.bfloat16
            assert model.model.embed_tokens.weight.dtype == torch.float32
            assert all(weight.dtype == torch.float32 for weight in learns.parameters())
            assert torch.equal(model(input_ids=ids).logits, plain)
    after = dict(model.named_parameters())
    assert after.keys() == before.keys()
    assert all(after[name] is own and torch.equal(own, value) for name, (own, value) in before.items())
    assert (model.lm_head.weight is model.model.embed_tokens.weight) == tied
    with rounded(model.modules(), None):
        assert all(weight.dtype == torch.float32 for weight in model.parameters())
