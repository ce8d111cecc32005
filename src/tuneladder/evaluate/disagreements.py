"""Where the answer and the reference of a classification differ, and which of the two to doubt.

Witnesses that had no part in either say what they take for right, each as a share for every label: classifiers whose
probabilities are out of fold, so that no row's own reference spoke for it (confident learning, arXiv:1911.00068), the nearest
labelled rows, and the other rungs. Shapes: A rows asked about, K labels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tuneladder.errors import BadInput
from tuneladder.evaluate.intervals import Array
from tuneladder.types import Marked

Sort = Literal["reference questionable", "ambiguous", "model wrong", "other"]
SORTS: tuple[Sort, ...] = ("reference questionable", "ambiguous", "model wrong", "other")

NEAREST = 20  # labelled rows that speak as one witness
SHOWN = 3  # of them that a person is shown
APART = 3.0  # times the reference's weight that the answer must have: most references are right, even where an answer differs


@dataclass(frozen=True)
class Neighbour:
    """A labelled row that lies near another; `likeness` is their cosine."""

    text: str
    label: str
    likeness: float


@dataclass(frozen=True)
class View:
    """One way to read the rows asked about: what a classifier that has not seen a row makes of it, (A, K), and the `NEAREST` other
    labelled rows of each, the nearest first."""

    name: str
    probabilities: Array
    nearest: tuple[tuple[Neighbour, ...], ...]


@dataclass(frozen=True)
class Witness:
    """What one witness gives the reference, the answer, and the label that it takes for right."""

    name: str
    reference: float
    answer: float
    label: str


@dataclass(frozen=True)
class Disagreement:
    """A row whose answer is none of its references. `reference` and `answer` are what the witnesses give the two together, `label`
    is what they take for right."""

    marked: Marked
    sort: Sort
    reference: float
    answer: float
    label: str
    witnesses: tuple[Witness, ...]
    nearest: tuple[Neighbour, ...]


def disagreements(
    answers: Sequence[Marked], views: Sequence[View], others: Mapping[str, Sequence[Marked]], labels: Sequence[str]
) -> tuple[Disagreement, ...]:
    """Of each sort the references that are most in doubt first. The views' rows are the answers, in their order; `others` are the
    answers of other rungs to the same rows, of which those speak that are right more often than the commonest label is."""
    spoken = {**witnesses(views, labels), **_rungs(answers, others, labels)}
    whole_AK = together(list(spoken.values()), (len(answers), len(labels)))
    found = [
        _sorted_out(marked, row, {name: own[row] for name, own in spoken.items()}, whole_AK[row], views, labels)
        for row, marked in enumerate(answers)
        if marked.correct is False
    ]
    return tuple(sorted(found, key=lambda each: (SORTS.index(each.sort), each.reference, each.marked.id)))


def suspicion(views: Sequence[View], given: Sequence[str], labels: Sequence[str]) -> Array:
    """How much each given label is in doubt by the views alone, (A,): 1 less what they give it together."""
    whole_AK = together(list(witnesses(views, labels).values()), (len(given), len(labels)))
    place = {label: k for k, label in enumerate(labels)}
    return np.asarray(1 - whole_AK[np.arange(len(given)), [place[label] for label in given]])


def witnesses(views: Sequence[View], labels: Sequence[str]) -> dict[str, Array]:
    """Of every view its classifier and its nearest rows, each (A, K), by what they are called."""
    spoken = {}
    for view in views:
        spoken[view.name] = view.probabilities
        counts = [Counter(each.label for each in row) for row in view.nearest]
        spoken[f"nearest by {view.name}"] = np.array([_shares(own, labels) for own in counts]).reshape(-1, len(labels))
    return spoken


def together(spoken: Sequence[Array], shape: tuple[int, int]) -> Array:
    """The witnesses' mean, each row a distribution, (A, K); of no witnesses all labels alike."""
    return np.mean(spoken, axis=0) if spoken else np.full(shape, 1 / shape[1])


def _rungs(answers: Sequence[Marked], others: Mapping[str, Sequence[Marked]], labels: Sequence[str]) -> dict[str, Array]:
    """The other rungs as one witness; none where no rung knows more than the commonest label does."""
    commonest = max(Counter(marked.reference for marked in answers).values(), default=0)
    able = [own for own in others.values() if sum(bool(marked.correct) for marked in own) > commonest]
    if not able:
        return {}
    said = [{marked.id: marked.answer.text for marked in own} for own in able]
    counts = [Counter(own[marked.id] for own in said) for marked in answers]
    name = "the other rung" if len(able) == 1 else f"{len(able)} other rungs"
    return {name: np.array([_shares(own, labels) for own in counts])}


def _shares(counts: Mapping[str, int], labels: Sequence[str]) -> list[float]:
    """Laplace's: few voices are never sure of anything."""
    whole = sum(counts.get(label, 0) for label in labels) + len(labels)
    return [(counts.get(label, 0) + 1) / whole for label in labels]


def _sorted_out(
    marked: Marked, row: int, spoken: Mapping[str, Array], whole_K: Array, views: Sequence[View], labels: Sequence[str]
) -> Disagreement:
    place = {label: k for k, label in enumerate(labels)}
    if marked.reference not in place:
        raise BadInput(f"the reference {marked.reference[:80]!r} is not one of the labels", f"labels: {', '.join(labels)}")
    # of several acceptable labels the likeliest stands for the reference
    right = max((place[each] for each in (marked.reference, *marked.others) if each in place), key=lambda k: float(whole_K[k]))
    said = place.get(marked.answer.text)

    def given(shares_K: Array, k: int | None) -> float:
        return 0.0 if k is None else float(shares_K[k])

    reference, answer = given(whole_K, right), given(whole_K, said)
    heard = tuple(Witness(name, given(own, right), given(own, said), labels[int(np.argmax(own))]) for name, own in spoken.items())
    near = views[-1].nearest[row][:SHOWN] if views else ()
    return Disagreement(marked, _sort(reference, answer, said), reference, answer, labels[int(np.argmax(whole_K))], heard, near)


def _sort(reference: float, answer: float, said: int | None) -> Sort:
    if said is None:
        return "model wrong" if reference > 0.5 else "other"
    if reference + answer <= 0.5:
        return "other"
    if reference >= answer:
        return "model wrong"
    return "reference questionable" if answer >= APART * reference else "ambiguous"
