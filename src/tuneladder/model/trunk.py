"""The layers of a decoder, each one function with its way back written out.

Automatic differentiation keeps what every operation read, in the precision that it happened to have, and passes over memory once
for each. Here a layer keeps what its gradients need and nothing else, multiplies into what is to be added to, forms no gradient
that nobody asked for, and autocast has nothing to cast. Numbers are those of the plain pass up to rounding.

It stands in for layers of Llama's form: two root-mean-square norms (arXiv:1910.07467), rotary positions (arXiv:2104.09864), grouped
queries (arXiv:2305.13245), a gated MLP (arXiv:2002.05202), with biases or without, and LoRA (arXiv:2106.09685) on any of the
matrices. Whether a model is of that form is found by its modules and then tried, gradients included.

Shapes: S tokens in a sequence of packed rows, D its width, H heads and K key-value heads of width E, M the MLP's width, r a rank.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch.nn import functional

from tuneladder.model.packed import NAME, Grid, attended, attended_back, grid_of

LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class _Linear(NamedTuple):
    """A matrix (out, in) with its bias, and a LoRA beside it: A (r, in) and B (out, r); each may be None but the first."""

    weight: torch.Tensor
    bias: torch.Tensor | None
    down: torch.Tensor | None
    up: torch.Tensor | None


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
        *tensors: torch.Tensor | None,
    ) -> torch.Tensor:
        """x (S, D) -> (S, D). `half` is the precision of products; `tensors` are the norms' weights and seven linears'."""
        norms, linears = tensors[:2], _linears(tensors[2:], half)
        lows: list[torch.Tensor | None] = []

        def through(number: int, given: torch.Tensor, onto: torch.Tensor | None = None) -> torch.Tensor:
            made, low = _forward(linears[number], form.scales[number], given, onto)
            lows.append(low)
            return made

        first, rms_1 = _normed(x, norms[0], form.eps[0], half)
        q, k, v = (
            through(number, first).view(len(x), heads, -1) for number, heads in enumerate((form.heads, form.shared, form.shared))
        )
        out, kept = attended(_turned(q, *turn), _turned(k, *turn), v, grid, form.scaling)
        flat = out.reshape(len(x), -1)
        middle = through(3, flat, x)
        second, rms_2 = _normed(middle, norms[1], form.eps[1], half)
        gate, up = through(4, second), through(5, second)
        open_ = functional.silu(gate)
        made = through(6, open_ * up, middle)
        keys, values, queries, weights = kept
        # the attention's output is read again only where something learns from it
        again = flat if any(ctx.needs_input_grad[5 + 2 + 4 * 3 : 5 + 2 + 4 * 4]) else None
        ctx.save_for_backward(
            *(x, middle, rms_1, rms_2, gate, up, open_, again, *turn, *tensors, *lows, keys, values, *queries, *weights)
        )
        ctx.grid, ctx.form, ctx.half = grid, form, half
        return made

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[Any, ...]:
        x, middle, rms_1, rms_2, gate, up, open_, flat, cos, sin, *rest = ctx.saved_tensors
        grid, form, half = ctx.grid, ctx.form, ctx.half
        count = 2 + 4 * len(LINEARS)
        tensors, lows, rest = rest[:count], rest[count : count + len(LINEARS)], rest[count + len(LINEARS) :]
        keys, values, *rest = rest
        kept = (keys, values, tuple(rest[: len(rest) // 2]), tuple(rest[len(rest) // 2 :]))
        norms, linears = tensors[:2], _linears(tensors[2:], half)
        wanted = ctx.needs_input_grad[5:]
        found: list[torch.Tensor | None] = [None] * count

        def asked(number: int) -> Sequence[bool]:
            return wanted[2 + 4 * number : 6 + 4 * number]  # type: ignore[no-any-return]

        def back(number: int, of: torch.Tensor, read: torch.Tensor | None, onto: torch.Tensor | None = None) -> torch.Tensor:
            """The gradient of what linear `number` read, added to `onto`; those of its weights into `found`."""
            made, own = _backward(linears[number], form.scales[number], of, read, lows[number], asked(number), onto)
            found[2 + 4 * number : 6 + 4 * number] = own
            return made

        of = gradient.to(half)
        read = open_ * up if any(asked(6)) else None
        of_product = back(6, of, read)
        of_up = of_product * open_
        of_gate = torch.ops.aten.silu_backward(of_product.mul_(up), gate)
        read = _scaled(middle, rms_2, norms[1], half) if any(asked(4)) or any(asked(5)) else None
        of_second = back(5, of_up, read, back(4, of_gate, read))
        of_middle, found[1] = _unnormed(of_second, middle, rms_2, norms[1], gradient, wanted[1])
        of_out = back(3, of_middle.to(half), flat)
        of_q, of_k, of_v = attended_back(of_out.view(len(x), form.heads, -1), kept, grid, form.scaling)
        of_q, of_k = _turned(of_q, cos, -sin), _turned(of_k, cos, -sin)
        flat_q, flat_k, flat_v = (part.reshape(len(x), -1) for part in (of_q, of_k, of_v))
        read = _scaled(x, rms_1, norms[0], half) if any(any(asked(number)) for number in range(3)) else None
        below = ctx.needs_input_grad[0] or wanted[0]
        of_first = None
        for number, part in enumerate((flat_q, flat_k, flat_v)):
            if below or any(asked(number)):
                of_first = back(number, part, read, of_first)
        of_x = None
        if below:
            assert of_first is not None
            of_x, found[0] = _unnormed(of_first, x, rms_1, norms[0], of_middle, wanted[0])
        return of_x, None, None, None, None, *found


def _linears(tensors: Sequence[torch.Tensor | None], half: torch.dtype) -> list[_Linear]:
    """Seven linears, in the precision of products."""
    own = [tensor if tensor is None else tensor.to(half) for tensor in tensors]
    return [_Linear(*own[at : at + 4]) for at in range(0, len(own), 4)]  # type: ignore[arg-type]


def _forward(linear: _Linear, scale: float, x: torch.Tensor, onto: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor | None]:
    """x (S, in) -> (S, out), added to `onto`, and what the LoRA's A made of x."""
    if onto is not None and onto.dtype == x.dtype and linear.bias is None:
        y = torch.addmm(onto, x, linear.weight.t())
    else:
        y = functional.linear(x, linear.weight, linear.bias)
        y = y if onto is None else onto + y
    if linear.down is None or linear.up is None:
        return y, None
    low = x @ linear.down.t()
    if y.dtype == low.dtype:
        return y.addmm_(low, linear.up.t(), alpha=scale), low
    return y.add_(low @ linear.up.t(), alpha=scale), low


