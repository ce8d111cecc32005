"""Attention over padded rows with its way back written out, in the precision of its values.

What transformers computes step by step keeps each grid of scores several times, in float32 wherever a bias is added: here nothing
but the weights is kept, and nothing is wider than the values. It takes a bias on the scores (T5's relative positions, which learn),
a mask and dropout.

Beside it, `unpadded`: an encoder's rows without their padding, side by side in everything that takes a token at a time.

Shapes: B rows, H heads of width E, U queries, T keys, D the model's width, S tokens of all rows.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from tuneladder.model.batching import TILE
from tuneladder.model.lanes import slack, trying

NAME = "masked"


@dataclass(frozen=True)
class Tokens:
    """Which of the B * T cells of padded rows pass: `cells` (S,)."""

    rows: int
    longest: int
    cells: torch.Tensor

    @classmethod
    def of(cls, mask_BT: torch.Tensor) -> Tokens:
        """Those that the mask shows, and a few of padding where they do not fill whole tiles: a new shape costs a new kernel."""
        shown = mask_BT.flatten() != 0
        cells, others = shown.nonzero().flatten(), (~shown).nonzero().flatten()
        return cls(mask_BT.shape[0], mask_BT.shape[1], torch.cat([cells, others[: -len(cells) % TILE]]))

    def taken(self, padded: torch.Tensor) -> torch.Tensor:
        """(B, T, ...) -> (1, S, ...)."""
        return padded.reshape(-1, *padded.shape[2:]).index_select(0, self.cells)[None]

    def laid(self, tokens: torch.Tensor) -> torch.Tensor:
        """(S, ...) -> (B, T, ...), zeros where there is no token."""
        empty = tokens.new_zeros(self.rows * self.longest, *tokens.shape[1:])
        return empty.index_copy(0, self.cells, tokens).view(self.rows, self.longest, *tokens.shape[1:])


Kept = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def attended(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    bias: torch.Tensor | None,
    hidden: torch.Tensor | None,
    kept: torch.Tensor | None,
    scaling: float,
) -> tuple[torch.Tensor, Kept]:
    """Softmax attention (arXiv:1706.03762, equation 1), and what its way back wants.

    q (B, H, U, E), k and v (B, H, T, E) -> (B, U, H, E). bias (1, H, U, T) is added to the scores, hidden (B or 1, 1, U or 1, T)
    are those that count for nothing, kept (B*H, U, T) is what dropout multiplies with.
    """
    rows, heads, wide, _ = q.shape
    q, k, v = (own.reshape(rows * heads, *own.shape[2:]) for own in (q if scaling == 1 else q * scaling, k, v))
    scores = torch.bmm(q, k.transpose(1, 2))
    grid = scores.view(rows, heads, wide, -1)
    if bias is not None:
        grid.add_(bias.to(grid.dtype))
    if hidden is not None:
        grid.masked_fill_(hidden, torch.finfo(grid.dtype).min)
    # the kernel under `torch.softmax`, which sums in float32 and which autocast leaves alone
    seen = torch.ops.aten._softmax(scores, -1, False)
    out = torch.bmm(seen if kept is None else seen * kept, v)
    return out.view(rows, heads, wide, -1).transpose(1, 2), (q, k, v, seen)


def attended_back(
    gradient: torch.Tensor, read: Kept, kept: torch.Tensor | None, scaling: float, bias: torch.dtype | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """The gradients of q, k, v (B, H, U or T, E) and, in the precision `bias` if it is wanted, of the bias (1, H, U, T), given that
    (B, U, H, E) of what `attended` gave."""
    q, k, v, seen = read
    rows, _, heads, _ = gradient.shape
    out = gradient.transpose(1, 2).reshape(q.shape)
    of_v = torch.bmm((seen if kept is None else seen * kept).transpose(1, 2), out)
    back = torch.bmm(out, v.transpose(1, 2))
    if kept is not None:
        back.mul_(kept)
    back = torch.ops.aten._softmax_backward_data(back, seen, -1, back.dtype)
    of_q, of_k = torch.bmm(back, k), torch.bmm(back.transpose(1, 2), q)
    of_q = of_q if scaling == 1 else of_q.mul_(scaling)
    of_bias = None if bias is None else back.view(rows, heads, *back.shape[1:]).sum(0, keepdim=True, dtype=bias)
    of_q, of_k, of_v = (own.view(rows, heads, *own.shape[1:]) for own in (of_q, of_k, of_v))
    return of_q, of_k, of_v, of_bias


def dropped(shape: tuple[int, ...], like: torch.Tensor, dropout: float) -> torch.Tensor | None:
    """What dropout multiplies with, in the precision of `like`; None where nothing is dropped."""
    return functional.dropout(like.new_ones(shape), dropout) if dropout else None


class _Attention(torch.autograd.Function):
    """`attended` with its way back."""

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
        out, read = attended(q, k, v, bias, hidden, kept, scaling)
        ctx.save_for_backward(*read, kept)
        ctx.scaling, ctx.bias = scaling, None if bias is None else bias.dtype
        return out

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[Any, ...]:
        *read, kept = ctx.saved_tensors
        bias = ctx.bias if ctx.needs_input_grad[3] else None
        return *attended_back(gradient, tuple(read), kept, ctx.scaling, bias), None, None, None


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
    tokens: Tokens | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """The attention of transformers' interface, arXiv:1706.03762, equation 1. Raises TypeError for what it does not know: caps,
    sinks, grouped queries. With `tokens` query, key and value are (1, H, S, E), and so is what is given back (1, S, H, E)."""
    if tokens is not None:
        query, key, value = (tokens.laid(own[0].transpose(0, 1)).transpose(1, 2) for own in (query, key, value))
        others |= {"scaling": scaling, "dropout": dropout, "position_bias": position_bias}
        return tokens.taken(attend(module, query, key, value, attention_mask, **others)[0]), None
    unknown = [name for name in ("softcap", "s_aux") if others.get(name) is not None]
    if unknown or query.shape[1] != key.shape[1] or (attention_mask is not None and attention_mask.dtype != torch.bool):
        raise TypeError(f"this attention takes a mask of booleans and no {unknown or 'grouped queries'}")
    hidden = None if attention_mask is None else ~attention_mask
    query, key = query.to(value.dtype), key.to(value.dtype)
    # a cross attention of T5 is handed a bias of zeros, which does not learn
    if position_bias is not None and not position_bias.requires_grad and not position_bias.any():
        position_bias = None
    grid = query.shape[0] * query.shape[1], query.shape[2], key.shape[2]
    kept = dropped(grid, value, dropout if module.training else 0.0)
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
    before = model.config._attn_implementation
    asked = _asked(model)
    expected = _said(model, *asked)
    try:
        model.set_attn_implementation(NAME)
        same = bool(model.config._attn_implementation == NAME) and _same(model, asked, expected)
    except ValueError:
        same = False
    if not same:
        model.set_attn_implementation(before)
    return same


def _asked(model: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask (B, T) of rows of unlike length."""
    ids_BT = torch.arange(2, 20, device=model.device).view(2, 9) % model.config.get_text_config().vocab_size
    mask_BT = torch.ones_like(ids_BT)
    mask_BT[1, 6:] = 0
    return ids_BT, mask_BT


