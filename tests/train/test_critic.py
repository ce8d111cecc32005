"""A critic reads what the head reads, in the pass that the policy is read in."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from tuneladder.model.attach import attach_lora
from tuneladder.task.encode import Encoded
from tuneladder.train.batches import pad
from tuneladder.train.critic import Critic, attach_critic, logs_and_values

SMALL = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4}


@pytest.fixture
def model():
    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_config(LlamaConfig(**SMALL)).requires_grad_(False).eval()
    tuned = attach_lora(base, r=2, alpha=4, dropout=0.0, targets=["q_proj", "down_proj"], seed=0)
    attach_critic(tuned)
    return tuned


def micro():
    rows = ([1, 2, 3, 4, 5], [6, 7, 8])
    return pad([Encoded(ids, [False] * 2 + [True] * (len(ids) - 2), 0) for ids in rows])


def test_gradients_are_those_of_a_linear_layer():
    torch.manual_seed(0)
    critic, hidden, pull = Critic(4, torch.device("cpu")), torch.randn(5, 4, requires_grad=True), torch.randn(5)
    assert critic(hidden).tolist() == [0.0] * 5
    with torch.no_grad():
        critic.weight.normal_()
    (critic(hidden) * pull).sum().backward()
    torch.testing.assert_close(critic.weight.grad, hidden.detach().T @ pull)
    torch.testing.assert_close(critic.bias.grad, pull.sum()[None])
    torch.testing.assert_close(hidden.grad, torch.outer(pull, critic.weight.detach()))


def test_in_sixteen_bits_values_stay_exact():
    torch.manual_seed(0)
    critic, hidden = Critic(64, torch.device("cpu")), torch.randn(3, 64).bfloat16()
    with torch.no_grad():
        critic.weight.normal_()
    with torch.autocast("cpu", torch.bfloat16):
        found = critic(hidden)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, hidden.float() @ critic.weight + critic.bias)


@pytest.mark.parametrize("bare", [False, True])
def test_one_pass_says_how_likely_tokens_are_and_what_is_to_come(bare, model):
    own = micro()
    with torch.no_grad():
        model.critic.weight.normal_()
        model.critic.bias.fill_(0.5)
        made = model(input_ids=own.ids, output_hidden_states=True)
    read = made.hidden_states[-1].flatten(0, 1)[own.rows]
    logs, values = logs_and_values(model, own, bare=bare)
    expected = torch.log_softmax(made.logits.flatten(0, 1)[own.rows], -1).gather(1, own.targets[:, None])[:, 0]
    torch.testing.assert_close(logs, expected)
    torch.testing.assert_close(values, read @ model.critic.weight + 0.5)
    learning = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    assert {"critic.weight", "critic.bias"} < set(learning)
    found = dict(zip(learning, torch.autograd.grad(values.sum(), learning.values(), allow_unused=True), strict=True))
    torch.testing.assert_close(found["critic.weight"], read.sum(0))
    assert any(own is not None and own.any() for name, own in found.items() if "lora_" in name)


def test_it_is_no_part_of_what_is_saved(model, tmp_path):
    from safetensors.torch import load_file

    from tuneladder.model.attach import save_adapter

    save_adapter(model, tmp_path, base="here")
    assert all("lora_" in name for name in load_file(tmp_path / "adapter_model.safetensors"))
