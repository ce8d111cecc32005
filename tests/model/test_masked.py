"""Attention over padded rows with its way back written out: what transformers' own gives, gradients included."""

import pytest
import torch
from transformers import BertConfig, BertModel, LlamaConfig, LlamaModel, ModernBertConfig, ModernBertModel, T5Config
from transformers import T5ForConditionalGeneration as T5

from tuneladder.model import masked
from tuneladder.model.chance import Dropout
from tuneladder.train.batches import Micro
from tuneladder.train.loop import Passes

SIZES = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
ENDS = {"pad_token_id": 0, "eos_token_id": 1}
IDS = torch.arange(2, 38).view(3, 12)
MASK = (torch.arange(12) < torch.tensor([[12], [7], [10]])).long()


def _bert() -> torch.nn.Module:
    return BertModel(BertConfig(**SIZES, **ENDS, attn_implementation="eager"))


def _modern() -> torch.nn.Module:
    own = {"bos_token_id": 1, "cls_token_id": 1, "sep_token_id": 1, "global_attn_every_n_layers": 2, "local_attention": 8}
    return ModernBertModel(ModernBertConfig(**SIZES, **ENDS, **own, attention_dropout=0.2, attn_implementation="eager"))


def _t5() -> torch.nn.Module:
    sizes = {"vocab_size": 64, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
    return T5(T5Config(**sizes, **ENDS, decoder_start_token_id=0, attn_implementation="eager"))


@pytest.mark.parametrize("make", [_bert, _modern, _t5])
def test_as_eager(make) -> None:
    torch.manual_seed(0)
    model = make()

    def run() -> list[torch.Tensor]:
        more = {"decoder_input_ids": IDS.flip(1)[:, :5]} if model.config.is_encoder_decoder else {}
        with Dropout(5):
            out = model(input_ids=IDS, attention_mask=MASK, **more)[0]
        seen = out if more else out * MASK[..., None]
        weights = [weight for weight in model.parameters() if weight.requires_grad]
        return [seen, *torch.autograd.grad(torch.cos(seen).sum(), weights, allow_unused=True)]

    model.train()
    expected = run()
    assert masked.try_on(model)
    assert model.training
    assert model.config._attn_implementation == masked.NAME
    for mine, own in zip(run(), expected, strict=True):
        assert (mine is None) == (own is None)
        if own is not None:
            torch.testing.assert_close(mine, own, rtol=1e-4, atol=1e-5)


def test_a_bias_that_learns() -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 3, size, 4, dtype=torch.double, requires_grad=True) for size in (5, 6, 6))
    bias = torch.randn(1, 3, 5, 6, dtype=torch.double, requires_grad=True)
    hidden = torch.zeros(2, 1, 1, 6, dtype=torch.bool)
    hidden[1, ..., 4:] = True
    kept = torch.randint(0, 2, (6, 5, 6)).double() * 2
    assert torch.autograd.gradcheck(lambda *given: masked._Attention.apply(*given, hidden, kept, 0.5), (q, k, v, bias))


def test_what_it_does_not_know_is_left_as_it_was() -> None:
    model = LlamaModel(LlamaConfig(**SIZES, **ENDS, num_key_value_heads=2, attn_implementation="eager"))
    assert not masked.try_on(model)
    assert model.config._attn_implementation == "eager"


@pytest.mark.parametrize("make", [_bert, _modern])
def test_no_padding_passes_and_nothing_else_changes(make) -> None:
    torch.manual_seed(0)
    model = make().eval()
    weights = list(model.parameters())
    seen = []

    def run() -> list[torch.Tensor]:
        out = model(input_ids=IDS, attention_mask=MASK)[0] * MASK[..., None]
        return [out, *torch.autograd.grad(torch.cos(out).sum(), weights, allow_unused=True)]

    assert masked.try_on(model)
    expected = run()
    hook = next(own for own in model.modules() if isinstance(own, torch.nn.Linear)).register_forward_hook(
        lambda module, given, made: seen.append(tuple(given[0].shape[:2]))
    )
    with masked.unpadded(model) as bare:
        assert bare
        seen.clear()
        found = run()
    hook.remove()
    assert seen == [(1, 32)]  # of 36 cells, 29 with a token, and three more to fill whole tiles
    for mine, own in zip(found, expected, strict=True):
        assert (mine is None) == (own is None)
        if own is not None:
            torch.testing.assert_close(mine, own, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(run(), expected)  # nothing is left behind


def test_layers_that_cannot_stay_padded() -> None:
    """T5's make their bias of as many places as they are given tokens."""
    sizes = {"vocab_size": 64, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 3, "num_heads": 4}
    model = T5(T5Config(**sizes, **ENDS, decoder_start_token_id=0, attn_implementation="eager")).encoder.eval()
    assert masked.try_on(model)
    expected = model(input_ids=IDS, attention_mask=MASK)[0]
    tried = []
    watch = model.block[0].register_forward_pre_hook(lambda layer, given: tried.append(given[0].shape[0]))
    with masked.unpadded(model) as bare:
        assert not bare
        assert tried == [2, 2]  # as it was, and unpadded, which failed
        watch.remove()
        assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())
        assert torch.equal(model(input_ids=IDS, attention_mask=MASK)[0], expected)


def test_unpadded_rows_in_two_lanes_are_those_of_one() -> None:
    torch.manual_seed(0)
    model = _bert().train()
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    assert masked.try_on(model)
    micros = [Micro(IDS[:at], None, torch.zeros(at, dtype=torch.long), mask=MASK[:at]) for at in (1, 2, 3)]

    def loss(model, micro):
        return torch.cos(model(input_ids=micro.ids, attention_mask=micro.mask)[0] * micro.mask[..., None]).sum()

    found = []
    with masked.unpadded(model) as bare:
        assert bare
        passes = Passes(model, loss, weights, autocast=None, lanes=2)
        for _ in range(4):
            passes.gradients(micros, 6, (7, 0))
            found.append([None if weight.grad is None else weight.grad.clone() for weight in weights])
        passes.close()
        alone = [Passes(model.eval(), loss, weights, autocast=None, lanes=lanes) for lanes in (1, 2)]
        plain = []
        for passes in alone:
            model.zero_grad(set_to_none=True)
            passes.gradients(micros, 6)
            plain.append([weight.grad for weight in weights])
            passes.close()
    for first, *others in zip(*found, strict=True):
        assert all(first is None or torch.equal(first, other) for other in others)
    for one, two in zip(*plain, strict=True):
        assert (one is None) == (two is None)
        if one is not None:
            torch.testing.assert_close(two, one, rtol=1e-4, atol=1e-5)


def test_a_float_head_over_a_base_in_sixteen_bits_is_tried_too() -> None:
    model = _bert().to(torch.bfloat16)
    model.pooler.float()
    with torch.autocast("cpu", torch.bfloat16):
        assert masked.try_on(model)
    assert masked.try_on(model)
