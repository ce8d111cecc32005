"""A constitution (arXiv:2212.08073): answers to prompts that tempt a model are criticised and revised by principles, and of two
answers a model says which keeps a principle better.

All of it is text that some engine writes or ranks: who answers and who criticises may be the same or two.
"""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import yaml

from tuneladder.errors import BadInput
from tuneladder.model.ask import turns_of_all
from tuneladder.store import thaw, write_json
from tuneladder.task.formats import text_of
from tuneladder.task.read import read_rows
from tuneladder.types import Comparison, Decoding, Engine, Example, Prompt, Turn, Turns

Kept = TypeVar("Kept")
Lend = Callable[[], AbstractContextManager[Engine]]  # an engine, for as long as it is needed

LETTER = 8  # tokens in which a letter is written
# the letter with which a reply begins; the A of "A clear winner is B" is none
SAID = re.compile(r"\W*(?:(?i:(?:the\s+)?answer\W+(?:is\W+)?)(?=[AB]\b)|(?=[AB](?:\s*(?:[.:),*\n-]|$)|\s+is\b)))([AB])")
CRITICISE = "This is what a rule asks of an answer: {says}\n\nName in one sentence what in the answer breaks this rule."
REVISE = "Write the answer anew, so that it keeps the rule. Write the answer alone."
PREFER = "Which of the two answers keeps this rule better? {says}\n\nSay A or B."


@dataclass(frozen=True)
class Principle:
    """A rule that answers are held to, and what it is called."""

    name: str
    says: str


@dataclass(frozen=True)
class Revision:
    """One round: by which principle, what was said against the answer, and the answer afterwards."""

    principle: str
    critique: str
    answer: str


@dataclass(frozen=True)
class Revised:
    """An answer to a prompt, and what became of it in each round."""

    turns: Turns
    answer: str
    rounds: tuple[Revision, ...]

    @property
    def last(self) -> str:
        return self.rounds[-1].answer


@dataclass(frozen=True)
class Preferred:
    """Two answers, by which principle they were compared, and how likely the first keeps it better."""

    turns: Turns
    answers: tuple[str, str]
    principle: str
    first: float


def read_principles(place: str) -> tuple[Principle, ...]:
    """A YAML list of {name, says}; "" is ours. Raises BadInput for what is none."""
    hint = "a YAML list of rules: - {name: honest, says: The answer claims only what is known.}"
    try:
        text = Path(place).read_text("utf-8") if place else _ours("principles.yaml")
        found = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"the principles {place} cannot be read: {error}", hint) from error
    except yaml.YAMLError as error:
        raise BadInput(f"the principles {place} are not YAML", hint) from error
    if not isinstance(found, list) or not found:
        raise BadInput(f"{place} holds no principles", hint)
    rules = []
    for number, each in enumerate(found, start=1):
        if not isinstance(each, dict) or set(each) != {"name", "says"} or not all(text_of(own).strip() for own in each.values()):
            raise BadInput(f"principle {number} of {place} is {text_of(each)[:80]!r}", hint)
        rules.append(Principle(text_of(each["name"]), text_of(each["says"]).strip()))
    if len({rule.name for rule in rules}) < len(rules):
        raise BadInput(f"two principles of {place} have one name", "what is kept names the principle: call each its own")
    return tuple(rules)


def read_prompts(place: str) -> tuple[str, ...]:
    """The column `prompt` of a file; "" is ours. Raises BadInput where there is none."""
    if not place:
        return tuple(json.loads(line)["prompt"] for line in _ours("prompts.jsonl").splitlines())
    found = [text_of(row.get("prompt")).strip() for row in read_rows(place)]
    kept = tuple(dict.fromkeys(filter(None, found)))
    if not kept:
        raise BadInput(f"{place} holds no prompts", "a file with a column `prompt`, of what tempts a model to break a rule")
    return kept


