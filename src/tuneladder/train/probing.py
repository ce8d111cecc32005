"""`learning_rate: probe`: three short runs on the task's own rows, and the rate whose dev loss ends lowest, or what decides in its
place.

A short run, its rate falling as a whole run's does, bears a somewhat larger rate than a whole one; hence the rates lie near what
the step would take by itself: that, a third of it, three times it.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch

from tuneladder.errors import Failed
from tuneladder.train.batches import Batches, Micro
from tuneladder.train.loop import Course, Loss, drop_checkpoints, learn
from tuneladder.types import Kit

Rate = float | Literal["probe"]
PROBE: Literal["probe"] = "probe"

POINTS = (10**-0.5, 1.0, 10**0.5)  # times the step's own rate
SHARE, FEWEST, MOST = 0.1, 8, 60  # steps of a short run: a tenth of the whole, but within these


def probe_steps(steps: int) -> int:
    """How many steps each short run of a probe takes, for a run of so many."""
    return min(steps, max(FEWEST, min(MOST, round(SHARE * steps))))


def probed(
    model: torch.nn.Module,
    batches: Batches,
    kit: Kit,
    *,
    loss: Loss,
    course: Course,
    dev: Sequence[Micro],
    lanes: int,
    refined: Loss | None = None,
) -> float:
    """The learning rate that a probe of what learns in `model` takes; its weights are then what they were.

    What was tried and taken stands in the folder's `rates.json`, so that a run that was killed goes on from there. Where the time
    runs out, the best of what was tried is taken for the while: a run that goes on tries the rest, and begins anew. Raises Failed
    where the loss of every run is no number.
    """
    path = kit.folder / "rates.json"
    tried: list[tuple[float, float | None]] = []
    if path.exists():
        kept = json.loads(path.read_text("utf-8"))
        if kept["taken"]:
            return float(kept["taken"])
        tried = [(rate, found) for rate, found in kept["tried"]]
        drop_checkpoints(kit.folder)  # of a rate that was taken for the while
    weights = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    before = {name: weight.detach().clone() for name, weight in weights.items()}
    few = _First(batches, probe_steps(len(batches)))
    rates = [course.learning_rate * times for times in POINTS]
    for number, rate in list(enumerate(rates))[len(tried) :]:
        folder = kit.folder / f"probe-{number}"
        folder.mkdir(exist_ok=True)
        own = replace(course, learning_rate=rate, looks=1)
        lent = replace(kit, folder=folder)
        last = learn(model, few, lent, loss=loss, course=own, dev=dev, lanes=lanes, refined=refined)[-1]
        with torch.no_grad():
            for name, weight in weights.items():
                weight.copy_(before[name])
        shutil.rmtree(folder)
        if last.stopped == "budget":
            break
        found = last.decisive
        tried.append((rate, found if found is not None and math.isfinite(found) else None))
        path.write_text(json.dumps({"tried": tried, "taken": None}), "utf-8")
    known = [(found, rate) for rate, found in tried if found is not None]
    whole = len(tried) == len(POINTS)
    if whole and not known:
        said = ", ".join(f"{rate:.3g}" for rate in rates)
        raise Failed(f"the loss is no number at any rate of the probe ({said})", "set `learning_rate` to a smaller one")
    taken = min(known)[1] if known else course.learning_rate
    path.write_text(json.dumps({"tried": tried} | ({"taken": taken} if whole else {"taken": None, "meanwhile": taken})), "utf-8")
    return taken


class _First:
    """The first steps of some batches."""

    def __init__(self, batches: Batches, count: int) -> None:
        self.batches, self.count = batches, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, step: int) -> list[Micro]:
        return self.batches[step]

    def narrow(self) -> bool:
        return self.batches.narrow()
