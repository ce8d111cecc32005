"""The layers of a decoder, each one function with its way back written out.

It stands in for layers of Llama's form: two root-mean-square norms (arXiv:1910.07467), rotary positions (arXiv:2104.09864), grouped
queries (arXiv:2305.13245), a gated MLP (arXiv:2002.05202), with biases or without, and LoRA (arXiv:2106.09685) on any of the
matrices. Whether a model is of that form is found by its modules and then tried, gradients included.

Shapes: S tokens in a sequence of packed rows, D its width, H heads and K key-value heads of width E, M the MLP's width, r a rank.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch.nn import functional

from tuneladder.model.packed import NAME, Grid, attended, attended_back, grid_of
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

GIVEN = 6  # what a layer is given beside its tensors
LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class _Form:
    """What a layer does, beside its tensors: `scales` are those of the LoRAs, in the order of LINEARS."""

    heads: int
    shared: int
    scaling: float
    eps: tuple[float, float]
    scales: tuple[float, ...]


class _Layer(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        turn: tuple[torch.Tensor, torch.Tensor],
        grid: Grid,
        form: _Form,
        half: torch.dtype,
        reads: torch.Tensor | None,
        *tensors: torch.Tensor | None,
    ) -> torch.Tensor:
        """x (S, D) -> (S, D), or (N, D) of the tokens `reads` (N,) alone. `half` is the precision of products; `tensors` are the
        norms' weights and seven linears'."""
        norms, linears = tensors[:2], linears_of(tensors[2:], half)
        lows: list[torch.Tensor | None] = []

        def through(number: int, given: torch.Tensor, onto: torch.Tensor | None = None) -> torch.Tensor:
            made, low = multiplied(linears[number], form.scales[number], given, onto)
            lows.append(low)
            return made

        first, rms_1 = normed(x, norms[0], form.eps[0], half)
        q, k, v = (
            through(number, first).view(len(x), heads, -1) for number, heads in enumerate((form.heads, form.shared, form.shared))
        )
        out, kept = attended(_turned(q, *turn), _turned(k, *turn), v, grid, form.scaling)
        flat, onto = out.reshape(len(x), -1), x
        if reads is not None:
            flat, onto = flat.index_select(0, reads), x.index_select(0, reads)
        middle = through(3, flat, onto)
        second, rms_2 = normed(middle, norms[1], form.eps[1], half)
        gate, up = through(4, second), through(5, second)
        open_ = functional.silu(gate)
        made = through(6, open_ * up, middle)
        # the attention's output is read again only where something learns from it
        again = flat if any(ctx.needs_input_grad[GIVEN + 2 + 4 * 3 : GIVEN + 2 + 4 * 4]) else None
        ctx.save_for_backward(*(x, middle, rms_1, rms_2, gate, up, open_, again, reads, *turn, *tensors, *lows, *kept))
        ctx.grid, ctx.form, ctx.half = grid, form, half
        return made

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[Any, ...]:
        x, middle, rms_1, rms_2, gate, up, open_, flat, reads, cos, sin, *rest = ctx.saved_tensors
        grid, form, half = ctx.grid, ctx.form, ctx.half
        count = 2 + 4 * len(LINEARS)
        tensors, lows, kept = rest[:count], rest[count : count + len(LINEARS)], rest[count + len(LINEARS) :]
        norms, linears = tensors[:2], linears_of(tensors[2:], half)
        wanted = ctx.needs_input_grad[GIVEN:]
        way = Way(linears, form.scales, lows, wanted[2:])
        of_norms: list[torch.Tensor | None] = [None, None]
        of = gradient.to(half)
        read = open_ * up if way.asked(6) else None
        of_product = way.back(6, of, read)
        of_up = of_product * open_
        of_gate = torch.ops.aten.silu_backward(of_product.mul_(up), gate)
        read = scaled(middle, rms_2, norms[1], half) if way.asked(4, 5) else None
        of_second = way.back(5, of_up, read, way.back(4, of_gate, read))
        of_middle, of_norms[1] = normed_back(of_second, middle, rms_2, norms[1], gradient, wanted[1])
        of_out = way.back(3, of_middle.to(half), flat)
        if reads is not None:
            of_out, of_middle = (part.new_zeros(len(x), part.shape[1]).index_copy_(0, reads, part) for part in (of_out, of_middle))
        of_q, of_k, of_v = attended_back(of_out.view(len(x), form.heads, -1), kept, grid, form.scaling)
        of_q, of_k = _turned(of_q, cos, -sin), _turned(of_k, cos, -sin)
        flat_q, flat_k, flat_v = (part.reshape(len(x), -1) for part in (of_q, of_k, of_v))
        read = scaled(x, rms_1, norms[0], half) if way.asked(0, 1, 2) else None
        below = ctx.needs_input_grad[0] or wanted[0]
        of_first = None
        for number, part in enumerate((flat_q, flat_k, flat_v)):
            if below or way.asked(number):
                of_first = way.back(number, part, read, of_first)
        of_x = None
        if below:
            assert of_first is not None
            of_x, of_norms[0] = normed_back(of_first, x, rms_1, norms[0], of_middle, wanted[0])
        return of_x, None, None, None, None, None, *of_norms, *way.found


def _turned(heads: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary positions of heads (S, H, E), arXiv:2104.09864, the halves of E turned as pairs, in the precision of cos and sin, both
    (S, 1, E / 2)."""
    wide = heads.to(cos.dtype)
    left, right = wide.chunk(2, -1)
    turned = torch.empty_like(wide)
    half = turned.chunk(2, -1)
    torch.addcmul(left * cos, right, sin, value=-1, out=half[0])
    torch.addcmul(right * cos, left, sin, out=half[1])
    return turned.to(heads.dtype)


