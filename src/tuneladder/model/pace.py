"""How fast this machine runs a base: micro-runs of a second or two, from which plans foretell hours."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from tuneladder.model.attention import packs, pad_attention
from tuneladder.model.lanes import Lanes, in_half, lanes_for
from tuneladder.model.packed import grid_of
from tuneladder.model.trunk import fuse
from tuneladder.types import Base, Family, Pace, Prompt, Variant

if TYPE_CHECKING:
    from tuneladder.model.shelf import Shelf

# flops per parameter and token, forward and backward through activations; weights that learn cost 2 more
FROZEN = 4
LENGTH = 64
TRIED = 500_000_000  # parameters of a base; whether a larger one's layers can be one function is tried for longer than it saves
BESIDE = 1.45  # what a step takes (loss, adapters, sums of gradients, optimizer) over what its passes through the trunk do
ROWS = 16  # of a pass, which is as wide as training makes them
ANSWER = 16  # tokens that a seq2seq's decoder reads of a row; plans count tokens of both stacks alike, as this does


def measured_pace(base: Base, shelf: Shelf) -> Pace:
    """The pace of a base borrowed from the shelf, at the precision that the shelf trains in: of its own layers, and of what stands
    in for them in training."""
    with shelf.live(Variant(base, Prompt())) as live:
        own: dict[str, Any] = {"active": base.active, "vocabulary": base.vocabulary, "family": base.family}
        found = pace(live.model, autocast=shelf.autocast, **own)
        if base.active > TRIED:
            return found
        try:
            pad_attention(live.model, LENGTH, shelf.device, family=base.family)
        except ValueError:  # a class of transformers that has no such attention; where it is to be trained it is told
            return found
        packed = base.family == "decoder" and packs(live.model, LENGTH, shelf.device)
        if packed:
            fuse(live.model)
        trained = pace(live.model, autocast=shelf.autocast, packed=packed, **own)
        return replace(found, learning=trained.learning, each=trained.each)


def pace(
    model: Any,
    *,
    active: int,
    vocabulary: int,
    family: Family = "decoder",
    autocast: torch.dtype | None = None,
    seconds: float = 1.0,
    packed: bool = False,
) -> Pace:
    """Time a model's body on random rows of 64 tokens, of a seq2seq with 16 more for its decoder, in lanes, within about
    twice `seconds`, each width at least twice. With `packed` rows lie side by side, as its attention is set to take them.

    `flops` are those of passes of several rows; `learning` and `each` are what these say beside passes of one row, of a pass as a
    part of a step: how many flops a second a wider one makes, and what it takes before it makes any. Flops are counted as plans
    count them: 4 a token and active parameter, there and back through a frozen base; the head, which training runs on learned rows
    only, is left out. Weights, gradients, flags and mode stay as they are: the gradient is taken with respect to the embedded input
    alone.
    """
    core = model.base_model
    table = model.get_input_embeddings()
    device = table.weight.device
    draw = torch.Generator().manual_seed(0)
    uncached = {} if family == "encoder" else {"use_cache": False}  # an encoder has no cache to leave out
    length = LENGTH + (ANSWER if family == "seq2seq" else 0)

    def embedded(rows: int) -> torch.Tensor:
        ids = torch.randint(0, vocabulary, (rows, length), generator=draw).to(device)
        with torch.no_grad():
            return table(ids).detach()  # type: ignore[no-any-return]

    def learning(x: torch.Tensor) -> None:
        x.requires_grad_(True)
        with in_half(device.type, autocast):
            if family == "seq2seq":
                read = model.get_encoder()(inputs_embeds=x[:, :LENGTH]).last_hidden_state
                own = {"inputs_embeds": x[:, LENGTH:], "encoder_hidden_states": read}
                hidden = model.get_decoder()(**own, **uncached).last_hidden_state
            elif packed:
                grid = grid_of([length] * len(x))
                told = {"grid": grid, "position_ids": grid.positions}
                hidden = core(inputs_embeds=x.flatten(0, 1)[None], **told, **uncached).last_hidden_state
            else:
                hidden = core(inputs_embeds=x, **uncached).last_hidden_state
        torch.autograd.grad(hidden.float().square().mean(), x)

    training = model.training
    lanes = Lanes(lanes_for(device.type))
    model.eval()

    def timed(rows: int) -> float:
        """Seconds of a pass of so many rows in every lane."""
        parts = embedded(rows * lanes.count).chunk(lanes.count)
        return _seconds(lambda: lanes.map(learning, parts), device, seconds / 2)

    try:
        one = timed(1)
        rows = max(4 if one < seconds else 2, min(ROWS, int(seconds / 4 / one)))
        several = timed(rows)
    finally:
        lanes.close()
        model.train(training)
    work = FROZEN * active * lanes.count * length  # of a row in every lane
    # what more rows take is at least half of their share, whatever a busy machine makes of one of the two
    more = max(several - one, 0.5 * several * (rows - 1) / rows)
    return Pace(
        flops=work * rows / several,
        learning=work * (rows - 1) / more / BESIDE,
        each=max(0.0, several - more * rows / (rows - 1)) * BESIDE,
    )


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
