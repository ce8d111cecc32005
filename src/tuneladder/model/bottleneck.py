"""Bottleneck adapters (arXiv:1902.00751, section 2): two small layers with a bend between them, behind a sublayer and before what
it is added to. No library that is kept well has them: their file is a safetensors of our own, under `adapter_model.safetensors`.

Shapes: B rows, T tokens, D the model's width, r a bottleneck.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch.nn import functional

from tuneladder.errors import BadInput, Refused
from tuneladder.model.attach import (
    Attached,
    Opened,
    adapter_kind,
    head_weights,
    in_attention,
    let_learn,
    linears_of,
    mlp_ends,
    out_of,
    put_head,
)

Placement = Literal["houlsby", "pfeiffer"]
KIND = "TUNELADDER_BOTTLENECK"
FILE = "adapter_model.safetensors"
OUT = ("o_proj", "out_proj", "o", "out_lin", "c_proj", "Wo", "dense")  # what attention's last layer is called


class Bottleneck(torch.nn.Module):
    """A linear layer with an adapter behind it: y + up(gelu(down(y))). `up` is zero at first, so that the start is the base."""

    def __init__(self, linear: Any, r: int, *, draw: torch.Generator | None = None) -> None:
        super().__init__()
        width = out_of(linear)
        self.linear = linear
        self.down, self.up = torch.nn.Linear(width, r), torch.nn.Linear(r, width)
        with torch.no_grad():
            self.down.weight.copy_(torch.normal(0.0, width**-0.5, (r, width), generator=draw))
            for weight in (self.down.bias, self.up.weight, self.up.bias):
                weight.zero_()
        self.to(linear.weight.device)

    @property
    def weight(self) -> torch.Tensor:  # T5 looks at its precision
        return self.linear.weight  # type: ignore[no-any-return]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, T, ...) -> (B, T, D)."""
        y = self.linear(x)
        down, up = self.down, self.up
        low = functional.gelu(functional.linear(y, down.weight.to(y.dtype), down.bias.to(y.dtype)))
        return y + functional.linear(low, up.weight.to(y.dtype), up.bias.to(y.dtype))  # type: ignore[no-any-return]


def places(model: Any, placement: Placement) -> list[tuple[str, Any]]:
    """The linear layers that adapters stand behind: the last of each MLP, and for `houlsby` the last of each attention too.

    Raises Refused where none is found.
    """
    width = int(model.config.get_text_config().hidden_size)
    found = mlp_ends(model)
    if placement == "houlsby":
        found += [
            (name, module)
            for name, module in linears_of(model)
            if in_attention(name) and name.rpartition(".")[2] in OUT and out_of(module) == width
        ]
    if not found:
        raise Refused(f"adapter finds no layers to stand behind in {type(model).__name__}", "lora goes on any linear layer")
    return found


def bottleneck_parameters(model: Any, *, r: int, placement: Placement) -> int:
    """Parameters of the adapters that `attach_bottlenecks` puts on a model. Raises Refused where it finds no place."""
    return sum(2 * r * out_of(module) + r + out_of(module) for _, module in places(model, placement))


def attach_bottlenecks(model: Any, *, r: int, placement: Placement, seed: int, head: Sequence[str] = ()) -> Attached:
    """Adapters of `r` at their places; with them learn the modules of a classification head that `head` names."""
    draw = torch.Generator().manual_seed(seed)
    names = []
    for name, module in places(model, placement):
        _put(model, name, Bottleneck(module, r, draw=draw), module)
        names.append(name)
    let_learn(model, head)

    def save(folder: Path, base: str) -> None:
        from safetensors.torch import save_file

        kept = {
            f"{name}.{part}.{one}": weight.detach().contiguous()
            for name in names
            for part in ("down", "up")
            for one, weight in getattr(model.get_submodule(name), part).named_parameters()
        }
        save_file(kept | head_weights(model, head), str(folder / FILE))
        adapter_kind(folder, KIND, base=base, r=r, placement=placement)

    return Attached(model, save)


def open_bottlenecks(model: Any, folder: str) -> Opened:
    """The model with saved adapters, frozen. Raises BadInput where they are those of another base."""
    from safetensors.torch import load_file

    kept = put_head(model, load_file(Path(folder) / FILE))
    linears = dict(linears_of(model))
    names = sorted({name.rsplit(".", 2)[0] for name in kept})
    if missing := [name for name in names if name not in linears]:
        raise BadInput(f"the adapter in {folder} has a part for {missing[0]}, which this base has not", "it is another base's")
    for name in names:
        own = {one.removeprefix(f"{name}."): weight for one, weight in kept.items() if one.startswith(f"{name}.")}
        module = Bottleneck(linears[name], own["down.weight"].shape[0])
        if module.down.weight.shape != own["down.weight"].shape:
            raise BadInput(f"the adapter in {folder} is {own['down.weight'].shape[1]} wide", "it is another base's")
        module.load_state_dict(own, strict=False)
        _put(model, name, module.requires_grad_(False), linears[name])
    return model, ()


def _put(model: Any, name: str, module: Bottleneck, linear: Any) -> None:
    parent, _, last = name.rpartition(".")
    linear.requires_grad_(False)
    setattr(model.get_submodule(parent), last, module)