def _backward(
    linear: _Linear,
    scale: float,
    gradient: torch.Tensor,
    x: torch.Tensor | None,
    low: torch.Tensor | None,
    asked: Sequence[bool],
    onto: torch.Tensor | None,
) -> tuple[torch.Tensor, list[torch.Tensor | None]]:
    """The gradient (S, in) of x, added in place to `onto`, and those of the four tensors that are asked for."""
    found: list[torch.Tensor | None] = [None] * 4
    to_x = gradient @ linear.weight if onto is None else onto.addmm_(gradient, linear.weight)
    if asked[0]:
        assert x is not None
        found[0] = gradient.t() @ x
    if asked[1]:
        found[1] = gradient.sum(0)
    if linear.down is not None and linear.up is not None:
        assert low is not None
        to_low = (gradient @ linear.up).mul_(scale)
        to_x.addmm_(to_low, linear.down)
        if asked[2]:
            assert x is not None
            found[2] = to_low.t() @ x
        if asked[3]:
            found[3] = (gradient.t() @ low).mul_(scale)
    return to_x, found


def _normed(x: torch.Tensor, weight: Any, eps: float, half: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """arXiv:1910.07467, equation 4, in `half`, and what x was multiplied with for it (S, 1), in float32."""
    wide = x.float()
    rms = torch.linalg.vector_norm(wide, dim=-1, keepdim=True).square_().div_(x.shape[-1]).add_(eps).rsqrt_()
    return _rounded(wide * rms, x.dtype, weight, half), rms


def _scaled(x: torch.Tensor, rms: torch.Tensor, weight: Any, half: torch.dtype) -> torch.Tensor:
    """What `_normed` made, from what it kept."""
    return _rounded(x.float() * rms, x.dtype, weight, half)


def _rounded(wide: torch.Tensor, dtype: torch.dtype, weight: torch.Tensor, half: torch.dtype) -> torch.Tensor:
    """Rounded where transformers' norms round: before the weight."""
    return (wide.to(dtype) * weight).to(half)


def _unnormed(
    gradient: torch.Tensor, x: torch.Tensor, rms: torch.Tensor, weight: Any, beside: torch.Tensor, asked: bool
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The gradient of a norm's input, `beside` added, and that of its weight if it is asked for."""
    wide = x.float()
    of_weight = (gradient * (wide * rms).to(x.dtype)).sum(0, dtype=torch.float32) if asked else None
    towards = (gradient * weight).float()
    along = (towards * wide).sum(-1, keepdim=True).mul_(rms * rms * rms).div_(-x.shape[-1])
    found = torch.addcmul(towards.mul_(rms), wide, along)
    return found.add_(beside).to(beside.dtype), of_weight


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
    try:
        same = all(_near(mine, own) for given in _given(model, layers) for mine, own in _both(*given))
    except (TypeError, ValueError, RuntimeError, AttributeError, KeyError):
        return False
    for layer in layers if same else ():
        layer.forward = _stand_in(layer)
    return same


def _given(model: Any, layers: Sequence[Any]) -> list[tuple[Any, torch.Tensor, dict[str, Any]]]:
    """What each layer is given, in float32, where two short rows go through the model."""
    grid = grid_of([9, 5])
    ids = torch.arange(2, 16, device=model.device)[None] % model.config.get_text_config().vocab_size
    found: list[tuple[Any, torch.Tensor, dict[str, Any]]] = []

    def see(module: Any, positional: Any, named: dict[str, Any]) -> None:
        x = positional[0] if positional else named["hidden_states"]
        others = {name: value for name, value in named.items() if name != "hidden_states"}
        others["position_embeddings"] = tuple(part.float() for part in named["position_embeddings"])
        found.append((module, x.float(), others))

    hooks = [layer.register_forward_pre_hook(see, with_kwargs=True) for layer in layers]
    try:
        with torch.no_grad():
            model(input_ids=ids, position_ids=grid.positions, grid=grid, use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _both(layer: Any, x: torch.Tensor, named: dict[str, Any]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """What this way and the layer's own make of x, and the gradients of x and of what learns, all in float32: in sixteen bits a
    gradient may be noise. The layer's weights are left alone, and one layer's copies are alive at a time."""
    weights = {name: own.detach().float().requires_grad_(own.requires_grad) for name, own in layer.named_parameters()}
    learning = [own for own in weights.values() if own.requires_grad]

    def run() -> list[torch.Tensor]:
        given = x.clone().requires_grad_(True)
        with torch.enable_grad(), torch.autocast(x.device.type, enabled=False):
            out = torch.func.functional_call(layer, weights, (given,), named)
        towards = torch.cos(torch.arange(out.numel(), device=out.device)).view(out.shape)
        return [out.detach() - x, *torch.autograd.grad(out, [given, *learning], towards)]

    plain = run()
    layer.forward = _stand_in(layer)
    try:
        return list(zip(run(), plain, strict=True))
    finally:
        del layer.forward


def _near(mine: torch.Tensor, own: torch.Tensor) -> bool:
    return bool((mine - own).norm() <= 1e-3 * own.norm() + 1e-6)


def _is_layer(module: Any) -> bool:
    children = dict(module.named_children())
    if sorted(children) != ["input_layernorm", "mlp", "post_attention_layernorm", "self_attn"]:
        return False
    inside = [*children["self_attn"].named_children(), *children["mlp"].named_children()]
    names = [name for name, child in inside if any(True for _ in child.parameters())]
    return sorted(names) == sorted(LINEARS) and all(_linear(child) is not None for name, child in inside if name in LINEARS)


def _linear(module: Any) -> tuple[Any, Any, float] | None:
    """A linear's own module, what holds its LoRA, if it has one, and that one's scale. None for what is not such a linear."""
    from peft.tuners.lora import Linear

    if type(module) is torch.nn.Linear:
        return module, None, 0.0
    plain = isinstance(module, Linear) and module.active_adapters == ["default"] and not module.merged
    if not plain or module.lora_variant or type(module.base_layer) is not torch.nn.Linear:
        return None
    if not isinstance(module.lora_dropout["default"], torch.nn.Identity) or module.lora_bias["default"]:
        return None
    return module.base_layer, module, module.scaling["default"]


def _stand_in(layer: Any) -> Callable[..., torch.Tensor]:
    own = type(layer).forward
    norms = (layer.input_layernorm, layer.post_attention_layernorm)
    attention = layer.self_attn
    found = [_linear(getattr(attention if number < 4 else layer.mlp, name)) for number, name in enumerate(LINEARS)]
    linears = [each for each in found if each is not None]
    width = attention.head_dim
    form = _Form(
        linears[0][0].out_features // width,
        linears[1][0].out_features // width,
        attention.scaling,
        (norms[0].variance_epsilon, norms[1].variance_epsilon),
        tuple(scale for _, _, scale in linears),
    )

    def tensors() -> Iterator[torch.Tensor | None]:
        yield from (norm.weight for norm in norms)
        for linear, lora, _ in linears:
            yield linear.weight
            yield linear.bias
            yield lora.lora_A["default"].weight if lora else None
            yield lora.lora_B["default"].weight if lora else None

    def forward(hidden_states: torch.Tensor, *args: Any, grid: Grid | None = None, **others: Any) -> Any:
        """hidden_states (1, S, D) -> (1, S, D)."""
        if grid is None or others.get("past_key_values") is not None:
            return own(layer, hidden_states, *args, **({} if grid is None else {"grid": grid}), **others)
        device = hidden_states.device.type
        half = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden_states.dtype
        cos, sin = (part[0, :, None, : width // 2] for part in others["position_embeddings"])
        with torch.autocast(device, enabled=False):
            made = _Layer.apply(hidden_states[0], (cos, sin), grid, form, half, *tensors())  # type: ignore[no-untyped-call]
        return made[None]

    return forward
