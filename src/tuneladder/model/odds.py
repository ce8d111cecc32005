"""What may come next: every token's probability as the model has it, and as it is drawn from under a decoding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch

from tuneladder.model.pieces import Cuts, Piece, pieces_of
from tuneladder.model.writing import kept, penalised
from tuneladder.types import Decoding, Turns


@dataclass(frozen=True)
class Odds:
    """A token that may come next: its probability `before` the decoding's settings, and `after` them."""

    piece: Piece
    before: float
    after: float


@runtime_checkable
class Glass(Cuts, Protocol):
    """An engine that one can look into: what it reads, and what it may write next."""

    def rendered(self, turns: Turns) -> str:
        """The text that it reads for an ask, uncut."""
        ...

    def cut(self, turns: Turns, decoding: Decoding) -> int:
        """How many tokens of an ask it would leave out, so that it fits."""
        ...

    def odds(self, turns: Turns, decoding: Decoding, *, begun: str = "", most: int = 12) -> list[Odds]:
        """What may come next when the answer begins with `begun`: the `most` likeliest."""
        ...


def odds_of(logits_V: torch.Tensor, said: Sequence[int], decoding: Decoding, tokenizer: Any, most: int) -> list[Odds]:
    """The `most` likeliest tokens by their logits (V,), likeliest to be drawn first; `said` is penalised for repetition."""
    before_V = logits_V.cpu().double().softmax(-1)
    after_V = torch.zeros_like(before_V)
    logits_BV = logits_V[None]
    if decoding.repetition != 1.0:
        said_BV = torch.zeros_like(logits_BV, dtype=torch.bool)
        said_BV[0, torch.tensor(list(said), device=logits_BV.device)] = True
        logits_BV = penalised(logits_BV, said_BV, decoding.repetition)
    if decoding.temperature <= 0:
        after_V[int(logits_BV[0].argmax())] = 1.0
    else:
        chances_BV, ids_BV = kept(logits_BV, temperature=decoding.temperature, top_k=decoding.top_k, top_p=decoding.top_p)
        after_V[ids_BV[0].cpu()] = chances_BV[0] / chances_BV[0].sum()
    order = sorted(range(len(before_V)), key=lambda token: (-float(after_V[token]), -float(before_V[token])))[:most]
    return [Odds(piece, float(before_V[piece.id]), float(after_V[piece.id])) for piece in pieces_of(tokenizer, order)]
