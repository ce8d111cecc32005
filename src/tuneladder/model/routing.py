"""Mixtures of experts: how evenly their routers send tokens, and the loss that makes them (arXiv:2101.03961, section 2.2).

Shapes: S tokens, L layers, E experts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from tuneladder.store import write_json

FILE = "routing.json"
MOST = 64  # texts whose tokens are counted

Shares = tuple[tuple[float, ...], ...]


def mixes(model: Any) -> bool:
    """Whether a model of transformers is a mixture that says what its routers made of each token."""
    config = model.config.get_text_config()
    return hasattr(config, "output_router_logits") and hasattr(config, "num_experts_per_tok")


def evening(model: Any) -> float:
    """The weight of the loss for even routers, where the model's config asks for it; else 0."""
    config = model.config.get_text_config()
    return float(getattr(config, "router_aux_loss_coef", 0.0)) if getattr(config, "output_router_logits", False) else 0.0


def uneven(logits: Sequence[torch.Tensor], picks: int, seen: torch.Tensor | None) -> torch.Tensor:
    """The loss of arXiv:2101.03961, equation 4, over routers' logits (S, E): `picks` where each expert is sent as many tokens as
    any, more where not. `seen` (S,) is 0 at tokens that do not count."""
    from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

    found: torch.Tensor = load_balancing_loss_func(tuple(logits), logits[0].shape[-1], picks, seen)
    return found


@torch.no_grad()
def shares(model: Any, core: Any, texts: Sequence[Sequence[int]]) -> Shares:
    """The share of the routers' choices that each expert of each layer had of the first texts, (L, E): 1 / E where all are even.
    `core` is the model of transformers inside `model`. It is left in eval mode, with eager attention."""
    core.set_attn_implementation("eager")  # training may have set one that takes no single rows
    model.eval()
    picks = int(core.config.get_text_config().num_experts_per_tok)
    counts: torch.Tensor | int = 0
    for text in texts[:MOST]:
        ids = torch.tensor([list(text)], device=core.device)
        said = model(input_ids=ids, use_cache=False, output_router_logits=True).router_logits
        counts = counts + torch.stack(
            [torch.bincount(own.topk(picks, -1).indices.flatten(), minlength=own.shape[-1]) for own in said]
        )
    assert isinstance(counts, torch.Tensor)
    found = counts.double() / counts.sum(-1, keepdim=True)
    return tuple(tuple(round(share, 6) for share in layer) for layer in found.tolist())


def variations(found: Shares) -> tuple[float, ...]:
    """The coefficient of variation of each layer's shares: 0 where all experts have as much, sqrt(E - 1) where one has all."""
    return tuple(round(float(torch.tensor(layer).std(correction=0)) * len(layer), 4) for layer in found)


def write_shares(found: Shares, folder: Path) -> None:
    """Write them beside what a step made."""
    write_json(folder / FILE, found)


def read_shares(folder: Path) -> Shares:
    """What `write_shares` wrote, or nothing."""
    path = folder / FILE
    return tuple(map(tuple, json.loads(path.read_text("utf-8")))) if path.exists() else ()
