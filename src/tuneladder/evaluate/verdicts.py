"""What a judge is asked about answers, and how its replies are read (arXiv:2306.05685)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tuneladder.errors import BadInput
from tuneladder.types import Turn, Turns, Verdict

RUBRIC = "A good answer is correct, does what was asked, leaves nothing out that matters, and is clear."
REFERENCE = "reference"  # what a judge may set an answer against, beside a rung's
MARKS = tuple(str(mark) for mark in range(1, 11))
SIDES = ("A", "B", "tie")
NOTHING = "(nothing)"

WORTH = {"win": 1.0, "tie": 0.5, "loss": 0.0}

_BRACKETED = re.compile(r"\[\[\s*([^\[\]]{1,12}?)\s*\]\]")
_MARK = re.compile(r"(\d+(?:\.\d+)?)(?:\s*/\s*10)?")


@dataclass(frozen=True, kw_only=True)
class Judge:
    """`by` judges answers as `rubric` says: a base as a recipe names it, or an endpoint ({url: ..., model: ...}). It gives each a
    mark from 1 to 10 or, where they are set `against` those of a rung or the `reference`, says which is better, asked in both
    orders. With `reasons` it reads the reason of an answer, too, where there is one. A reply has at most `tokens` tokens and ends
    in the verdict; with `rank` it is not written, the verdicts are ranked.

    `people` is a file of what people said of answers (evaluate/people.py): on `pairs` of them it is measured how often the judge
    says the same.
    """

    by: str | dict[str, Any] = ""
    rubric: str = RUBRIC
    against: str = ""
    people: str = ""
    pairs: int = 100
    rank: bool = False
    reasons: bool = False
    tokens: int = 512

    def __post_init__(self) -> None:
        if not self.by:
            raise BadInput("judge names no judge", "judge: {by: a base, or {url: ..., model: ...}}")
        if self.tokens < 1 or self.pairs < 1:
            name = "tokens" if self.tokens < 1 else "pairs"
            raise BadInput(f"judge: {name} is {getattr(self, name)}", "1 or more")
        if not self.rubric.strip():
            raise BadInput("judge: the rubric says nothing", "say what makes an answer good, or leave it out")


@dataclass(frozen=True)
class Case:
    """An answer to a question, and another that it is set against, if it is."""

    id: str
    question: str
    answer: str
    other: str | None = None


def asks_of(case: Case, rules: Judge) -> list[Turns]:
    """One ask of an answer by itself, two of a pair: as it is, and with the two swapped."""
    if case.other is None:
        shown = [("Answer", case.answer)]
        end = (
            "Say in a sentence or two what is good and bad about it, and end with its mark, a number from 1 (useless) to 10 (could "
        )
        end += "not be better), in double brackets: [[mark]]"
        if rules.rank:
            end = "What mark from 1 (useless) to 10 (could not be better) does it deserve? Reply with the number alone."
        return [_ask("Judge this answer.", case.question, shown, end, rules)]
    end = "Which is better? Neither the order in which they stand nor their length makes an answer good. Say why in a sentence or "
    end += "two, and end with your verdict in double brackets: [[A]], [[B]], or [[tie]] if neither is better."
    if rules.rank:
        end = "Which is better? Neither the order in which they stand nor their length makes an answer good. Reply A, B or tie."
    pair = (case.answer, case.other)
    return [
        _ask("Compare these two answers.", case.question, [("Answer A", one), ("Answer B", two)], end, rules)
        for one, two in (pair, pair[::-1])
    ]


def _ask(task: str, question: str, answers: Sequence[tuple[str, str]], end: str, rules: Judge) -> Turns:
    parts = [f"{task} {rules.rubric}"]
    parts += [f"[Question]\n{question}"] if question.strip() else []
    parts += [f"[{name}]\n{text.strip() or NOTHING}" for name, text in answers]
    return (Turn("user", "\n\n".join([*parts, f"[End]\n{end}"])),)


def read_mark(reply: str) -> str:
    """The mark from 1 to 10 that a reply holds, "" where it has none: in double brackets, or all of it. One with several, as where
    the question is repeated, has none."""
    match = _MARK.fullmatch(_said(reply))
    return f"{float(match[1]):g}" if match and 1 <= float(match[1]) <= 10 else ""


def read_side(reply: str) -> str:
    """A, B or tie as a reply says it, "" where it says none or several: in double brackets, or all of it."""
    said = _said(reply).casefold()
    return next((side for side in SIDES if said in (side.casefold(), f"answer {side.casefold()}")), "")


def _said(reply: str) -> str:
    bracketed = set(_BRACKETED.findall(reply)) or {reply}
    return bracketed.pop().strip().strip(".*") if len(bracketed) == 1 else ""


def worth(outcome: str) -> float:
    """Of a verdict that could be read: marks and wins from 0 to 1."""
    return WORTH[outcome] if outcome in WORTH else (float(outcome) - 1) / 9


def verdict_of(case: Case, replies: Sequence[str]) -> Verdict:
    """What the replies to the case's asks come to. A pair whose verdict changes with the order is a tie."""
    said = tuple(replies)
    if case.other is None:
        return Verdict(case.id, read_mark(said[0]), said)
    first, swapped = map(read_side, said)
    if not first or not swapped:
        return Verdict(case.id, "", said)
    then = {"A": "B", "B": "A", "tie": "tie"}[swapped]
    if first == then:
        return Verdict(case.id, {"A": "win", "B": "loss", "tie": "tie"}[first], said)
    decided: dict[str, Literal["first", "second"]] = {"A": "first", "B": "second"}
    return Verdict(case.id, "tie", said, True, decided.get(first, "") if first == swapped else "")
