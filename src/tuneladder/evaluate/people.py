"""How often a judge says of two answers what people said. Without it nobody knows what its verdicts are worth."""

from __future__ import annotations

import itertools
import math
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tuneladder.errors import BadInput
from tuneladder.evaluate.intervals import bootstrap, by_group, wilson
from tuneladder.evaluate.judge import by_order, hear
from tuneladder.evaluate.verdicts import Case, Judge
from tuneladder.model.kept import Kept
from tuneladder.task.read import Row, check_file, columns_of, read_rows
from tuneladder.types import Engine, Score, WithPeople

QUESTIONS = ("question", "prompt", "input", "conversations", "messages")
ANSWERS = ("response", "answer", "output")
RATINGS = ("rating", "overall-rating", "overall_rating", "score")
PEOPLE = ("worker", "labeler", "annotator", "person")
OTHERS = ("passage", "item", "id")  # what beside the question tells one item from another


@dataclass(frozen=True)
class Opinion:
    """Two answers to one question, and what each person said of them: 1 where the first is better, -1 the second, 0 neither.
    Opinions of one `group` are of one question, and not independent."""

    group: str
    question: str
    first: str
    second: str
    votes: tuple[int, ...]

    @property
    def most(self) -> int:
        """What most said."""
        return _sign(sum(self.votes))


def read_people(location: str) -> list[Opinion]:
    """Opinions from a file: rows of one person's rating of one answer (`response`, `rating` or `overall-rating`, `worker`,
    `question`, and `passage`: the text that it is about, or what tells questions apart that are numbered within one), or pairs
    (`chosen`, `rejected` and a `question`, `prompt`, `conversations` or `messages`). Raises BadInput for another file, for a row
    that lacks an answer or a rating, and where no two answers were rated by one person."""
    check_file(location)
    rows = read_rows(location)
    columns = columns_of(rows)
    if {"chosen", "rejected"} <= set(columns):
        question = _first(columns, QUESTIONS)
        found = [
            Opinion(f"{at}", _text(row.get(question)), _answer(row, "chosen", at), _answer(row, "rejected", at), (1,))
            for at, row in enumerate(rows)
        ]
        # that the chosen answer stands first everywhere would tell nobody anything
        return [each if at % 2 else _turned(each) for at, each in enumerate(found)]
    answer, rating, person = (_first(columns, names) for names in (ANSWERS, RATINGS, PEOPLE))
    if not answer or not rating:
        raise BadInput(
            f"{location} holds no opinions of people: its columns are {', '.join(columns)}",
            "rows with `response`, `rating` and `worker`, or with `chosen` and `rejected`",
        )
    found = _rated(rows, answer, rating, person, [name for name in (*OTHERS, _first(columns, QUESTIONS)) if name in columns])
    if not found:
        raise BadInput(f"no two answers in {location} were rated by one person", "a judge is compared on such pairs")
    return found


