"""The parts of a layer with their way back written out: linears with a LoRA beside them, and root-mean-square norms.

Automatic differentiation keeps what every operation read, in the precision that it happened to have, and passes over memory once
for each. What is put together of these parts keeps what its gradients need and nothing else, multiplies into what is to be added
to, forms no gradient that nobody asked for, and autocast has nothing to cast. Numbers are those of the plain pass up to rounding.

Shapes: S tokens, D the width of a model, r a rank.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch.nn import functional


class Linear(NamedTuple):
    """A matrix (out, in) with its bias, and a LoRA beside it: A (r, in) and B (out, r); each may be None but the first."""

    weight: torch.Tensor
    bias: torch.Tensor | None
    down: torch.Tensor | None
    up: torch.Tensor | None


def linears_of(tensors: Sequence[torch.Tensor | None], half: torch.dtype) -> list[Linear]:
    """The linears that these tensors are, four of each, in the precision of products."""
    own = [tensor if tensor is None else tensor.to(half) for tensor in tensors]
    return [Linear(*own[at : at + 4]) for at in range(0, len(own), 4)]  # type: ignore[arg-type]


def multiplied(
    linear: Linear, scale: float, x: torch.Tensor, onto: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor | None]:
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


def multiplied_back(
    linear: Linear,
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


class Way:
    """The way back through the linears of a layer: `wanted` says of the four tensors of each whether they learn, and `found` has
    the gradients of those that do."""

    def __init__(self, linears: Sequence[Linear], scales: Sequence[float], lows: Sequence[Any], wanted: Sequence[bool]) -> None:
        self.linears, self.scales, self.lows, self.wanted = linears, scales, lows, wanted
        self.found: list[torch.Tensor | None] = [None] * len(wanted)

    def asked(self, *numbers: int) -> bool:
        """Whether any weight of these linears learns."""
        return any(any(self.wanted[4 * number : 4 * number + 4]) for number in numbers)

    def back(
        self, number: int, gradient: torch.Tensor, read: torch.Tensor | None, onto: torch.Tensor | None = None
    ) -> torch.Tensor:
        own = slice(4 * number, 4 * number + 4)
        linear, scale, low = self.linears[number], self.scales[number], self.lows[number]
        made, self.found[own] = multiplied_back(linear, scale, gradient, read, low, self.wanted[own], onto)
        return made


def normed(x: torch.Tensor, weight: Any, eps: float, half: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """arXiv:1910.07467, equation 4, in `half`, and what x was multiplied with for it (S, 1), in float32."""
    wide = x.float()
    rms = torch.linalg.vector_norm(wide, dim=-1, keepdim=True).square_().div_(x.shape[-1]).add_(eps).rsqrt_()
    return _rounded(wide * rms, x.dtype, weight, half), rms


def scaled(x: torch.Tensor, rms: torch.Tensor, weight: Any, half: torch.dtype) -> torch.Tensor:
    """What `normed` made, from what it kept."""
    return _rounded(x.float() * rms, x.dtype, weight, half)


def _rounded(wide: torch.Tensor, dtype: torch.dtype, weight: torch.Tensor, half: torch.dtype) -> torch.Tensor:
    """Rounded where transformers' norms round: before the weight."""
    return (wide.to(dtype) * weight).to(half)


