"""What a suite is: where its rows come from, what is asked of them, and how the answers are read and counted."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tuneladder.errors import BadInput, unknown
from tuneladder.evaluate.find import Metric, find_metric, mean_metric
from tuneladder.evaluate.intervals import Array
from tuneladder.evaluate.labels import truths
from tuneladder.task.formats import text_of
from tuneladder.task.read import Row
from tuneladder.types import Decoding, Example, Turn

GAP = " "  # stands between a question and its answer
APART = "\n\n"  # ends a shot


@dataclass(frozen=True)
class Source:
    """Rows on the hub. Of several `subsets` each row says in the column `column` which it is of."""

    hub: str
    split: str
    subsets: tuple[str, ...] = ("",)
    column: str = ""

    def __str__(self) -> str:
        subset = f" ({self.subsets[0]})" if len(self.subsets) == 1 and self.subsets[0] else ""
        return f"{self.hub}{subset}, {self.split}"


@dataclass(frozen=True)
class Said:
    """What an engine said to a row: the log-probability of each of its options, or what it wrote."""

    scores: Sequence[float] = ()
    text: str = ""


Reading = Callable[[Example, Said], str]


@dataclass(frozen=True)
class Figure:
    """A number that a suite is known by: how each answer is read, and the metric that counts them."""

    metric: str | Metric
    reading: Reading

    @property
    def counted(self) -> Metric:
        return find_metric(self.metric) if isinstance(self.metric, str) else self.metric


def _no_lead(subject: str) -> str:
    return ""


@dataclass(frozen=True)
class Suite:
    """A set of questions with its prompt and its metrics; the first of `figures` says whether an answer is right.

    `example` makes a row one: the question as its user turn, `options` to choose from, `references` right answers, `set` its
    subject, `meta["worked"]` what a shot shows as its answer where that is not the first reference. Without options the answer is
    written, as `decoding` says. `lead` stands before all, by subject. Of `shown` the first `shots` rows of the row's own subject
    are the shots of every row, so that what prompts begin with is computed once; a suite whose shots are written out in
    prompts reads them by `worked`, from rows of prompts. `labels` are the answers that metrics of labels count. Parts that have
    the same name `together` count as one in the average.
    """

    name: str
    source: Source
    example: Callable[[Row], Example]
    figures: Mapping[str, Figure]
    shots: int = 0
    shown: Source | None = None
    lead: Callable[[str], str] = _no_lead
    worked: Callable[[Sequence[Row]], tuple[Mapping[str, str], list[Example]]] | None = None
    gap: str = GAP
    labels: tuple[str, ...] = ()
    decoding: Decoding = field(default_factory=Decoding)
    version: int = 1
    together: str = ""


def names() -> list[str]:
    """The suites in the folder."""
    return sorted(path.stem for path in (Path(__file__).parent / "suites").glob("*.py") if path.stem != "__init__")


def find_suites(name: str) -> tuple[Suite, ...]:
    """The suite of that name; all of `glue`, or one part of it as `glue/cola`. Raises BadInput."""
    known = names()
    whole, slash, part = name.strip().partition("/")
    if not whole:
        raise BadInput("a suite has no name", f"known: {', '.join(known)}; several with commas between")
    if whole not in known:
        raise unknown("suite", whole, known)
    parts: tuple[Suite, ...] = _module(whole).parts
    if not slash:
        return parts
    found = [each for each in parts if each.name == f"{whole}/{part}"]
    if not found:
        raise unknown("suite", name, [each.name for each in parts])
    return tuple(found)


def is_averaged(name: str) -> bool:
    """Whether the parts of a suite are known by their mean."""
    return bool(vars(_module(name)).get("averaged", False))


def _module(name: str) -> Any:
    return importlib.import_module(f"tuneladder.evaluate.suites.{name}")


# How rows are read: by the columns of the hub's set, or those of other copies of it.


def cell(row: Row, *columns: str) -> Any:
    """What stands in the first of these columns that the row has. Raises BadInput where it has none."""
    found = next((column for column in columns if row.get(column) is not None), None)
    if found is None:
        wanted = " or ".join(f"`{column}`" for column in columns)
        raise BadInput(f"there is nothing in {wanted}", f"its columns: {', '.join(row)}")
    return row[found]


def text(row: Row, *columns: str) -> str:
    return text_of(cell(row, *columns))


def gold(row: Row, options: Sequence[str], *columns: str, letters: Sequence[str] = ()) -> str:
    """The right one of the options, which the row names by its place from 0, by its letter, or in full. Raises BadInput where it is
    missing: hidden answers are -1."""
    given = next((row[column] for column in columns if row.get(column) is not None), "")
    named = text_of(given).strip()
    if named in ("", "-1"):
        raise BadInput(f"its gold answer is missing ({' or '.join(columns)} is {named!r})", "hidden answers cannot be marked")
    letters = letters or [chr(ord("A") + at) for at in range(len(options))]
    if isinstance(given, int) and 0 <= given < len(options):  # a place even where the options are numbers; true is 1
        return options[int(given)]
    for found in (options, letters):
        if named in found:
            return options[list(found).index(named)]
    if named.isdecimal() and int(named) < len(options):
        return options[int(named)]
    raise BadInput(f"its gold answer {named!r} is none of its options", f"options: {list(options)}")


def asked(question: str, options: Sequence[str], *right: str, subject: str = "", worked: str | None = None) -> Example:
    """A question as an example; whoever reads the rows gives it its id. Raises BadInput where nothing is right."""
    if not right:
        raise BadInput("its gold answer is missing", "hidden answers cannot be marked")
    meta = {} if worked is None else {"worked": worked}
    return Example("", (Turn("user", question),), right, tuple(options), set=subject, meta=meta)


# How answers are read.


def likeliest(example: Example, said: Said) -> str:
    return example.options[max(range(len(said.scores)), key=said.scores.__getitem__)]


def likeliest_by_length(example: Example, said: Said) -> str:
    """By log-probability per character, so that a long option is not the less likely for its length (arXiv:2005.14165)."""
    each = [score / max(1, len(option)) for score, option in zip(said.scores, example.options, strict=True)]
    return likeliest(example, Said(each))


def mass_on_right(example: Example, said: Said) -> str:
    """The probability of the right options among all, which is the answer's own mark."""
    weights = _shares(said.scores)
    right = [weight for weight, option in zip(weights, example.options, strict=True) if option in example.references]
    return repr(math.fsum(right))