def _rated(rows: Sequence[Row], answer: str, rating: str, person: str, item: Sequence[str]) -> list[Opinion]:
    ratings: dict[tuple[str, ...], dict[str, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for at, row in enumerate(rows):
        try:
            value = float(row[rating])
        except (KeyError, TypeError, ValueError):
            value = math.nan
        if not math.isfinite(value):
            raise BadInput(f"row {at + 1} is rated {row.get(rating)!r}", f"`{rating}` is a number")
        ratings[tuple(_text(row.get(name)) for name in item)][_answer(row, answer, at)][_text(row.get(person))] = value
    found = []
    for key, own in ratings.items():
        question = "\n\n".join(text for name, text in zip(item, key, strict=True) if _is_shown(name, text))
        for (first, a), (second, b) in itertools.combinations(own.items(), 2):
            votes = tuple(_sign(a[who] - b[who]) for who in a if who in b)
            if votes:
                found.append(Opinion("|".join(key), question, first, second, votes))
    return found


def drawn(opinions: Sequence[Opinion], count: int, *, seed: int) -> list[Opinion]:
    """At most so many, of whole questions as far as they go."""
    groups: dict[str, list[Opinion]] = defaultdict(list)
    for each in opinions:
        groups[each.group].append(each)
    order = random.Random(f"{seed} opinions").sample(sorted(groups), len(groups))
    return [each for group in order for each in groups[group]][:count]


def agreement(
    engine: Engine,
    rules: Judge,
    opinions: Sequence[Opinion],
    *,
    kept: Kept | None = None,
    name: str = "the judge",
    source: str,
    seed: int,
) -> WithPeople:
    """How often the judge `name` says what most people said of each pair. A judge that gives marks prefers the answer with the
    higher one."""
    flips = None
    if rules.against:
        cases = [Case(str(at), each.question, each.first, each.second) for at, each in enumerate(opinions)]
        verdicts, _ = hear(engine, rules, cases, kept=kept, name=name)
        flips, _ = by_order(verdicts, seed)
        said = [{"win": 1, "tie": 0, "loss": -1}.get(verdict.outcome) for verdict in verdicts]
    else:
        alone = list(dict.fromkeys((each.question, text) for each in opinions for text in (each.first, each.second)))
        cases = [Case(str(at), question, text) for at, (question, text) in enumerate(alone)]
        verdicts, _ = hear(engine, rules, cases, kept=kept, name=name)
        marks = {key: float(verdict.outcome) for key, verdict in zip(alone, verdicts, strict=True) if verdict.outcome}
        said = [_apart(marks, each) for each in opinions]
    read = [(each, own) for each, own in zip(opinions, said, strict=True) if own is not None]
    judge = _clustered([(each.group, float(own == each.most)) for each, own in read], seed)
    several = [each for each in opinions if len(each.votes) > 1]
    among = [(each.group, float(vote == _sign(sum(each.votes) - vote))) for each in several for vote in each.votes]
    longer = [float(_sign(len(each.first) - len(each.second)) == each.most) for each, _ in read]
    people = _clustered(among, seed) if among else None
    blind = sum(not each.question for each in opinions)
    return WithPeople(judge, people, sum(longer) / len(longer), len(opinions) - len(read), source, blind, flips)


def _apart(marks: Mapping[tuple[str, str], float], each: Opinion) -> int | None:
    one, other = (marks.get((each.question, text)) for text in (each.first, each.second))
    return None if one is None or other is None else _sign(one - other)


def _clustered(values: Sequence[tuple[str, float]], seed: int) -> Score:
    """The mean, with the interval that drawing whole questions gives."""
    statistics = by_group(np.array([(value, 1.0) for _, value in values]), [group for group, _ in values])
    total, count = statistics.sum(0)
    low, high = bootstrap(statistics, lambda drawn: drawn[:, 0] / drawn[:, 1], seed=seed)
    if high - low < 1e-9:  # all alike: the bootstrap has nothing to vary
        return Score(total / count, *wilson(total, int(count)), len(values), "wilson")
    return Score(float(total / count), low, high, len(values), "bootstrap over questions")


def _turned(each: Opinion) -> Opinion:
    return Opinion(each.group, each.question, each.second, each.first, tuple(-vote for vote in each.votes))


def _is_shown(name: str, text: str) -> bool:
    """Whether it says what was asked: a number is no question, and a word no passage, but names one that stands elsewhere."""
    return any(letter.isalpha() for letter in text) if name in QUESTIONS else name == "passage" and len(text.split()) > 1


def _answer(row: Row, column: str, at: int) -> str:
    """Raises BadInput for a row that has none."""
    if row.get(column) is None:
        raise BadInput(f"row {at + 1} has no `{column}`", "an empty text is an answer too; leave out rows that have none")
    return _text(row[column])


def _first(columns: Sequence[str], names: Sequence[str]) -> str:
    return next((name for name in names if name in columns), "")


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)


def _text(value: Any) -> str:
    """What a cell says: a text, one turn of a talk, or all of them; "" where there is nothing."""
    if isinstance(value, Mapping):
        return _text(value.get("content", value.get("value")))
    if isinstance(value, list):
        return "\n\n".join(map(_text, value))
    return "" if value is None else str(value)
