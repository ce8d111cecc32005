"""A micro-run that leaves the model as it was."""

from __future__ import annotations

import time

import torch

from tuneladder.model.inspect import config_of, from_shape
from tuneladder.model.pace import pace

TEN_MILLION = {"layers": 8, "width": 256, "heads": 8, "mlp": 1024, "vocabulary": 8192, "context": 512}


def test_a_pace_in_two_seconds_and_nothing_left_behind() -> None:
    from transformers import AutoModelForCausalLM

    base = from_shape("ten", TEN_MILLION)
    model = AutoModelForCausalLM.from_config(config_of(base)).train()
    flags = [weight.requires_grad for weight in model.parameters()]
    versions = [weight._version for weight in model.parameters()]
    torch.manual_seed(7)
    state = torch.get_rng_state()
    started = time.process_time()
    found = pace(model, active=base.active, vocabulary=base.vocabulary)
    # of processor time, for the cores are shared; wall time on idle cores is below it
    assert time.process_time() - started < 2 * torch.get_num_threads()
    # a machine that runs torch at all reaches the one, and none exceeds the other
    assert 1e8 < found.flops < 1e16
    assert model.training
    assert all(weight.grad is None for weight in model.parameters())
    assert flags == [weight.requires_grad for weight in model.parameters()]
    assert versions == [weight._version for weight in model.parameters()]
    assert torch.equal(torch.get_rng_state(), state)


def test_a_frozen_model_has_a_pace_too() -> None:
    from transformers import AutoModelForCausalLM

    base = from_shape("small", TEN_MILLION | {"layers": 1})
    model = AutoModelForCausalLM.from_config(config_of(base)).to(torch.bfloat16).requires_grad_(False).eval()
    found = pace(model, active=base.active, vocabulary=base.vocabulary, autocast=torch.bfloat16, seconds=0.3)
    assert found.flops > 0
    assert not model.training
    assert not any(weight.requires_grad for weight in model.parameters())
