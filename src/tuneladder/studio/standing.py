"""Where a labeler stands: in the calibration, before its result, at work, or done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tuneladder.feedback.calibration import Calibration, calibrate, share_right
from tuneladder.feedback.rubric import Worked, unstamped
from tuneladder.studio.judging import Said, said
from tuneladder.studio.known import Right
from tuneladder.studio.questions import questions, worded
from tuneladder.studio.records import Asked, Person, Records, letters_of, sequence

Stage = Literal["calibration", "marked", "failed", "work", "done"]


@dataclass(frozen=True)
class Slip:
    """A known answer that was not given, in the labeler's words. `place` is the item's among those of the calibration, `answers`
    are its answers by letter, or the one that was meant."""

    place: int
    asked: str
    answers: tuple[tuple[str, str], ...]
    criterion: str
    letter: str
    said: str
    right: str
    why: str


@dataclass(frozen=True)
class Mark:
    """The result of a round of the calibration."""

    right: float
    count: int
    passed: bool
    slips: tuple[Slip, ...]


@dataclass(frozen=True)
class Standing:
    """`asks` in their order, of which `at` is the next to be answered; `round` is the last of the calibration, 0 without one.
    `mark` is of that round where all of it is answered."""

    stage: Stage
    asks: tuple[Asked, ...]
    at: int | None
    round: int
    mark: Mark | None

    @property
    def own(self) -> list[Asked]:
        """The asks that stand beside the next one in the count that the labeler sees: of this round, or of the work."""
        calibrating = self.stage in ("calibration", "marked", "failed")
        return [ask for ask in self.asks if ask.round == (self.round if calibrating else 0)]


def standing(records: Records, person: Person) -> Standing:
    asks = tuple(sequence(records, person))
    round = max((ask.round for ask in asks), default=0)
    at = next((n for n, ask in enumerate(asks) if not ask.done and ask.round in (0, round)), None)
    first = [ask for ask in asks if round and ask.round == round]
    if any(not ask.done for ask in first):
        return Standing("calibration", asks, at, round, None)
    mark = mark_of(records, person, asks, round) if first else None
    if mark and not mark.passed:
        return Standing("failed", asks, None, round, mark)
    if mark and person.told < round:
        return Standing("marked", asks, None, round, mark)
    return Standing("done" if at is None else "work", asks, at, round, mark)


def open_to(found: Standing, person: Person, n: int) -> bool:
    """Whether the labeler may answer the ask of that place: the next, and those before it whose result they have not been told."""
    if not 0 <= n < len(found.asks):
        return False
    ask = found.asks[n]
    if ask.round:
        return ask.round == found.round and ask.round > person.told and (ask.done or n == found.at)
    return found.stage in ("work", "done") and (ask.done or n == found.at)


def mark_of(records: Records, person: Person, asks: Sequence[Asked], round: int) -> Mark:
    """The result of a round, all of which is answered; `asks` are all of the labeler's."""
    spoken = said(records, ("calibration",), person, round)
    marks: list[Calibration] = []
    for criterion, known in records.labelling.calibration.items():
        told = [each.judgement for each in spoken if unstamped(each.judgement.rubric)[0] == criterion]
        judged = {each.item for each in told}  # a new version of the rubric may ask for more in the middle of a round
        worked = {subject: Worked(subject, right.value, right.why) for subject, right in known.items() if subject in judged}
        marks += calibrate(told, worked).values() if worked else ()
    count = sum(mark.count for mark in marks)
    right = sum(mark.right * mark.count for mark in marks) / count if count else 1.0
    own = [ask for ask in asks if ask.round == round]
    slips = tuple(slip for each in spoken if (slip := _slip(records, person, own, each)))
    return Mark(right, count, right >= records.labelling.at_least - 1e-9, tuple(sorted(slips, key=lambda slip: slip.place)))


def _slip(records: Records, person: Person, asks: Sequence[Asked], each: Said) -> Slip | None:
    judgement = each.judgement
    criterion, version = unstamped(judgement.rubric)
    right: Right | None = records.labelling.calibration.get(criterion, {}).get(judgement.item)
    if right is None or share_right(judgement.value, right.value) == 1:
        return None
    letters = letters_of(records, person, each.ask)
    item = records.labelling.items[each.ask.item]
    asked = questions(records.rubrics[version], item, letters)
    question = next(one for one in asked if one.criterion.name == criterion and one.subject == judgement.item)
    place = [ask.id for ask in asks].index(each.ask.id) + 1
    said_, right_ = (worded(question, value, letters) for value in (judgement.value, right.value))
    meant = tuple((letter, item.answers[name]) for letter, name in letters.items() if question.letter in ("", letter))
    return Slip(place, item.turns[-1].text, meant, criterion, question.letter, said_, right_, right.why)
