"""Dropout that a pass draws for itself."""

from __future__ import annotations

import threading

import torch
from torch.nn import functional

from tuneladder.model.chance import Dropout
from tuneladder.model.lanes import draws

ONES = torch.ones(64, 64)


def dropped(seed):
    with Dropout(seed):
        return torch.nn.Dropout(0.25)(ONES)


def test_a_seed_drops_the_same_wherever_it_is_drawn():
    before = torch.get_rng_state()
    first = dropped(1)
    torch.testing.assert_close(first.unique(), torch.tensor([0.0, 1 / 0.75]))
    assert abs(float((first == 0).float().mean()) - 0.25) < 0.03
    elsewhere = []
    thread = threading.Thread(target=lambda: elsewhere.append(dropped(1)))
    thread.start()
    thread.join()
    assert torch.equal(elsewhere[0], first)
    assert not torch.equal(dropped(2), first)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_seed_drops_what_it_always_dropped():
    """Where this fails, bases with dropout learn other numbers: raise the `version` of the steps that train."""
    places = [0, 7, 14, 22, 26, 29, 30, 34, 39, 40, 45, 46, 47, 52, 57, 63]
    assert (dropped(1).flatten()[:64] == 0).nonzero().flatten().tolist() == places


def test_nothing_is_dropped_out_of_training():
    with Dropout(0):
        assert torch.equal(torch.nn.Dropout(0.5).eval()(ONES), ONES)
        assert torch.equal(functional.dropout(ONES, 0.0), ONES)


def test_a_model_that_only_drops_draws_nothing_beside():
    from transformers import BertConfig, BertModel

    small = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4}
    model = BertModel(BertConfig(**small), add_pooling_layer=False)
    model.set_attn_implementation("eager")
    assert draws(model)
    assert not draws(model, beside_dropout=True)
    model.set_attn_implementation("sdpa")  # drops inside its kernel
    assert draws(model, beside_dropout=True)


def test_a_head_in_float32_over_a_frozen_bfloat16_body_can_be_tried():
    from transformers import BertConfig, BertForSequenceClassification

    small = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4}
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    model = BertForSequenceClassification(BertConfig(**small, **still)).bfloat16()
    model.classifier.float()
    assert not draws(model)
    model.dropout.p = 0.5
    assert draws(model)
    assert not draws(model, beside_dropout=True)
