"""What is wrong with the reasons that answers come with, by rules that anybody can follow: they contradict their answer, or name
what does not stand in what was asked. A reason in which neither is found may be wrong all the same: people judge that."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tuneladder.evaluate.correlation import number
from tuneladder.evaluate.facts import strays
from tuneladder.evaluate.intervals import wilson
from tuneladder.task.scripts import whole
from tuneladder.types import Marked, Score

_SENTENCE = re.compile(r"(?<=[.!?…])\s+|\n+")
_DENIED = re.compile(r"(?:\bnot|\bno|\bnor|\bnever|\bthan|\binstead of|n['’]t)\s+(?:(?:about|a|an|the|really|of|in)\s+)*[\"'“]?$")
_EVERYDAY = frozenset({"yes", "no", "true", "false", "other", "none", "neither", "not", "a", "i", "may", "so"})


@dataclass(frozen=True)
class Reason:
    """An answer with its reason. `concluded` is what the reason comes to where that is not the answer, "" where it is or nothing is
    named; `invented` are the facts that it names and the row does not."""

    marked: Marked
    concluded: str
    invented: tuple[str, ...]


@dataclass(frozen=True)
class Explanations:
    """The reasons of a rung. `contradicting` is the share that come to another label than their answer, None where answers are no
    labels; `inventing` the share that name a fact which is not in the row."""

    reasons: tuple[Reason, ...]
    contradicting: Score | None
    inventing: Score


def explanations(answers: Sequence[Marked], labels: Sequence[str] = (), *, asked: str = "") -> Explanations | None:
    """The reasons of those answers that have one; None where none has.

    What a reason may name is the row with its options, what else was `asked`, the labels and its own answer. Where all references
    are numbers, an answer is worked out, and new numbers are no invention.
    """
    explained = [marked for marked in answers if marked.answer.reason]
    if not explained:
        return None
    worked_out = all(number(marked.reference.replace(",", "")) is not None for marked in explained)
    reasons = []
    for marked in explained:
        given = "\n".join([marked.input, *marked.options, asked, *labels, marked.answer.text])
        concluded = conclusion(marked.answer.reason, labels, marked.answer.text) if labels else ""
        reasons.append(Reason(marked, concluded, strays(marked.answer.reason, given, numbers=not worked_out)))
    contradicting = _share([bool(each.concluded) for each in reasons]) if labels else None
    return Explanations(tuple(reasons), contradicting, _share([bool(each.invented) for each in reasons]))


def conclusion(reason: str, labels: Sequence[str], answer: str) -> str:
    """What the reason comes to where that is not the answer: another label, or `not` the answer; else "".

    The last sentence that names a label decides, in any case and as whole words. A label after `not`, `than` or `instead of` is
    denied. One that everyday speech is full of, such as yes or other, counts at the end of a sentence alone.
    """
    known = {label.casefold().strip(): label for label in labels}
    pattern = re.compile(whole(filter(None, known)))
    for sentence in reversed(_SENTENCE.split(reason.casefold())):
        found = [match for match in pattern.finditer(sentence) if match[0] not in _EVERYDAY or _ends(sentence, match.end())]
        if not found:
            continue
        denied = {known[match[0]] for match in found if _DENIED.search(sentence[: match.start()])}
        named = [known[match[0]] for match in found if not _DENIED.search(sentence[: match.start()])]
        if answer in named:
            return ""
        return named[-1] if named else f"not {answer}" if answer in denied else ""
    return ""


def _ends(sentence: str, at: int) -> bool:
    return re.fullmatch(r"\W*", sentence[at:]) is not None


def _share(found: Sequence[bool]) -> Score:
    count = len(found)
    return Score(sum(found) / count, *wilson(sum(found), count), count, "wilson")
