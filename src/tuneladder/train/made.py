"""Comparisons that a step wrote: the next one that learns from comparisons learns from these instead of the task's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tuneladder.store import write_lines
from tuneladder.task.comparisons import read_comparisons, rows_of
from tuneladder.types import Comparison, Split, Step, Task, Turn, Variant

FORETOLD = "foretold"
HELD_OUT = 10  # of so many one is held out, for the loss on dev


def foretell_made(count: int) -> str:
    """What a plan says of so many comparisons that are still to be made."""
    return f"{FORETOLD} {count}"


def write_made(path: Path, comparisons: Sequence[Comparison]) -> str:
    """Where they lie, as rows that other tools read too."""
    write_lines(path, rows_of(comparisons))
    return str(path)


def with_made(task: Task, variant: Variant, step: Step) -> Task:
    """The task as a step is taught it: where it learns from comparisons, by those that a step below made, if there are any. Of what
    is foretold there are answers of a common length. Raises BadInput where what was made tells nothing apart."""
    if not variant.made or step.needs != "comparisons":
        return task
    if variant.made.startswith(FORETOLD):
        count = int(variant.made.split()[-1])
        own = [Comparison(str(at), (Turn("user", f"{at} " + "x" * 60),), "a" * 240, "b" * 240) for at in range(count)]
    else:
        own = list(read_comparisons(variant.made).comparisons)
    dev = own[HELD_OUT - 1 :: HELD_OUT]
    train = [each for at, each in enumerate(own) if at % HELD_OUT != HELD_OUT - 1]
    return replace(task, comparisons=Split(tuple(train), tuple(dev), ()))
