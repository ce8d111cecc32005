"""The sublayers of a seq2seq, each one function with its way back written out.

They stand in for those of T5's form (arXiv:1910.10683, and the gated MLP of arXiv:2002.05202): a root-mean-square norm, then
attention to the row itself or to what an encoder made, or an MLP, and its result added to what was read; with LoRA
(arXiv:2106.09685) on any of the matrices, and with dropout. Whether a model's are of that form is found by their modules and then
tried, gradients included.

Shapes: B rows, U tokens of them, T tokens that they attend to, D the width, H heads of width E, M the MLP's width, S tokens of all
rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch.nn import functional

from tuneladder.model.masked import NAME, attended, attended_back, dropped
from tuneladder.model.written import (
    Way,
    asleep,
    linears_of,
    multiplied,
    normed,
    normed_back,
    plain_linear,
    precision,
    scaled,
    stand_in_for,
    tensors_of,
)

ATTENTION = ("q", "k", "v", "o")
GATED, PLAIN = ("wi_0", "wi_1", "wo"), ("wi", "wo")
ATTENDING = ("SelfAttention", "EncDecAttention")

Act = tuple[Callable[[torch.Tensor], torch.Tensor], Callable[[torch.Tensor, torch.Tensor], torch.Tensor]]
_gelu_back = torch.ops.aten.gelu_backward
# an activation, and the gradient of what it read, given that of what it gave
ACTS: dict[str, Act] = {
    "NewGELUActivation": (partial(functional.gelu, approximate="tanh"), partial(_gelu_back, approximate="tanh")),
    "GELUTanh": (partial(functional.gelu, approximate="tanh"), partial(_gelu_back, approximate="tanh")),
    "GELUActivation": (functional.gelu, _gelu_back),
    "ReLU": (functional.relu, lambda gradient, read: gradient * (read > 0)),
    "SiLUActivation": (functional.silu, torch.ops.aten.silu_backward),
    "SiLU": (functional.silu, torch.ops.aten.silu_backward),
}


@dataclass(frozen=True)
class _Form:
    """What a sublayer does, beside its tensors: `scales` are those of the LoRAs, in the order of its linears."""

    eps: float
    scales: tuple[float, ...]
    heads: int = 0
    act: Act | None = None


class _Feed(torch.autograd.Function):
    """x + MLP(norm(x))."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        inner: torch.Tensor | None,
        outer: torch.Tensor | None,
        form: _Form,
        half: torch.dtype,
        norm: torch.Tensor,
        *tensors: torch.Tensor | None,
    ) -> torch.Tensor:
        """x (S, D) -> (S, D); inner (S, M) and outer (S, D) are what dropout multiplies with."""
        assert form.act
        linears = linears_of(tensors, half)
        read, rms = normed(x, norm, form.eps, half)
        made = [multiplied(linear, scale, read, None) for linear, scale in zip(linears[:-1], form.scales, strict=False)]
        gate, opened = made[0][0], form.act[0](made[0][0])
        up = made[1][0] if len(made) > 1 else None
        product = _product(opened, up, inner)
        out, low = multiplied(linears[-1], form.scales[-1], product, x if outer is None else None)
        ctx.save_for_backward(x, rms, norm, gate, opened, up, inner, outer, *tensors, *(own for _, own in made), low)
        ctx.form, ctx.half = form, half
        return out if outer is None else x + out * outer

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[Any, ...]:
        x, rms, norm, gate, opened, up, inner, outer, *rest = ctx.saved_tensors
        form, half = ctx.form, ctx.half
        count = len(form.scales)
        linears, lows = linears_of(rest[: 4 * count], half), rest[4 * count :]
        way = Way(linears, form.scales, lows, ctx.needs_input_grad[6:])
        last = count - 1
        of_out = (gradient if outer is None else gradient * outer).to(half)
        of_product = way.back(last, of_out, _product(opened, up, inner) if way.asked(last) else None)
        if inner is not None:
            of_product.mul_(inner)
        read = scaled(x, rms, norm, half) if way.asked(*range(last)) else None
        of_read = way.back(0, form.act[1](of_product if up is None else of_product * up, gate), read)
        if up is not None:
            of_read = way.back(1, of_product.mul_(opened), read, of_read)
        of_x, of_norm = normed_back(of_read, x, rms, norm, gradient, ctx.needs_input_grad[5])
        return of_x, None, None, None, None, of_norm, *way.found