def expected(example: Example, said: Said) -> str:
    """The mean of options that are numbers, each as likely as the engine says."""
    pairs = zip(_shares(said.scores), example.options, strict=True)
    return repr(math.fsum(weight * float(option) for weight, option in pairs))


def _shares(scores: Sequence[float]) -> list[float]:
    weights = np.exp(np.asarray(scores) - max(scores))
    return (weights / weights.sum()).tolist()  # type: ignore[no-any-return]


# How they are counted, beside the metrics in the folder.


def f1_of(label: str) -> Metric:
    """F1 of one answer against all others, as scikit-learn's f1_score with that `pos_label`; 0 where nothing is true or said."""

    def statistics(answers: Sequence[str], references: Sequence[Sequence[str]], labels: Sequence[str]) -> Array:
        """(rows, 3): right, true and said."""
        pairs = zip(answers, truths(answers, references), strict=True)
        return np.array([[said == true == label, true == label, said == label] for said, true in pairs], dtype=np.float64)

    def combine(sums: Array) -> Array:
        right, true, said = sums.T
        return np.asarray(np.divide(2 * right, true + said, out=np.zeros_like(right), where=true + said > 0))

    return Metric(f"f1 of {label}", "higher", 1.0, (), "bootstrap", statistics, combine)


def _own(answers: Sequence[str], references: Sequence[Sequence[str]], labels: Sequence[str]) -> list[float]:
    return [float(answer) for answer in answers]


ACCURACY = Figure("accuracy", likeliest)
ACCURACY_BY_LENGTH = Figure("accuracy", likeliest_by_length)
MASS = Figure(mean_metric("mass", "higher", 1.0, (), "bootstrap", _own), mass_on_right)
