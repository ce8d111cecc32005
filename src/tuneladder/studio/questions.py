"""What a screen asks: a question for each criterion and, of scores and labels, each answer; in letters, for labelers are blind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tuneladder.errors import BadInput
from tuneladder.feedback.items import Item
from tuneladder.feedback.rankings import FAILED, TIED, is_ranking, ranking_of
from tuneladder.feedback.rubric import Criterion, Rubric
from tuneladder.feedback.table import is_number
from tuneladder.studio.known import allowed, subjects
from tuneladder.task.formats import text_of

KEYS = "123456789acefghijklmnopqstvwxyz"  # those that no command of the page has
NEITHER, NONE = "no difference", "none will do"


@dataclass(frozen=True)
class Option:
    """`value` is what a judgement says, `key` what is pressed for it."""

    value: Any
    word: str
    means: str
    key: str


@dataclass(frozen=True)
class Question:
    """`subject` is what its judgement calls its item; `letter` is the answer that is meant, "" where it is all of them."""

    criterion: Criterion
    subject: str
    letter: str
    options: tuple[Option, ...]


def questions(rubric: Rubric, item: Item, letters: Mapping[str, str]) -> tuple[Question, ...]:
    """In the order in which they are asked; `letters` are the answers' names by the letters that stand over them."""
    letter_of = {name: letter for letter, name in letters.items()}
    return tuple(
        Question(criterion, subject, letter_of.get(name, ""), _options(criterion, letters))
        for criterion in rubric.criteria
        for subject, name in sorted(subjects(criterion, item).items(), key=lambda each: _place(letter_of.get(each[1], "")))
    )


def value_of(question: Question, said: Any, letters: Mapping[str, str]) -> Any:
    """What a judgement keeps of what the page says: the number of an option, of a ranking each letter's place, 0 where it fails.

    Raises BadInput for anything else: a page that was not ours wrote it.
    """
    if question.criterion.asks != "rank":
        if not isinstance(said, int) or isinstance(said, bool) or not 0 <= said < len(question.options):
            raise BadInput(f"{text_of(said)[:40]!r} is no option of {question.criterion.name}", "load the page again")
        return question.options[said].value
    if not isinstance(said, dict) or set(said) != set(letters) or not all(_is_place(at, len(letters)) for at in said.values()):
        raise BadInput(f"{text_of(said)[:80]!r} does not place every answer", "load the page again")
    ranked: list[Any] = []
    for at in sorted({at for at in said.values() if at}):
        tied = [letters[letter] for letter in letters if said[letter] == at]
        ranked.append(tied if len(tied) > 1 else tied[0])
    failed = [letters[letter] for letter in letters if not said[letter]]
    return {"ranked": ranked, "failed": failed} if failed else ranked


def said_of(question: Question, value: Any, letters: Mapping[str, str]) -> Any:
    """What the page says of a judgement's value; None of one that another version of the rubric had."""
    if question.criterion.asks != "rank":
        return next((at for at, option in enumerate(question.options) if option.value == value), None)
    ranking = ranking_of(value)
    place = {name: at for at, tied in enumerate(ranking.places, start=1) for name in tied} | dict.fromkeys(ranking.failed, 0)
    return {letter: place[name] for letter, name in letters.items()} if set(place) == set(letters.values()) else None


def worded(question: Question, value: Any, letters: Mapping[str, str]) -> str:
    """A value in the labeler's words: letters and no names."""
    if not is_ranking(value):
        return next((option.word for option in question.options if option.value == value), text_of(value))
    letter_of = {name: letter for letter, name in letters.items()}
    ranking = ranking_of(value)
    order = " > ".join(" = ".join(letter_of[name] for name in place) for place in ranking.places)
    failed = ", ".join(letter_of[name] for name in ranking.failed)
    return "; ".join(filter(None, (order, f"{failed} will not do" if failed else "")))


def _options(criterion: Criterion, letters: Mapping[str, str]) -> tuple[Option, ...]:
    if criterion.asks == "rank":
        places = [Option(at, _nth(at), "", str(at) if at < 10 else "") for at in range(1, len(letters) + 1)]
        return (*places, Option(0, "will not do", "below all that will", "0"))
    means = {text_of(value): words for value, words in (criterion.values or {}).items()}
    if criterion.asks == "choose":
        chosen: list[tuple[Any, str, str]] = [(name, letter, "") for letter, name in letters.items()]
        chosen += [(TIED, NEITHER, means.get(TIED, "")), (FAILED, NONE, means.get(FAILED, ""))]
        return tuple(Option(value, word, told, key) for (value, word, told), key in zip(chosen, _keys(len(chosen)), strict=True))
    values = list(allowed(criterion).values())
    keys = _scores_keys(values) if any(map(is_number, values)) else _keys(len(values))
    return tuple(Option(value, text_of(value), means[text_of(value)], key) for value, key in zip(values, keys, strict=True))


def _keys(count: int) -> list[str]:
    return [KEYS[at] if at < len(KEYS) else "" for at in range(count)]


def _scores_keys(values: Sequence[Any]) -> list[str]:
    """A score of one digit is pressed as it is called, and no other is pressed by a digit."""
    letters = (key for key in KEYS if not key.isdigit())
    return [text_of(value) if is_number(value) and value in range(10) else next(letters, "") for value in values]


def _place(letter: str) -> tuple[int, str]:
    """A, B, ... Z, AA, AB."""
    return len(letter), letter


def _nth(at: int) -> str:
    return {1: "best", 2: "2nd", 3: "3rd"}.get(at, f"{at}th")


def _is_place(at: Any, count: int) -> bool:
    return isinstance(at, int) and not isinstance(at, bool) and 0 <= at <= count
