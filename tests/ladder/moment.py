"""Loaded into commands and their children: a checkpoint after every step, notes of what was done, and a death at a moment.

`moment.json` in a folder of sys.path, which children inherit, says {main, notes, moment}. A moment is `SIGNAL place count`:
place is a step whose loop has just saved (`lora`, `full`), `measure` (a rung was asked, and nothing is written yet),
`replace:FILE` (the file is written, for so many times in this process, and has no name yet) or `rename:NAME` (all is written, and
the node has no name yet).
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tuneladder.evaluate import forgetting
from tuneladder.train import loop

calls = itertools.count(1)
replaced: Counter[str] = Counter()


def settings() -> dict[str, Any]:
    return json.loads(next(path for place in sys.path if (path := Path(place) / "moment.json").is_file()).read_text())  # type: ignore[no-any-return]


def note(*words: object) -> None:
    with open(settings()["notes"], "a", encoding="utf-8") as file:
        file.write(" ".join(map(str, words)) + "\n")


def at(place: str, count: int) -> None:
    said = settings()
    kind, where, when = (said["moment"] or "SIGKILL nowhere 0").split()
    if place == where and count == int(when):
        if os.getpid() != said["main"]:
            note("orphan", os.getpid())
        os.kill(said["main"], getattr(signal, kind))
        if kind == "SIGKILL":
            time.sleep(60)  # an orphan that nobody ends stays for the test to see
        time.sleep(0.5)


def save(self: loop.State) -> None:
    real_save(self)
    note("save", self.file.parent.name, self.step)
    at(self.file.parent.name.partition("-")[0], self.step)


real_save = loop.State.save
loop.State.save = save  # type: ignore[method-assign]
# a property, for a course of a kind of its own has defaults of its own
loop.Course.save_every = property(lambda self: 0.0, lambda self, seconds: None)  # type: ignore[assignment]
# a few lines of the forgetting texts say as much about safety as all of them
real_rows = forgetting._rows
forgetting._rows = lambda name: real_rows(name)[:3]


def patch_main() -> None:
    """What happens in the command's own process only."""
    from tuneladder.ladder import climb

    real_measure, real_apply, real_rename, real_replace = climb.measure, climb.Climb._apply, os.rename, os.replace

    def measure(*given: Any, **named: Any) -> Any:
        found = real_measure(*given, **named)
        at("measure", next(calls))
        return found

    def apply(self: Any, work: Any) -> Any:
        note("make", work.key)
        return real_apply(self, work)

    def rename(source: Any, target: Any) -> None:
        at(f"rename:{os.path.basename(target).partition('-')[0]}", 1)
        real_rename(source, target)

    def replace(source: Any, target: Any) -> None:
        name = os.path.basename(target)
        replaced[name] += 1
        at(f"replace:{name}", replaced[name])
        real_replace(source, target)

    climb.measure, climb.Climb._apply, os.rename, os.replace = measure, apply, rename, replace  # type: ignore[method-assign]