def fuse(model: Any) -> bool:
    """Put these passes in the place of the layers' own, wherever packed rows go through them, if `model` (of transformers, set to
    packed attention, LoRA in it or not) has such layers and each then gives what it gave, gradients included; it is tried. Else
    leave it as it is. Rows that are not packed, and those that ask for a cache, take the layers' own way."""
    layers = [module for module in model.modules() if _is_layer(module)]
    if not layers or len(layers) != model.config.get_text_config().num_hidden_layers or model.config._attn_implementation != NAME:
        return False
    grid = grid_of([6, 5], before=3)
    ids = torch.arange(2, 16, device=model.device)[None] % model.config.get_text_config().vocab_size
    stand_in = partial(_stand_in, last=layers[-1])
    return stand_in_for(layers, stand_in, model, input_ids=ids, position_ids=grid.positions, grid=grid)


def _is_layer(module: Any) -> bool:
    children = dict(module.named_children())
    if sorted(children) != ["input_layernorm", "mlp", "post_attention_layernorm", "self_attn"]:
        return False
    inside = [*children["self_attn"].named_children(), *children["mlp"].named_children()]
    names = [name for name, child in inside if any(True for _ in child.parameters())]
    return sorted(names) == sorted(LINEARS) and all(plain_linear(child) is not None for name, child in inside if name in LINEARS)


def _stand_in(layer: Any, *, last: Any) -> Callable[..., torch.Tensor]:
    """What does a layer's work. After attention the last one has nothing to say of tokens that nobody reads."""
    own = type(layer).forward
    norms = (layer.input_layernorm, layer.post_attention_layernorm)
    attention = layer.self_attn
    found = [plain_linear(getattr(attention if number < 4 else layer.mlp, name)) for number, name in enumerate(LINEARS)]
    linears = [each for each in found if each is not None]
    width = attention.head_dim
    form = _Form(
        linears[0][0].out_features // width,
        linears[1][0].out_features // width,
        attention.scaling,
        (norms[0].variance_epsilon, norms[1].variance_epsilon),
        tuple(scale for _, _, scale in linears),
    )

    def forward(
        hidden_states: torch.Tensor, *args: Any, grid: Grid | None = None, reads: torch.Tensor | None = None, **others: Any
    ) -> Any:
        """hidden_states (1, S, D) -> (1, S, D), of the last layer (1, N, D) where `reads` (N,) says which are read."""
        if grid is None or others.get("past_key_values") is not None or asleep(linears):
            return own(layer, hidden_states, *args, **({} if grid is None else {"grid": grid}), **others)
        half = precision(hidden_states)
        cos, sin = (part[0, :, None, : width // 2] for part in others["position_embeddings"])
        weights = (*(norm.weight for norm in norms), *tensors_of(linears))
        with torch.autocast(hidden_states.device.type, enabled=False):
            read = reads if layer is last else None
            made = _Layer.apply(hidden_states[0], (cos, sin), grid, form, half, read, *weights)  # type: ignore[no-untyped-call]
        return made[None]

    return forward
