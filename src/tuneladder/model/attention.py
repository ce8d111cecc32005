"""The fastest way through a model's layers for rows of a length, where it is tried and found to say the same."""

from __future__ import annotations

from typing import Any, Literal

from tuneladder.model import masked, memory, recurrent, sublayers
from tuneladder.model.lanes import draws
from tuneladder.model.packed import pack
from tuneladder.types import Family

# below this length eager attention is the faster on a CPU, whose sdpa backward is slow with grouped queries
EAGER_BELOW = 256


def attention_for(length: int, device: str, *, family: Family = "decoder") -> Literal["eager", "sdpa"]:
    """The faster attention for rows of this length: on a CPU sdpa's backward is slow with grouped queries and short rows, and with
    a seq2seq's bias, which it is handed as a mask of every head, at any length."""
    return "eager" if device == "cpu" and (length <= EAGER_BELOW or family == "seq2seq") else "sdpa"


def pad_attention(model: Any, length: int, device: str, *, family: Family = "encoder") -> bool:
    """Set the model, one of transformers, to the fastest attention for padded rows of this length, and the sublayers of a seq2seq
    to the fastest way through them: whether each is one function then."""
    attention = attention_for(length, device, family=family)
    model.set_attn_implementation(attention)
    if attention == "eager" and family != "decoder" and masked.try_on(model) and family == "seq2seq":
        return sublayers.fuse(model)
    return False


def packs(model: Any, length: int, device: str) -> bool:
    """Whether the model now takes rows of this length side by side."""
    return memory.packs(length=length, device=device) and not recurrent.carries(model) and not draws(model) and pack(model)
