"""Attention over padded rows with its way back written out, in the precision of its values.

What transformers computes step by step keeps each grid of scores several times, in float32 wherever a bias is added: here nothing
but the weights is kept, and nothing is wider than the values. It takes a bias on the scores (T5's relative positions, which learn),
a mask and dropout.

Shapes: B rows, H heads of width E, U queries, T keys.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

NAME = "masked"


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        bias: torch.Tensor | None,
        hidden: torch.Tensor | None,
        kept: torch.Tensor | None,
        scaling: float,
    ) -> torch.Tensor:
        """q (B, H, U, E), k and v (B, H, T, E) -> (B, U, H, E). bias (1, H, U, T) is added to the scores, hidden (B or 1, 1, U or
        1, T) are those that count for nothing, kept (B*H, U, T) is what dropout multiplies with."""
        rows, heads, wide, _ = q.shape
        q, k, v = (own.reshape(rows * heads, *own.shape[2:]) for own in (q if scaling == 1 else q * scaling, k, v))
        scores = torch.bmm(q, k.transpose(1, 2))
        grid = scores.view(rows, heads, wide, -1)
        if bias is not None:
            grid.add_(bias.to(grid.dtype))
        if hidden is not None:
            grid.masked_fill_(hidden, torch.finfo(grid.dtype).min)
        seen = torch.ops.aten._softmax(scores, -1, False)
        out = torch.bmm(seen if kept is None else seen * kept, v)
        ctx.save_for_backward(q, k, v, seen, kept)
        ctx.shape, ctx.scaling, ctx.wide = (rows, heads), scaling, None if bias is None else bias.dtype
        return out.view(rows, heads, wide, -1).transpose(1, 2)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[Any, ...]:
        q, k, v, seen, kept = ctx.saved_tensors
        out = gradient.transpose(1, 2).reshape(q.shape)
        of_v = torch.bmm((seen if kept is None else seen * kept).transpose(1, 2), out)
        back = torch.bmm(out, v.transpose(1, 2))
        if kept is not None:
            back.mul_(kept)
        back = torch.ops.aten._softmax_backward_data(back, seen, -1, back.dtype)
        of_q, of_k = torch.bmm(back, k), torch.bmm(back.transpose(1, 2), q)
        of_q = of_q if ctx.scaling == 1 else of_q.mul_(ctx.scaling)
        of_bias = back.view(*ctx.shape, *back.shape[1:]).sum(0, keepdim=True, dtype=ctx.wide) if ctx.needs_input_grad[3] else None
        return *(own.view(*ctx.shape, *own.shape[1:]) for own in (of_q, of_k, of_v)), of_bias, None, None, None


def attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    position_bias: torch.Tensor | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """The attention of transformers' interface, arXiv:1706.03762, equation 1. Raises TypeError for what it does not know: caps,
    sinks, grouped queries."""
    unknown = [name for name in ("softcap", "s_aux") if others.get(name) is not None]
    if unknown or query.shape[1] != key.shape[1] or (attention_mask is not None and attention_mask.dtype != torch.bool):
        raise TypeError(f"this attention takes a mask of booleans and no {unknown or 'grouped queries'}")
    hidden = None if attention_mask is None else ~attention_mask
    query, key = query.to(value.dtype), key.to(value.dtype)
    # a cross attention of T5 is handed a bias of zeros, which does not learn
    if position_bias is not None and not position_bias.requires_grad and not position_bias.any():
        position_bias = None
    kept = None
    if dropout and module.training:
        grid = query.shape[0] * query.shape[1], query.shape[2], key.shape[2]
        kept = functional.dropout(value.new_ones(grid), dropout)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return _Attention.apply(query, key, value, position_bias, hidden, kept, scale), None  # type: ignore[no-untyped-call]


def try_on(model: Any) -> bool:
    """Set the model to this attention where it then says what it said, of rows of unlike length; it is tried. Else leave it as it
    is."""
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    def whole(*args: Any, **others: Any) -> torch.Tensor | None:
        made: torch.Tensor | None = sdpa_mask(*args, **{**others, "allow_is_causal_skip": False})
        return made

    ALL_ATTENTION_FUNCTIONS.register(NAME, attend)
    ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, whole)
    before, learning = model.config._attn_implementation, model.training
    ids_BT = torch.arange(2, 20, device=model.device).view(2, 9) % model.config.get_text_config().vocab_size
    mask_BT = torch.ones_like(ids_BT)
    mask_BT[1, 6:] = 0
    more = {"decoder_input_ids": ids_BT.flip(1)[:, :5]} if model.config.is_encoder_decoder else {}

    def said() -> torch.Tensor:
        out = model(input_ids=ids_BT, attention_mask=mask_BT, **more)
        own: torch.Tensor = out.logits if "logits" in out else out.last_hidden_state
        return own[mask_BT.bool()].float() if own.shape[:2] == mask_BT.shape else own.float()

    model.eval()
    try:
        with torch.no_grad():
            expected = said()
            model.set_attn_implementation(NAME)
            slack = 1e-3 if model.dtype == torch.float32 else 0.05
            same = bool(model.config._attn_implementation == NAME)
            same = same and torch.allclose(said(), expected, rtol=slack, atol=slack * float(expected.abs().max()))
    except (TypeError, ValueError, RuntimeError, KeyError, AttributeError):
        same = False
    model.train(learning)
    if not same:
        model.set_attn_implementation(before)
    return same
