"""The works of training that are timed beside another tool's. Every module here says in WORKS what it describes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

Figures = dict[str, Any]
Settings = Mapping[str, Any]

SEED = 0
# what every trainer of transformers' kind is told, so that nothing but training is timed
PLAIN_TRAINER: dict[str, Any] = {
    "use_cpu": True,
    "logging_steps": 1,
    "save_strategy": "no",
    "report_to": "none",
    "disable_tqdm": True,
    "dataloader_pin_memory": False,
    "seed": SEED,
}


@dataclass(frozen=True)
class Work:
    """Steps of training, made by `ours` and by `theirs`, the other tool, with each of the settings in `grid`.

    `build` makes in a folder what both read. `theirs` and `ours` take that folder, how many steps to make and, theirs, its
    settings, and give figures; `losses` gives both losses on one batch, in a precision. A step is `units` of `unit`, `warm` of them
    are left out of a run's speed, and `flops` gives the useful operations of so many steps. `last` are tried one after another
    on the best so far. `speed` and `memory` are the ratios aimed at, ours over theirs, `most` the bytes.
    """

    unit: str
    units: int
    steps: int
    warm: int
    build: Callable[[Path], None]
    ours: Callable[[Path, int], Figures]
    flops: Callable[[int], float]
    rival: str = ""
    grid: Sequence[Settings] = ()
    last: Sequence[Settings] = ()
    grid_steps: int = 4
    theirs: Callable[[Path, int, Settings], Figures] | None = None
    losses: Callable[[Path, str], Figures] | None = None
    speed: float = 0.0
    memory: float = 0.0
    most: int = 0
    packages: tuple[str, ...] = ()


def useful_flops(
    *, body: int, head: int, width: int, layers: int, lengths: Sequence[int], learned: int, frozen: bool, causal: bool
) -> float:
    """Operations that a step on rows of these lengths cannot do without: 2 a weight and token forward and 2 back through the
    activations, 2 more where weights learn; the head (`head` weights) on learned rows only; attention's two products, over half the
    square where it is causal, with twice as many going back. Padding, and what is computed again, is not useful."""
    passes = 4 if frozen else 6
    attention = sum(12 * length * length * width * layers for length in lengths) / (2 if causal else 1)
    return passes * (body * sum(lengths) + head * learned) + attention


def seconds_of(ends: Sequence[float], *, warm: int) -> list[float]:
    """Seconds of each step but the first `warm`, given when each ended."""
    return [later - earlier for earlier, later in pairwise(ends)][warm - 1 :]


def run_step(step: Any, base: Any, task: Any, folder: Path) -> Figures:
    """Apply a step of ours to a base as a ladder would, with no limit of memory or time; what its log says."""
    import tempfile

    from tuneladder.model.hardware import device
    from tuneladder.model.shelf import Shelf
    from tuneladder.store import Store
    from tuneladder.train.loop import read_log
    from tuneladder.types import Kit, Variant

    shelf = Shelf(device())
    with tempfile.TemporaryDirectory(dir=folder) as own:
        kit = Kit(Path(own), Store(Path(own) / "store"), 0, device(), None, None, shelf)
        step.apply(Variant(base, task.prompt), task, kit)
        ticks = read_log(kit.folder)
    return {
        "ends": [tick.seconds for tick in ticks],
        "first_loss": ticks[0].loss,
        "last_loss": ticks[-1].loss,
        "dtype": str(shelf.dtype).removeprefix("torch."),
    }


def run_trainer(make: Callable[[list[Any]], Any]) -> Figures:
    """Train with a trainer of transformers' kind, which `make` builds with the callbacks it is given."""
    import time

    from transformers import TrainerCallback

    ends: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            ends.append(time.perf_counter())

    trainer = make([Clock()])
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return {"ends": ends, "first_loss": losses[0], "last_loss": losses[-1]}