def _product(opened: torch.Tensor, up: torch.Tensor | None, inner: torch.Tensor | None) -> torch.Tensor:
    product = opened if up is None else opened * up
    return product if inner is None else product * inner


class _Attend(torch.autograd.Function):
    """x + attention(norm(x)), to itself or to a memory."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        memory: torch.Tensor | None,
        bias: torch.Tensor | None,
        hidden: torch.Tensor | None,
        kept: torch.Tensor | None,
        outer: torch.Tensor | None,
        form: _Form,
        half: torch.dtype,
        norm: torch.Tensor,
        *tensors: torch.Tensor | None,
    ) -> torch.Tensor:
        """x (B, U, D), memory (B, T, D) -> (B, U, D). bias, hidden and kept as `masked.attended` has them; outer (S, D) is what
        dropout multiplies with."""
        linears, scales = linears_of(tensors, half), form.scales
        flat = x.reshape(-1, x.shape[-1])
        first, rms = normed(flat, norm, form.eps, half)
        source = first if memory is None else memory.reshape(-1, memory.shape[-1]).to(half)
        read = (first, source, source)
        made = [multiplied(linears[number], scales[number], read[number], None) for number in range(3)]
        q, k, v = (own.view(len(x), -1, form.heads, own.shape[-1] // form.heads).transpose(1, 2) for own, _ in made)
        seen, attention = attended(q, k, v, bias, hidden, kept, 1.0)
        mixed = seen.reshape(len(flat), -1)
        out, low = multiplied(linears[3], scales[3], mixed, flat if outer is None else None)
        out = out if outer is None else flat + out * outer
        again = mixed if any(ctx.needs_input_grad[9 + 4 * 3 :]) else None
        kept_memory = None if memory is None else source
        lows = (*(own for _, own in made), low)
        ctx.save_for_backward(flat, rms, norm, kept_memory, kept, outer, again, *attention, *tensors, *lows)
        ctx.form, ctx.half, ctx.shape = form, half, x.shape
        ctx.memory, ctx.bias = None if memory is None else memory.dtype, None if bias is None else bias.dtype
        return out.view(x.shape)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[Any, ...]:
        flat, rms, norm, memory, kept, outer, mixed, q, k, v, seen, *rest = ctx.saved_tensors
        form, half, (rows, _, width) = ctx.form, ctx.half, ctx.shape
        way = Way(linears_of(rest[:16], half), form.scales, rest[16:], ctx.needs_input_grad[9:])
        gradient = gradient.reshape(-1, width)
        of_out = (gradient if outer is None else gradient * outer).to(half)
        of_mixed = way.back(3, of_out, mixed).view(rows, -1, form.heads, v.shape[-1])
        wanted = ctx.bias if ctx.needs_input_grad[2] else None
        *found, of_bias = attended_back(of_mixed, (q, k, v, seen), kept, 1.0, wanted)
        of_q, of_k, of_v = (own.transpose(1, 2).reshape(own.shape[0] * own.shape[2], -1) for own in found)
        first = scaled(flat, rms, norm, half) if way.asked(0) or (memory is None and way.asked(1, 2)) else None
        of_first = way.back(0, of_q, first)
        source = first if memory is None else memory
        of_source = way.back(2, of_v, source, way.back(1, of_k, source, of_first if memory is None else None))
        of_memory = None
        if memory is None:
            of_first = of_source
        elif ctx.needs_input_grad[1]:
            of_memory = of_source.view(rows, -1, width).to(ctx.memory)
        of_x, of_norm = normed_back(of_first, flat, rms, norm, gradient, ctx.needs_input_grad[8])
        return of_x.view(ctx.shape), of_memory, of_bias, None, None, None, None, None, of_norm, *way.found


def fuse(model: Any) -> bool:
    """Put these passes in the place of the sublayers' own, where `model` (of transformers, set to masked attention, LoRA in it or
    not) has such sublayers and each then gives what it gave, gradients included; it is tried. Else leave it as it is. What asks for
    a cache takes the sublayers' own way."""
    found = [module for module in model.modules() if _is_sublayer(module)]
    if not found or model.config._attn_implementation != NAME:
        return False
    if len(found) != 2 * model.config.num_hidden_layers + 3 * (getattr(model.config, "num_decoder_layers", None) or 0):
        return False
    ids = torch.arange(2, 18, device=model.device).view(2, 8) % model.config.vocab_size
    asked = {"input_ids": ids, "attention_mask": (ids != ids[1, -1]).long(), "decoder_input_ids": ids.flip(1)[:, :5]}
    learning = model.training
    model.eval()  # nothing is dropped, so that both ways can be compared
    same = stand_in_for(found, _stand_in, model, **asked)
    model.train(learning)
    return same


