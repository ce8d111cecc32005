"""The round before the work: items whose answers are known, marked, with what the labeler is told and whether they may go on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tuneladder.errors import BadInput
from tuneladder.feedback.rankings import choice_of, is_ranking, pairs_said, ranking_of
from tuneladder.feedback.rubric import Worked
from tuneladder.task.formats import text_of
from tuneladder.types import Judgement

PASS = 0.8  # the share that must be right


@dataclass(frozen=True)
class Calibration:
    """How a labeler did. `told` is what to tell: one sentence for each item that was not right."""

    labeler: str
    right: float
    count: int
    passed: bool
    told: tuple[str, ...]


def calibrate(
    judgements: Sequence[Judgement], known: Mapping[str, Worked], *, at_least: float = PASS, within: float = 0.0
) -> dict[str, Calibration]:
    """Each labeler's calibration by the known items that they judged: a score is right that lies `within` so much of the known one,
    a ranking as far as its pairs are. The last judgement of an item counts, for a round may be taken again.

    Raises BadInput where someone left known items out.
    """
    if not known:
        raise BadInput("there is no known item to calibrate by", "give items with their right answers")
    if not 0 <= at_least <= 1 or within < 0:
        said = f"within is {within}" if within < 0 else f"at_least is {at_least}"
        raise BadInput(said, "0 or more" if within < 0 else "a share, from 0 to 1")
    said_by: dict[str, dict[str, Judgement]] = {}
    for each in judgements:
        if each.item in known:
            said_by.setdefault(each.labeler, {})[each.item] = each
    for labeler, own in said_by.items():
        if left := next((item for item in known if item not in own), None):
            raise BadInput(f"{labeler} did not judge item {left} of the calibration", "everyone judges all of it")
    return {labeler: _calibration(labeler, own, known, at_least, within) for labeler, own in said_by.items()}


def share_right(said: Any, right: Any, *, within: float = 0.0, where: str = "") -> float:
    """1 or 0; of a ranking the share of its pairs that another, or a choice among its names, says alike."""
    if is_ranking(right):
        whole = ranking_of(right, f"what is right {where}")
        wanted = list(pairs_said(whole))
        own = set(pairs_said(ranking_of(said, where) if is_ranking(said) else choice_of(said, whole.names)))
        return sum(pair in own for pair in wanted) / len(wanted) if wanted else 1.0
    if isinstance(said, int | float) and isinstance(right, int | float):
        return float(abs(said - right) <= within)
    return float(text_of(said) == text_of(right))


def _calibration(
    labeler: str, own: Mapping[str, Judgement], known: Mapping[str, Worked], at_least: float, within: float
) -> Calibration:
    marks = {item: share_right(own[item].value, known[item].value, within=within, where=f"of item {item}") for item in known}
    right = sum(marks.values()) / len(marks)
    told = tuple(
        f"{item}: you said {text_of(own[item].value)}, right is {text_of(known[item].value)}" + (f": {why}" if why else "")
        for item, mark in marks.items()
        if mark < 1
        for why in [known[item].why]
    )
    return Calibration(labeler, right, len(marks), right >= at_least - 1e-9, told)
