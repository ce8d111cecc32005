"""Models that carry a state from token to token (arXiv:2312.00752, arXiv:2405.21060), beside keys and values or in their place.

A state has been through all that was read. Two ways on cannot share what lies before them without a copy each, rows cannot stand
side by side, and what a model writes with is not called as a cache of keys and values is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

# What a scan on a CPU keeps for its way back, in float32 numbers of a token and layer, counted tensor by tensor in transformers
# 5.23 (saved_tensors_hooks): of Mamba in parts of its inner width, of Mamba-2 besides for each head.
SCANNED = 3
BESIDE = 9
BESIDE_CHUNKS = 11
LEARNING = 3  # more of the inner width where the layer's own weights learn
CHUNK, CHUNKED = 4, 8  # grids within a chunk, and states that are held for each head


def carries(model: Any) -> bool:
    """Whether a model of transformers carries a state from token to token."""
    return bool(model._is_stateful)


def attends(model: Any) -> bool:
    """Whether any layer of a model of transformers attends, by its config."""
    return bool(getattr(model.config.get_text_config(), "num_attention_heads", None))


def sizes_of(config: Any) -> dict[str, int]:
    """The sizes of a configuration's layers, if they have a state and no attention: its width for each number of the inner width,
    that inner width, how many tokens their convolution reads, and of Mamba-2 its heads and the tokens of a chunk. Else none."""
    if getattr(config, "num_attention_heads", None) or not getattr(config, "state_size", None):
        return {}
    found = {"state": config.state_size, "inner": int(config.expand * config.hidden_size), "steps": config.conv_kernel}
    if chunk := getattr(config, "chunk_size", None):
        found |= {"chunk": chunk, "scanners": config.num_heads}
    return found


def scanned(sizes: Mapping[str, Any], length: int, *, learning: bool) -> int:
    """Numbers that one layer of these sizes keeps of a row of `length` tokens for its way back."""
    inner, state, chunk = (int(sizes.get(name, 0)) for name in ("inner", "state", "chunk"))
    own = LEARNING * inner * length if learning else 0
    if chunk:
        whole = math.ceil(length / chunk) * chunk  # a chunk that is not full is filled up
        return own + whole * (BESIDE_CHUNKS * inner + int(sizes["scanners"]) * (CHUNK * chunk + CHUNKED * state))
    return own + length * inner * (SCANNED * state + BESIDE)


def closed(model: Any) -> list[str]:
    """Names of linear layers that nothing can be laid beside: the fast kernels of a mixer read their weights, and of `dt_proj` the
    slow ones too, so that what stands in the layer's place is passed by."""
    mixers = [name for name, module in model.named_modules() if "A_log" in module._parameters]
    return [f"{mixer}.{own}" for mixer in mixers for own in ("dt_proj", "out_proj")]
