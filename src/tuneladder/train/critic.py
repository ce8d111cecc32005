"""A critic: what an answer is foretold to earn, said at each of its tokens by a linear layer on the policy's own body.

It stands on what the model's head reads, so that one pass says both how likely a token is and what is to come, and it learns with
the policy; of the adapter that is saved it is no part.

Shapes: N tokens, D what the head reads of one.
"""

from __future__ import annotations

from typing import Any

import torch

from tuneladder.train.batches import Micro
from tuneladder.train.losses import logs_and_hidden

# How many times the policy's rate a critic has. Adam moves each weight by the rate, and so a value by the rate times the sum of
# what the head reads, which at a rate that suits a LoRA is a sixth of a reward between 0 and 1: values would be noise.
PACES = {"critic.weight": 1 / 16, "critic.bias": 1 / 16}


class Critic(torch.nn.Module):
    """What the head reads (N, D) -> values (N,), always in float32. It begins at 0: of a reward that may be any function nothing is
    known before it was asked."""

    def __init__(self, width: int, device: torch.device) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(width, device=device))
        self.bias = torch.nn.Parameter(torch.zeros(1, device=device))

    def forward(self, hidden_ND: torch.Tensor) -> torch.Tensor:
        with torch.autocast(hidden_ND.device.type, enabled=False):
            return hidden_ND.float() @ self.weight + self.bias


def attach_critic(model: Any) -> None:
    """Give a model wrapped by PEFT a critic, a part of the wrapper: what learns of the model learns with it, and the base beneath
    knows nothing of it."""
    head = model.get_output_embeddings().weight
    model.critic = Critic(head.shape[1], head.device)


def logs_and_values(model: Any, micro: Micro, *, bare: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Natural log-probability (N,) of each learned position's target, and what the model's critic says there (N,)."""
    logs_N, hidden_ND = logs_and_hidden(model, micro, bare=bare)
    return logs_N, model.critic(hidden_ND)
