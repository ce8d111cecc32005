"""The head only where it is read."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma2Config, LlamaConfig

from tuneladder.model.rows import bare_head, bypassing, ending, reading

SMALL = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4}


@pytest.fixture
def model():
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(LlamaConfig(**SMALL))


def test_the_logits_are_those_of_the_rows_that_are_read(model):
    ids, index = torch.tensor([[1, 2, 3], [4, 5, 6]]), torch.tensor([4, 1])
    whole = model(input_ids=ids).logits
    with reading(model, index):
        some = model(input_ids=ids).logits
    torch.testing.assert_close(some, whole.flatten(0, 1)[index])
    with bypassing(model) as kept:
        model(input_ids=ids)
    torch.testing.assert_close(model.lm_head(kept[0]), whole.flatten(0, 1))
    assert not model.lm_head._forward_pre_hooks


def test_a_pass_ends_where_it_was_to_go(model):
    """Each of two that lie in one another ends what is inside its own `with`; what is no such end goes on."""
    after = []
    with bypassing(model) as kept:
        with ending() as end:
            end()
            after.append("behind the inner end")
        model(input_ids=torch.tensor([[1, 2, 3]]))
        after.append("behind the head")
    assert (len(kept), after) == (1, [])
    with pytest.raises(ZeroDivisionError), ending():
        1 / 0  # noqa: B018
    with ending() as outer:
        with ending():
            outer()
        after.append("between them")
    assert after == []


def test_what_a_pass_had_in_hand_goes_with_its_end(model):
    seen = []
    model.model.layers[0].register_forward_hook(lambda layer, args, made: seen.append(weakref.ref(made)))
    gc.collect()
    gc.disable()
    try:
        with bypassing(model) as kept:
            model(input_ids=torch.tensor([[1, 2, 3]]))
        kept.clear()
        assert [each() for each in seen] == [None]
    finally:
        gc.enable()


def test_a_head_is_bare_where_nothing_follows_it(model):
    assert bare_head(model)
    assert model.training
    capped = Gemma2Config(**SMALL, num_key_value_heads=4, head_dim=8, final_logit_softcapping=0.5)
    assert not bare_head(AutoModelForCausalLM.from_config(capped))
