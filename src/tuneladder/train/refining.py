"""Which weights to keep of a task whose answers are labels: those that tell them apart best, however sure they are.

A model that has begun to overfit grows too sure of all it says: its loss on dev rises while it still learns to choose. So of the
loss only that is looked at which no temperature takes away, and only where something is chosen (arXiv:2501.19195, section 4, where
it is the refinement that temperature scaling leaves). The choice itself does not depend on the temperature; how sure the
tuned model says that it is does, and so its prompt takes the temperature over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch.nn import functional

from tuneladder.train.batches import Micro
from tuneladder.train.losses import summed
from tuneladder.types import Tick

HEATS = tuple(2 ** (at / 2) for at in range(-2, 9))  # temperatures: a half to sixteen
Logits = Callable[[Any, Micro], torch.Tensor]


def heat_of(ticks: Iterable[Tick]) -> float:
    """The temperature at which the weights that were kept lose least of dev; 1 where nobody looked for it."""
    found = [(tick.refined, tick.at) for tick in ticks if tick.refined is not None and tick.at is not None]
    return HEATS[min(found)[1]] if found else 1.0


@dataclass
class Branches:
    """A prefix tree of the tokens that labels are written with."""

    after: dict[int, Branches] = field(default_factory=dict)

    @classmethod
    def of(cls, labels: Iterable[Sequence[int]]) -> Branches | None:
        """None where a label is the beginning of another: nothing then says where it ends."""
        known = sorted({tuple(label) for label in labels})
        if any(later[: len(label)] == label for label, later in pairwise(known)):
            return None
        root = cls()
        for label in known:
            node = root
            for token in label:
                node = node.after.setdefault(token, cls())
        return root

    def choices(self, tokens: Sequence[int]) -> tuple[list[int], list[list[int]]]:
        """Of labels one after another, the places where another token could have been said, and which tokens could, the right one
        first. Raises ValueError for what is none of the labels."""
        node, places, could = self, [], []
        for place, token in enumerate(tokens):
            if token not in node.after:
                raise ValueError(f"token {token} at {place} goes on with none of the labels")
            if len(node.after) > 1:
                places.append(place)
                could.append([token, *(other for other in node.after if other != token)])
            node = node.after[token]
            node = node if node.after else self
        return places, could


def refined(model: Any, micro: Micro, *, logits: Logits, branches: Branches | None) -> torch.Tensor:
    """The loss of a micro-batch by its `logits` (N, V), then at each of HEATS what of it is the choice among labels: (1 + H,),
    natural log, summed. Of a head's logits (N, K) each is a label; what writes labels chooses where they part."""
    logits_NV = logits(model, micro)
    if branches is None:
        places = torch.arange(len(micro.targets), device=logits_NV.device)
        some_MA, aims = logits_NV.float(), micro.targets
    else:
        where, could = branches.choices(micro.targets.tolist())
        places = torch.tensor(where, device=logits_NV.device, dtype=torch.long)
        widest = max(map(len, could), default=1)
        tokens_MA = torch.tensor([[*own, *[-1] * (widest - len(own))] for own in could], device=logits_NV.device).view(-1, widest)
        some_MA = logits_NV[places].gather(1, tokens_MA.clamp(min=0)).float().masked_fill(tokens_MA < 0, -torch.inf)
        aims = torch.zeros_like(places)
    weights = None if micro.weights is None else micro.weights[places]
    found = [summed(logits_NV, micro)]
    for heat in HEATS:
        each = functional.cross_entropy(some_MA / heat, aims, reduction="none")
        found.append((each if weights is None else each * weights).sum())
    return torch.stack(found)
