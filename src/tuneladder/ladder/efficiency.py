"""What a rung takes: seconds and energy of an answer, of making it and of measuring it, with the CO2 that goes with that."""

from __future__ import annotations

from dataclasses import dataclass

from tuneladder.model.energy import grams, joules, together
from tuneladder.types import Axes, Energy, Result


@dataclass(frozen=True)
class Spent:
    """`grams` are of CO2."""

    joules: float
    grams: float


@dataclass(frozen=True)
class Efficiency:
    """`seconds` are those of an answer, `memory` is the peak in bytes. Energy is None where it is not known, as that of an
    endpoint; `by` says what read it, or that it is an estimate."""

    seconds: float
    memory: int
    answer: Spent | None
    climbing: Spent | None
    measuring: Spent | None
    by: str


def efficiency(result: Result, axes: Axes) -> Efficiency | None:
    """None for a rung that was not measured."""
    examined = result.dev or result.test
    if examined is None:
        return None
    found = [each.energy for each in (result.dev, result.test) if each and each.energy]
    measuring = together(found) if found else None
    one = None
    if measuring and measuring.seconds:
        one = joules(measuring, axes.watts) / measuring.seconds * examined.per_answer.seconds
    known = [each for each in (result.energy, measuring) if each]
    return Efficiency(
        examined.per_answer.seconds,
        result.alone.memory,
        None if one is None else Spent(one, grams(one, axes.intensity)),
        _spent(result.energy, axes),
        _spent(measuring, axes),
        by(together(known), axes) if known else "",
    )


def by(energy: Energy, axes: Axes) -> str:
    """Where the joules come from, in words."""
    read = f"read by {energy.meter}" if energy.meter else ""
    if not energy.watts:
        return read
    if axes.watts is None:
        rest = f"an estimate of {energy.watts:.3g} W by makers' figures"
    else:
        rest = f"an estimate of {axes.watts:.3g} W as the recipe says"
    return f"{read}, and for the rest {rest}" if read else f"{rest}, for no meter could be read"


def _spent(energy: Energy | None, axes: Axes) -> Spent | None:
    if energy is None:
        return None
    taken = joules(energy, axes.watts)
    return Spent(taken, grams(taken, axes.intensity))
