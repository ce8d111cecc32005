"""How fast this machine runs a base: a micro-run of a second, from which plans foretell hours."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from tuneladder.model.lanes import Lanes, lanes_for
from tuneladder.types import Base, Family, Pace, Prompt, Variant

if TYPE_CHECKING:
    from tuneladder.model.shelf import Shelf

# flops per parameter and token, forward and backward through activations; weights that learn cost 2 more
FROZEN = 4
LENGTH = 64
ANSWER = 16  # tokens that a seq2seq's decoder reads of a row; plans count tokens of both stacks alike, as this does


def measured_pace(base: Base, shelf: Shelf) -> Pace:
    """The pace of a base borrowed from the shelf, at the precision that the shelf trains in."""
    with shelf.live(Variant(base, Prompt())) as live:
        return pace(live.model, active=base.active, vocabulary=base.vocabulary, family=base.family, autocast=shelf.autocast)


def pace(
    model: Any,
    *,
    active: int,
    vocabulary: int,
    family: Family = "decoder",
    autocast: torch.dtype | None = None,
    seconds: float = 1.0,
) -> Pace:
    """Time a model's body on random rows of 64 tokens, of a seq2seq with 16 more for its decoder, in lanes, within about
    `seconds`; a large model is run at least twice.

    Flops are counted as plans count them: 4 a token and active parameter, there and back through a frozen base; the head, which
    training runs on learned rows only, is left out. Weights, gradients, flags and mode stay as they are: the gradient
    is taken with respect to the embedded input alone.
    """
    core = model.base_model
    table = model.get_input_embeddings()
    device = table.weight.device
    draw = torch.Generator().manual_seed(0)
    uncached = {} if family == "encoder" else {"use_cache": False}  # an encoder has no cache to leave out
    length = LENGTH + (ANSWER if family == "seq2seq" else 0)

    def embedded(rows: int, length: int) -> torch.Tensor:
        ids = torch.randint(0, vocabulary, (rows, length), generator=draw).to(device)
        with torch.no_grad():
            return table(ids).detach()  # type: ignore[no-any-return]

    def learning(x: torch.Tensor) -> None:
        x.requires_grad_(True)
        with torch.autocast(device.type, autocast or torch.bfloat16, enabled=autocast is not None):
            if family == "seq2seq":
                read = model.get_encoder()(inputs_embeds=x[:, :LENGTH]).last_hidden_state
                own = {"inputs_embeds": x[:, LENGTH:], "encoder_hidden_states": read}
                hidden = model.get_decoder()(**own, **uncached).last_hidden_state
            else:
                hidden = core(inputs_embeds=x, **uncached).last_hidden_state
        torch.autograd.grad(hidden.float().square().mean(), x)

    training = model.training
    lanes = Lanes(lanes_for(device.type))
    model.eval()
    try:
        row = embedded(1, length)
        once = _seconds(lambda: learning(row), device, seconds * 0.3)
        rows = max(1, min(16, int(seconds * 0.1 / once)))
        rows = -(-rows // lanes.count) * lanes.count
        parts = embedded(rows, length).chunk(lanes.count)
        both = _seconds(lambda: lanes.map(learning, parts), device, seconds * 0.7)
    finally:
        lanes.close()
        model.train(training)
    return Pace(flops=FROZEN * active * rows * length / both)


def _seconds(run: Callable[[], object], device: torch.device, budget: float) -> float:
    """Median seconds of a call, after one that warms up; at least one timed call, more while `budget` lasts."""
    run()
    _wait(device)
    times: list[float] = []
    while not times or sum(times) + times[-1] < budget:
        started = time.perf_counter()
        run()
        _wait(device)
        times.append(time.perf_counter() - started)
    return sorted(times)[len(times) // 2]


def _wait(device: torch.device) -> None:
    """Until the device has done what was asked of it: a GPU answers before it has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
