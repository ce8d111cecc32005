"""Packed rows give what padded rows give: values, losses and gradients."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, MistralConfig, Qwen2Config

from tuneladder.model.batching import tiled
from tuneladder.model.packed import NAME, attend, grid_of, pack
from tuneladder.model.rows import bare_head
from tuneladder.model.trunk import fuse
from tuneladder.task.encode import Encoded
from tuneladder.train.batches import beginning, pad, side_by_side
from tuneladder.train.losses import next_token

LENGTHS = (7, 3, 12, 1, 9)
SMALL = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}


def rows(count=9, begin=()):
    draw = torch.Generator().manual_seed(3)
    sizes = torch.randint(4, 30, (count,), generator=draw).tolist()
    made = [[*begin, *torch.randint(1, 64, (size,), generator=draw).tolist()] for size in sizes]
    return [Encoded(ids, [place >= len(ids) - 2 for place in range(len(ids))], 0) for ids in made]


def same_with_gradients(found, expected, given):
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)
    towards = torch.randn_like(expected)
    ours = torch.autograd.grad(found, given, towards.to(found.dtype))
    theirs = torch.autograd.grad(expected, given, towards)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.double(), other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_what_learns_in_float32_over_sixteen_bits_is_tried_as_it_is_trained(attention):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(LlamaConfig(**SMALL), dtype=torch.bfloat16)
    model.model.embed_tokens.float()  # as a soft prompt does, it comes first among the weights
    model.set_attn_implementation(attention)
    assert bare_head(model)
    assert pack(model)
    assert model.config._attn_implementation == NAME


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("shared", [1, 2, 6])
def test_attention_and_its_gradients_are_those_of_each_row(causal, shared):
    torch.manual_seed(0)
    total = sum(LENGTHS)
    q, k, v = (torch.randn(1, heads, total, 8, dtype=torch.float64, requires_grad=True) for heads in (6, shared, shared))
    grid = grid_of(LENGTHS, causal=causal)
    found, _ = attend(None, q, k, v, None, grid=grid, scaling=0.3)
    parts = [torch.split(tensor, LENGTHS, dim=2) for tensor in (q, k, v)]
    expected = torch.cat(
        [
            torch.nn.functional.scaled_dot_product_attention(*row, is_causal=causal, scale=0.3, enable_gqa=True)
            for row in zip(*parts, strict=True)
        ],
        dim=2,
    ).transpose(1, 2)
    same_with_gradients(found, expected, (q, k, v))


@pytest.mark.parametrize("shared", [1, 2, 6])
@pytest.mark.parametrize(("before", "lengths"), [(5, LENGTHS), (3, (4, 4)), (70, (90, 130, 1))])
def test_what_all_rows_begin_with_stands_once_and_has_all_their_gradients(shared, before, lengths):
    torch.manual_seed(0)
    total = before + sum(lengths)
    q, k, v = (torch.randn(1, heads, total, 8, dtype=torch.float64, requires_grad=True) for heads in (6, shared, shared))
    grid = grid_of(lengths, before=before)
    assert grid.positions.tolist() == [[*range(before), *(before + place for length in lengths for place in range(length))]]
    found, _ = attend(None, q, k, v, None, grid=grid, scaling=0.3)
    parts = [(tensor[:, :, :before], torch.split(tensor[:, :, before:], lengths, dim=2)) for tensor in (q, k, v)]
    whole = [
        torch.nn.functional.scaled_dot_product_attention(*row, is_causal=True, scale=0.3, enable_gqa=True)
        for row in zip(*([torch.cat([first, own], 2) for own in rest] for first, rest in parts), strict=True)
    ]
    expected = torch.cat([whole[0][:, :, :before], *(row[:, :, before:] for row in whole)], dim=2).transpose(1, 2)
    same_with_gradients(found, expected, (q, k, v))


def test_a_grid_holds_each_token_once():
    grid = grid_of(LENGTHS)
    assert (grid.rows, grid.longest) == (5, 12)
    assert grid.positions.tolist() == [[place for length in LENGTHS for place in range(length)]]
    assert grid.places[grid.cells].tolist() == list(range(sum(LENGTHS)))
    assert int((~grid.empty).sum()) == sum(LENGTHS)


CONFIGS = {
    "llama": LlamaConfig(**SMALL, num_key_value_heads=2),
    "qwen2": Qwen2Config(**SMALL, num_key_value_heads=2),
    "gpt2": GPT2Config(
        vocab_size=64, n_embd=32, n_layer=2, n_head=4, n_positions=64, attn_pdrop=0.0, resid_pdrop=0.0, embd_pdrop=0.0
    ),
}


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("once", [False, True])
def test_packed_rows_have_the_loss_and_gradients_of_padded_ones(name, once):
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(deepcopy(CONFIGS[name])).float()
    data = rows(begin=tuple(range(20, 32)) if once else ())
    learned = sum(sum(row.learn) for row in data)

    def measured(micros):
        loss = sum(next_token(model, micro) for micro in micros) / learned
        return loss, torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)

    loss, gradients = measured([pad(data)])
    assert pack(model)
    assert model.config._attn_implementation == NAME
    assert fuse(model) == (name != "gpt2")
    saved = 12 * len(data) if once else 0
    for tokens, lanes in ((1000, 1), (60, 1), (200, 3)):
        micros = side_by_side(data, tokens=tokens, lanes=lanes, once=True)
        assert sum(micro.learned for micro in micros) == learned
        assert sum(micro.ids.numel() for micro in micros) <= sum(len(row.ids) for row in data) - saved + 28 * len(micros)
        found, others = measured(micros)
        torch.testing.assert_close(found, loss, rtol=1e-5, atol=1e-6)
        for mine, other in zip(others, gradients, strict=True):
            if other is not None:
                torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-5)


def test_what_is_learned_or_foretells_it_stands_in_each_row():
    def row(ids, first):
        return Encoded(ids, [place >= first for place in range(len(ids))], 0)

    same = list(range(1, 21))
    assert beginning([row([*same, 40], 20), row([*same, 41, 42], 20)]) == 19
    assert beginning([row(same, 12), row(same, 15)]) == 11
    assert beginning([row([*same, 40], 20), row([1, 50, 51], 2)]) == 0  # too short a beginning
    assert beginning([row([*same, 40], 20)]) == 0  # nothing to share it with
    (micro,) = side_by_side([row([*same, 40], 20), row([*same, 41, 42], 20)], tokens=100, once=True)
    assert micro.targets.tolist() == [40, 41, 42]
    assert micro.ids[0, micro.rows].tolist() == [20, 20, 41]


def test_what_cannot_be_packed_is_left_as_it_was():
    from transformers import MambaConfig

    window = AutoModelForCausalLM.from_config(MistralConfig(**SMALL, num_key_value_heads=2, sliding_window=4))
    before = window.config._attn_implementation
    assert not pack(window)
    assert window.config._attn_implementation == before
    mamba = AutoModelForCausalLM.from_config(MambaConfig(vocab_size=64, hidden_size=32, num_hidden_layers=1, state_size=4))
    assert not pack(mamba)


def test_rows_lie_evenly_in_the_lanes():
    data = rows(16)
    for lanes in (1, 2, 4):
        micros = side_by_side(data, tokens=4096, lanes=lanes)
        assert len(micros) == lanes
        assert max(micro.ids.numel() for micro in micros) <= tiled(sum(len(r.ids) for r in data) // lanes + 30)
    assert len(side_by_side(data[:2], tokens=4096, lanes=4)) == 2
    long = Encoded([1] * 256, [True] * 256, 0)
    short = [Encoded([1] * 20, [True] * 20, 0) for _ in range(50)]
    for micro in side_by_side([long, *short], tokens=1024, lanes=1):
        assert micro.grid.rows * micro.grid.longest <= 1024 + 16


def test_a_model_that_hands_no_grid_on_is_not_packed():
    from transformers import GPTNeoConfig

    model = AutoModelForCausalLM.from_config(
        GPTNeoConfig(vocab_size=64, hidden_size=32, num_layers=2, num_heads=4, attention_types=[[["global"], 2]], window_size=8)
    )
    assert not pack(model)


def test_a_lora_is_packed_and_its_lean_pass_is_pefts():
    from peft.tuners.lora import Linear

    from tuneladder.model.attach import attach_lora

    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_config(deepcopy(CONFIGS["llama"])).to(torch.bfloat16)
    model = attach_lora(base, r=2, alpha=4, dropout=0.0, targets=["q_proj", "v_proj"], seed=0)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight)
    layers = [module for module in model.modules() if isinstance(module, Linear)]
    x = torch.randn(3, 32).to(torch.bfloat16).requires_grad_(True)
    with torch.autocast("cpu", torch.bfloat16):
        for layer in layers:
            lean, theirs = layer(x), type(layer).forward(layer, x)
            assert torch.equal(lean, theirs)
            for mine, other in zip(*(torch.autograd.grad(out.sum(), x) for out in (lean, theirs)), strict=True):
                assert torch.equal(mine, other)
    assert pack(base)
    with torch.autocast("cpu", torch.bfloat16):
        found = sum(next_token(model, micro) for micro in side_by_side(rows(), tokens=1000))
        base.set_attn_implementation("eager")
        expected = next_token(model, pad(rows()))
    torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-2)
