"""Weights laid out beforehand: the same products, and a model left as it was."""

from __future__ import annotations

import pytest
import torch

from tuneladder.model import prepacked as module
from tuneladder.model.prepacked import prepacked


def layers(dtype: torch.dtype) -> torch.nn.Sequential:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(48, 64), torch.nn.GELU(), torch.nn.Linear(64, 40, bias=False)).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_products_are_the_same(dtype: torch.dtype) -> None:
    model = layers(dtype)
    x = torch.randn(1, 7, 48, dtype=dtype)
    with torch.no_grad():
        before = model(x)
        with prepacked(model, memory=1 << 20):
            assert "forward" in vars(model[0])
            assert torch.allclose(model(x), before, atol=1e-5 if dtype == torch.float32 else 2e-2)
        assert not any("forward" in vars(layer) for layer in model)
        assert torch.equal(model(x), before)


def test_weights_too_large_stay_as_they_are() -> None:
    model = layers(torch.float32)
    with prepacked(model, memory=(48 * 64 + 64 * 40) * 4 - 1):
        assert not any("forward" in vars(layer) for layer in model)


def test_a_torch_without_the_layout_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(layer: torch.nn.Linear) -> None:
        raise AttributeError("no such operator")

    model = layers(torch.float32)
    monkeypatch.setattr(module, "_product", missing)
    with prepacked(model, memory=1 << 20):
        assert not any("forward" in vars(layer) for layer in model)


def test_a_layer_whose_call_was_replaced_keeps_it() -> None:
    model = layers(torch.float32)
    own = model[0].forward
    vars(model[0])["forward"] = own
    with prepacked(model, memory=1 << 20):
        assert vars(model[0])["forward"] is own
        assert "forward" in vars(model[2])
    assert vars(model[0])["forward"] is own