def _said(model: Any, ids_BT: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
    """What the model says of them, padding left out, in float32 and without dropout."""
    learning = model.training
    more: dict[str, Any] = {"decoder_input_ids": ids_BT.flip(1)[:, :5]} if model.config.is_encoder_decoder else {}
    model.eval()
    try:
        with trying(model):
            out = model(input_ids=ids_BT, attention_mask=mask_BT, **more)
    finally:
        model.train(learning)
    own: torch.Tensor = out.logits if "logits" in out else out.last_hidden_state
    return own[mask_BT.bool()].float() if own.shape[:2] == mask_BT.shape else own.float()


def _same(model: Any, asked: tuple[torch.Tensor, torch.Tensor], expected: torch.Tensor) -> bool:
    most = slack(model)
    try:
        return torch.allclose(_said(model, *asked), expected, rtol=most, atol=most * float(expected.abs().max()))
    except (TypeError, ValueError, RuntimeError, KeyError, AttributeError, IndexError):
        return False


@contextlib.contextmanager
def unpadded(model: Any) -> Iterator[bool]:
    """While open, no padding passes through the layers of an encoder that is set to this attention, if it then says what it said;
    it is tried. Its embeddings and its head see padded rows as ever; between the first layer and the last the rows lie side by
    side, and only attention lays them out. Whether it is so is what is given."""
    stacks = [own for own in model.modules() if isinstance(own, torch.nn.ModuleList) and len(own) == model.config.num_hidden_layers]
    now = threading.local()

    def begin(body: Any, args: Any, named: dict[str, Any]) -> None:
        """Before the model: which cells hold a token."""
        mask_BT = named.get("attention_mask")
        now.tokens = None if mask_BT is None else Tokens.of(mask_BT)

    def enter(layer: Any, args: Any, named: dict[str, Any]) -> Any:
        """Before a layer: hidden (B, T, D), or (1, S, D) already, as (1, S, D)."""
        tokens = now.tokens
        if tokens is None:
            return None
        hidden, *rest = args if args else (named.pop("hidden_states"),)
        if layer is layers[0]:
            hidden = tokens.taken(hidden)
        if "position_embeddings" in named:
            within = tokens.cells % tokens.longest
            named["position_embeddings"] = tuple(own[:, within] for own in named["position_embeddings"])
        return (hidden, *rest), {**named, "tokens": tokens}

    def leave(layer: Any, args: Any, made: Any) -> Any:
        """After the last layer: (1, S, D) as (B, T, D)."""
        if now.tokens is None:
            return None
        if isinstance(made, tuple):
            return (now.tokens.laid(made[0][0]), *made[1:])
        return now.tokens.laid(made[0])

    if len(stacks) != 1 or model.config._attn_implementation != NAME:
        yield False
        return
    layers = list(stacks[0])
    asked = _asked(model)
    expected = _said(model, *asked)
    hooks = [
        model.base_model.register_forward_pre_hook(begin, with_kwargs=True),
        *(layer.register_forward_pre_hook(enter, with_kwargs=True) for layer in layers),
        layers[-1].register_forward_hook(leave),
    ]
    try:
        same = _same(model, asked, expected)
        if not same:
            for hook in hooks:
                hook.remove()
        yield same
    finally:
        for hook in hooks:
            hook.remove()