def revised(
    rows: Sequence[Example],
    prompt: Prompt,
    principles: Sequence[Principle],
    *,
    answering: Lend,
    criticising: Lend,
    rounds: int,
    decoding: Decoding,
    seed: int,
) -> list[Revised]:
    """Each prompt answered, and the answer criticised and revised so many times, each by a principle drawn by the seed. A revision
    without a word leaves the answer as it was."""
    with answering() as engine:
        first = [texts[0].strip() for texts in engine.generate(turns_of_all(prompt, rows), decoding)]
    asks, answers, kept = [row.turns for row in rows], list(first), [list[Revision]() for _ in rows]
    with criticising() as engine:
        for number in range(rounds):
            drawn = [random.Random(f"{seed} {number} {at}").choice(principles) for at in range(len(asks))]
            triples = zip(asks, answers, drawn, strict=True)
            said = [_shown(turns, answer, CRITICISE.format(says=own.says)) for turns, answer, own in triples]
            critiques = [texts[0].strip() for texts in engine.generate([(Turn("user", text),) for text in said], decoding)]
            again = [
                (Turn("user", text), Turn("assistant", critique), Turn("user", REVISE))
                for text, critique in zip(said, critiques, strict=True)
            ]
            texts = [own[0].strip() for own in engine.generate(again, decoding)]
            answers = [new or old for new, old in zip(texts, answers, strict=True)]
            for own, rule, critique, answer in zip(kept, drawn, critiques, answers, strict=True):
                own.append(Revision(rule.name, critique, answer))
    return [Revised(turns, answer, tuple(own)) for turns, answer, own in zip(asks, first, kept, strict=True)]


def preferred(
    rows: Sequence[Example],
    prompt: Prompt,
    principles: Sequence[Principle],
    *,
    answering: Lend,
    criticising: Lend,
    decoding: Decoding,
    seed: int,
    ranks: bool = True,
) -> list[Preferred]:
    """Two answers to each prompt, of which the critic says which keeps a principle better: the probability of its letter, the mean
    over both orders, so that a place wins nothing. Of a critic that `ranks` nothing it is the letter that it writes. Pairs of
    equal or empty answers are left out."""
    with answering() as engine:
        written = engine.generate(turns_of_all(prompt, rows), replace(decoding, samples=2))
    both = [[text.strip() for text in texts] for texts in written]
    pairs = [(row.turns, (one, other)) for row, (one, other) in zip(rows, both, strict=True) if one and other and one != other]
    drawn = [random.Random(f"{seed} preferences {at}").choice(principles) for at in range(len(pairs))]
    questions = [
        (Turn("user", _both(turns, answers[::order], rule)),)
        for (turns, answers), rule in zip(pairs, drawn, strict=True)
        for order in (1, -1)
    ]
    if not questions:
        return []
    with criticising() as engine:
        odds = _odds(engine, questions) if ranks else _letters(engine, questions)
    return [
        Preferred(turns, answers, rule.name, (odds[2 * at] + 1 - odds[2 * at + 1]) / 2)
        for at, ((turns, answers), rule) in enumerate(zip(pairs, drawn, strict=True))
    ]


def _odds(engine: Engine, questions: Sequence[Turns]) -> list[float]:
    """How likely A is, of A and B."""
    scores = engine.score(questions, [("A", "B")] * len(questions))
    return [1 / (1 + math.exp(min(b - a, 500.0))) for a, b in scores]


def _letters(engine: Engine, questions: Sequence[Turns]) -> list[float]:
    """1 where A is written, 0 where B is, one half where neither can be read."""
    written = engine.generate(questions, Decoding(max_new_tokens=LETTER))
    found = [SAID.match(texts[0]) for texts in written]
    return [0.5 if letter is None else float(letter[1] == "A") for letter in found]


def compared(found: Sequence[Preferred]) -> list[Comparison]:
    """As comparisons, each weighed by how sure the critic was: nothing where both answers were as likely."""
    made = []
    for number, own in enumerate(found, start=1):
        one, other = own.answers if own.first > 0.5 else own.answers[::-1]
        if weight := abs(2 * own.first - 1):
            made.append(Comparison(str(number), own.turns, one, other, weight, source=str(number)))
    return made


def once_in(path: Path, kind: type[Kept], make: Callable[[], Sequence[Any]]) -> Kept:
    """What was made before this step was killed, or is made now and kept: text that was written is not asked for again."""
    if not path.exists():
        write_json(path, [asdict(own) for own in make()])
    return thaw(kind, json.loads(path.read_text("utf-8")))


def _shown(turns: Turns, answer: str, question: str) -> str:
    return f"{_talk(turns)}\n\nAssistant: {answer}\n\n{question}"


def _both(turns: Turns, answers: Sequence[str], rule: Principle) -> str:
    return f"{_talk(turns)}\n\nAnswer A: {answers[0]}\n\nAnswer B: {answers[1]}\n\n{PREFER.format(says=rule.says)}"


def _talk(turns: Turns) -> str:
    return "\n\n".join(f"{turn.role.capitalize()}: {turn.text}" for turn in turns)


def _ours(name: str) -> str:
    return resources.files("tuneladder").joinpath("assets", "constitution", name).read_text("utf-8")
