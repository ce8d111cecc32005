"""The head's loss in parts is cross-entropy over all logits at once."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from tuneladder.train import losses


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("frozen", [False, True])
def test_loss_and_gradients_are_those_of_cross_entropy(bias, frozen, monkeypatch):
    monkeypatch.setattr(losses, "PART", 50 * 7)
    monkeypatch.setattr(losses, "PIECE", 50 * 3)
    torch.manual_seed(0)
    head = torch.nn.Linear(8, 50, bias=bias).requires_grad_(not frozen)
    hidden, targets = torch.randn(23, 8, requires_grad=True), torch.randint(0, 50, (23,))
    wanted = [hidden, *(weight for weight in head.parameters() if weight.requires_grad)]
    expected = functional.cross_entropy(head(hidden), targets, reduction="sum")
    found = losses.through_head(head, hidden, targets)
    torch.testing.assert_close(found, expected)
    for mine, other in zip(torch.autograd.grad(found / 3, wanted), torch.autograd.grad(expected / 3, wanted), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-6)
    with torch.no_grad():
        torch.testing.assert_close(losses.through_head(head, hidden, targets), expected)


def test_in_sixteen_bits_the_loss_stays_exact():
    torch.manual_seed(0)
    head = torch.nn.Linear(16, 300, bias=False)
    hidden, targets = torch.randn(9, 16, requires_grad=True), torch.randint(0, 300, (9,))
    with torch.autocast("cpu", torch.bfloat16):
        expected = functional.cross_entropy(head(hidden).float(), targets, reduction="sum")
        found = losses.through_head(head, hidden, targets)
    torch.testing.assert_close(found, expected)
    for mine, other in zip(*(torch.autograd.grad(own, [hidden, head.weight]) for own in (found, expected)), strict=True):
        assert mine.dtype == other.dtype
        torch.testing.assert_close(mine, other, rtol=2e-2, atol=2e-2)


def test_nothing_to_learn_is_no_loss():
    head = torch.nn.Linear(4, 5).requires_grad_(False)
    assert float(losses.through_head(head, torch.zeros(0, 4), torch.zeros(0, dtype=torch.long))) == 0.0


@pytest.mark.parametrize("bias", [False, True])
def test_log_probabilities_of_tokens_have_gradients_of_their_own(bias, monkeypatch):
    monkeypatch.setattr(losses, "PIECE", 50 * 3)
    torch.manual_seed(0)
    head = torch.nn.Linear(8, 50, bias=bias).requires_grad_(False)
    hidden, targets, pull = torch.randn(23, 8, requires_grad=True), torch.randint(0, 50, (23,)), torch.randn(23)
    expected = torch.log_softmax(head(hidden), -1).gather(1, targets[:, None])[:, 0]
    found = losses.logs_through_head(head, hidden, targets)
    torch.testing.assert_close(found, expected)
    for own in (expected, found):
        own.mul(pull).sum().backward()
    (mine,) = torch.autograd.grad(losses.logs_through_head(head, hidden, targets).mul(pull).sum(), hidden)
    torch.testing.assert_close(2 * mine, hidden.grad, rtol=1e-4, atol=1e-6)
    with torch.no_grad():
        torch.testing.assert_close(losses.logs_through_head(head, hidden, targets), expected)
