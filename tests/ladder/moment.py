"""Loaded into a command's process and its children: a checkpoint after every step, notes of what was done, and a death at a moment.

MOMENT is `signal place count`: place is a step whose loop has just saved (`lora`, `full`), `measure` (a rung was asked, and
nothing is written yet) or `rename:NAME` (all is written, and the node has no name yet). MOMENT_NOTES is a file of notes.
"""

from __future__ import annotations

import itertools
import os
import signal
import time

from tuneladder.train import loop

MAIN, NOTES = int(os.environ["MOMENT_MAIN"]), os.environ["MOMENT_NOTES"]
SIGNAL, PLACE, COUNT = (os.environ.get("MOMENT") or "SIGKILL nowhere 0").split()
calls = itertools.count(1)


def note(*words: object) -> None:
    with open(NOTES, "a", encoding="utf-8") as file:
        file.write(" ".join(map(str, words)) + "\n")


def at(place: str, count: int) -> None:
    if place == PLACE and count == int(COUNT):
        note("orphan", os.getpid()) if os.getpid() != MAIN else None
        os.kill(MAIN, getattr(signal, SIGNAL))
        if SIGNAL == "SIGKILL":
            time.sleep(30)  # an orphan that nobody ends stays for the test to see


def save(self: loop.State) -> None:
    real_save(self)
    note("save", self.file.parent.name, self.step)
    at(self.file.parent.name.partition("-")[0], self.step)


real_save = loop.State.save
loop.State.save = save  # type: ignore[method-assign]
*others, _ = loop.Course.__init__.__defaults__  # type: ignore[misc]
loop.Course.__init__.__defaults__ = (*others, 0.0)  # type: ignore[misc]


def patch_main() -> None:
    """What happens in the command's own process only."""
    from tuneladder.ladder import child, climb

    real_measure, real_apply, real_rename = climb.measure, climb.Climb._apply, os.rename

    def measure(*given, **named):
        found = real_measure(*given, **named)
        at("measure", next(calls))
        return found

    def apply(self, work):
        note("make", work.key)
        return real_apply(self, work)

    def rename(source, target):
        at(f"rename:{os.path.basename(target).partition('-')[0]}", 1)
        real_rename(source, target)

    climb.measure, climb.Climb._apply, os.rename = measure, apply, rename
    child.PRELOAD.append("moment")