def normed_back(
    gradient: torch.Tensor, x: torch.Tensor, rms: torch.Tensor, weight: Any, beside: torch.Tensor, asked: bool
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The gradient of a norm's input, `beside` added, and that of its weight if it is asked for."""
    wide = x.float()
    of_weight = (gradient * (wide * rms).to(x.dtype)).sum(0, dtype=torch.float32) if asked else None
    towards = (gradient * weight).float()
    along = (towards * wide).sum(-1, keepdim=True).mul_(rms * rms * rms).div_(-x.shape[-1])
    found = torch.addcmul(towards.mul_(rms), wide, along)
    return found.add_(beside).to(beside.dtype), of_weight


def plain_linear(module: Any) -> tuple[Any, Any, float] | None:
    """A linear's own module, what holds its LoRA, if it has one, and that one's scale. None for what is not such a linear."""
    from peft.tuners import lora

    if type(module) is torch.nn.Linear:
        return module, None, 0.0
    plain = isinstance(module, lora.Linear) and module.active_adapters == ["default"] and not module.merged
    if not plain or module.lora_variant or type(module.base_layer) is not torch.nn.Linear:
        return None
    if not isinstance(module.lora_dropout["default"], torch.nn.Identity) or module.lora_bias["default"]:
        return None
    return module.base_layer, module, module.scaling["default"]


def asleep(found: Sequence[tuple[Any, Any, float]]) -> bool:
    """Whether a LoRA beside one of these linears is switched off now, or merged, so that the layers' own way is to be taken."""
    return any(
        lora is not None and (lora.disable_adapters or lora.merged or lora.active_adapters != ["default"]) for _, lora, _ in found
    )


def tensors_of(found: Sequence[tuple[Any, Any, float]]) -> list[torch.Tensor | None]:
    """The four tensors of each linear, now: those of a LoRA may be others tomorrow."""
    made: list[torch.Tensor | None] = []
    for linear, lora, _ in found:
        made += [linear.weight, linear.bias]
        made += [lora.lora_A["default"].weight, lora.lora_B["default"].weight] if lora else [None, None]
    return made


def precision(x: torch.Tensor) -> torch.dtype:
    """Of products: autocast's, where it is on."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


PLAIN = (bool, int, float, str, tuple, list, dict, type(None))  # what a module keeps of its settings

_Given = tuple[Any, torch.Tensor, dict[str, Any]]  # a layer, its first argument, and the others by name


def stand_in_for(layers: Sequence[Any], stand_in: Callable[[Any], Any], model: Any, **asked: Any) -> bool:
    """Put what `stand_in` makes of each layer in the place of its own way, if each then gives what it gave, gradients included, of
    what it is given where `asked` goes through the model. Else leave all as they are."""
    try:
        same = _like_own(_seen_by(model, layers, **asked), stand_in)
    except (TypeError, ValueError, RuntimeError, AttributeError, KeyError):
        return False
    for layer in layers if same else ():
        layer.forward = stand_in(layer)
    return same


def _seen_by(model: Any, layers: Sequence[Any], **asked: Any) -> list[_Given]:
    """What each layer is given, in float32, where `asked` goes through the model."""
    found: list[_Given] = []

    def see(layer: Any, positional: Any, named: dict[str, Any]) -> None:
        if len(positional) > 1:
            raise TypeError("what a layer is given has no names")
        x = positional[0] if positional else named["hidden_states"]
        others = {name: _wide(value) for name, value in named.items() if name != "hidden_states"}
        found.append((layer, x.float(), others))

    hooks = [layer.register_forward_pre_hook(see, with_kwargs=True) for layer in layers]
    try:
        with torch.no_grad():
            model(**asked, use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _wide(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_wide, value))
    return value.float() if _is_float(value) else value


def _like_own(given: Sequence[_Given], stand_in: Callable[[Any], Any]) -> bool:
    """Whether what stands in for each layer gives what the layer gave, gradients included; of layers that differ in their numbers
    alone the first is tried for all."""
    kinds = {_kind(layer, named): (layer, x, named) for layer, x, named in reversed(given)}
    return all(_near(mine, own) for layer, x, named in kinds.values() for mine, own in _both(layer, stand_in(layer), x, named))


def _kind(layer: Any, named: Mapping[str, Any]) -> str:
    """All that a layer is and is given, but for numbers in tensors and its place among the others."""
    said = []
    for name, module in layer.named_modules():
        plain = {
            key: value
            for key, value in vars(module).items()
            if not key.startswith("_") and key != "layer_idx" and isinstance(value, PLAIN)
        }
        weights = [(key, own.shape, own.dtype, own.requires_grad) for key, own in module.named_parameters(recurse=False)]
        said.append((name, type(module), sorted(plain.items()), weights))
    return repr((said, sorted((key, str(type(value))) for key, value in named.items())))


def _both(layer: Any, instead: Any, x: torch.Tensor, named: dict[str, Any]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """What this way and the layer's own make of x, and the gradients of x, of other tensors given and of what learns, all in
    float32: in sixteen bits a gradient may be noise. The layer's weights are left alone, and one layer's copies are alive at a
    time."""
    weights = {name: own.detach().float().requires_grad_(own.requires_grad) for name, own in layer.named_parameters()}
    learning = [own for own in weights.values() if own.requires_grad]

    def run() -> list[torch.Tensor]:
        others = {name: own.detach().requires_grad_() if _is_float(own) else own for name, own in named.items()}
        read = [x.clone().requires_grad_(True), *(own for own in others.values() if _is_float(own)), *learning]
        with torch.enable_grad(), torch.autocast(x.device.type, enabled=False):
            out = torch.func.functional_call(layer, weights, (read[0],), others)
        out = out[0] if isinstance(out, tuple) else out
        towards = torch.cos(torch.arange(out.numel(), device=out.device)).view(out.shape)
        found = torch.autograd.grad(out, read, towards, allow_unused=True)
        return [out.detach() - x, *(torch.zeros(1) if own is None else own for own in found)]

    plain = run()
    layer.forward = instead
    try:
        return list(zip(run(), plain, strict=True))
    finally:
        del layer.forward


def _is_float(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def _near(mine: torch.Tensor, own: torch.Tensor) -> bool:
    return bool((mine - own).norm() <= 1e-3 * own.norm() + 1e-6)