def _inside(layer: Any) -> tuple[Any, tuple[str, ...]] | None:
    """What a sublayer has beside its norm, and the names of its linears."""
    children = dict(layer.named_children())
    inside = [own for name, own in children.items() if name in (*ATTENDING, "DenseReluDense")]
    if set(children) - {*ATTENDING, "DenseReluDense"} != {"layer_norm", "dropout"} or len(inside) != 1:
        return None
    names = GATED if hasattr(inside[0], "wi_0") else PLAIN if hasattr(inside[0], "wi") else ATTENTION
    return inside[0], names


def _is_sublayer(module: Any) -> bool:
    found = _inside(module)
    if found is None:
        return False
    inside, names = found
    others = [name for name, own in inside.named_children() if any(True for _ in own.parameters())]
    known = {*names, "relative_attention_bias"}
    return set(others) <= known and all(plain_linear(getattr(inside, name, None)) is not None for name in names)


def _stand_in(layer: Any) -> Callable[..., Any]:
    own = type(layer).forward
    found = _inside(layer)
    assert found
    inside, names = found
    linears = [each for each in (plain_linear(getattr(inside, name)) for name in names) if each is not None]
    scales = tuple(scale for _, _, scale in linears)
    norm = layer.layer_norm
    eps = norm.variance_epsilon

    def rate(dropout: float) -> float:
        return dropout if layer.training else 0.0

    if names is not ATTENTION:
        feed = _Form(eps, scales, act=ACTS[type(inside.act).__name__])
        wide = linears[-1][0].in_features

        def fed(hidden_states: torch.Tensor) -> torch.Tensor:
            """(B, U, D) -> (B, U, D)."""
            if asleep(linears):
                return own(layer, hidden_states)  # type: ignore[no-any-return]
            half = precision(hidden_states)
            flat = hidden_states.reshape(-1, hidden_states.shape[-1])
            like = flat.new_empty(0, dtype=half)
            inner = dropped((len(flat), wide), like, rate(inside.dropout.p))
            outer = dropped(tuple(flat.shape), like, rate(layer.dropout.p))
            with torch.autocast(flat.device.type, enabled=False):
                made = _Feed.apply(flat, inner, outer, feed, half, norm.weight, *tensors_of(linears))  # type: ignore[no-untyped-call]
            return made.view(hidden_states.shape)  # type: ignore[no-any-return]

        return fed

    form = _Form(eps, scales, heads=linears[0][0].out_features // inside.key_value_proj_dim)
    crossing = hasattr(layer, "EncDecAttention")

    def attending(
        hidden_states: torch.Tensor,
        key_value_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_bias: torch.Tensor | None = None,
        past_key_values: Any = None,
        **others: Any,
    ) -> Any:
        """(B, U, D) -> (B, U, D), the bias (1, H, U, T) and no weights."""
        if past_key_values is not None or inside.config._attn_implementation != NAME or asleep(linears):
            more = {"key_value_states": key_value_states} if crossing else {}
            more |= {"attention_mask": attention_mask, "position_bias": position_bias, "past_key_values": past_key_values}
            return own(layer, hidden_states, **more, **others)
        half = precision(hidden_states)
        longest = (hidden_states if key_value_states is None else key_value_states).shape[1]
        grid = len(hidden_states) * form.heads, hidden_states.shape[1], longest
        like = hidden_states.new_empty(0, dtype=half)
        kept = dropped(grid, like, rate(inside.dropout))
        outer = dropped((hidden_states.shape[:2].numel(), hidden_states.shape[2]), like, rate(layer.dropout.p))
        if position_bias is None and inside.has_relative_attention_bias:
            position_bias = inside.compute_bias(*grid[1:], device=hidden_states.device)
        hidden = None if attention_mask is None else ~attention_mask
        given = (hidden_states, key_value_states, position_bias, hidden, kept, outer, form, half, norm.weight)
        with torch.autocast(hidden_states.device.type, enabled=False):
            made = _Attend.apply(*given, *tensors_of(linears))  # type: ignore[no-untyped-call]
        return made, position_bias, None

    return attending
