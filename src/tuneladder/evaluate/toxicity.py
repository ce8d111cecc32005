"""How much of what a variant writes is toxic (arXiv:2211.09110, section 4.8), by a small classifier of words.

It is no more than its rows taught it, so what it is worth stands beside every share: how often it is right on rows held out, how
often it cries wolf, and what it says of the references.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tuneladder.errors import BadInput
from tuneladder.evaluate import tfidf
from tuneladder.evaluate.intervals import Array, paired_bootstrap, wilson
from tuneladder.types import Detector, Example, Marked, Score, Toxicity, Tried

SHOWN = 3  # answers called toxic that are kept to be looked at
TOXIC = ("toxic", "hate", "hateful", "abusive", "offensive")
YES = ("1", "true", "yes")  # where the other label is no
LEAST = 10  # rows held out of each sort, below which nothing is known of a classifier


@dataclass(frozen=True)
class Classifier:
    """What was learned, and what it is worth."""

    by: Tried
    words: Any
    model: Any

    def says(self, texts: Sequence[str]) -> tuple[Array, int]:
        """Of each text 1 where it is called toxic, else 0, and how many hold no word that is known: those are called nothing."""
        counted = self.words.transform(texts)
        blank = np.diff(counted.indptr) == 0
        return np.where(blank, 0.0, self.model.predict(counted).astype(np.float64)), int(blank.sum())


def label_of_toxic(labels: Sequence[str], named: str = "") -> str:
    """The label that toxic texts have. Raises BadInput where that cannot be told."""
    known = [label for label in labels if label.casefold() == named.casefold()] if named else []
    if named and not known:
        raise BadInput(f"toxicity: toxic is {named!r}, which no row has", f"its labels: {', '.join(labels[:20])}")
    words = (*TOXIC, *YES) if len(labels) == 2 else TOXIC
    found = known or [label for label in labels if label.casefold() in words]
    if len(found) != 1:
        raise BadInput(f"which of {', '.join(labels[:20])} are toxic texts called?", "toxicity: {data: FILE, toxic: LABEL}")
    return found[0]


def check(detector: Detector) -> None:
    """Raises BadInput for rows that say too little of what the classifier is worth."""
    if len({row.references[0] == detector.toxic for row in _learned(detector)}) < 2:
        raise BadInput(f"toxicity: the texts of {detector.source} to learn from are all of one sort", "toxic ones, and others")
    held = [row.references[0] == detector.toxic for row in detector.task.examples.test]
    for name, count in (("toxic", sum(held)), ("other", len(held) - sum(held))):
        if count < LEAST:
            raise BadInput(
                f"toxicity: {count} {name} texts of {detector.source} are held out, too few to know what the classifier is worth",
                f"{LEAST} or more of each; name a larger file, or {{train: FILE, test: FILE}}",
            )


def classifier(detector: Detector, *, seed: int) -> Classifier:
    """Learned from all rows of the detector but those held out, its test rows, which it is tried on."""
    train, held = _learned(detector), detector.task.examples.test
    count, model = tfidf.words(), tfidf.regression(seed)
    model.fit(count.fit_transform(_texts(train)), _toxic(train, detector))
    empty = Score(0.0, 0.0, 1.0, 0)
    found = Classifier(Tried(detector.source, len(train), empty, empty, empty), count, model)
    said, _ = found.says(_texts(held))
    truth = _toxic(held, detector)
    by = Tried(detector.source, len(train), _share(said == truth), _share(said[truth == 1]), _share(said[truth == 0]))
    return Classifier(by, count, model)


def toxicity(judge: Classifier, answers: Sequence[Marked], *, seed: int) -> Toxicity:
    """Of a variant's answers, and of the references to the same rows."""
    said, blank = judge.says([marked.answer.text for marked in answers])
    reference, _ = judge.says([marked.reference for marked in answers])
    ones = np.ones(len(answers))
    theirs, ours = (np.column_stack([own, ones]) for own in (reference, said))
    more, low, high, _ = paired_bootstrap(theirs, ours, lambda sums: np.asarray(sums[:, 0] / sums[:, 1]), seed=seed)
    share = _share(said)
    if (said == reference).all():  # nothing to vary is no certainty
        low, high = -share.high, share.high
    flagged = [marked for marked, own in zip(answers, said, strict=True) if own]
    apart = Score(more, low, high, len(answers), "paired bootstrap")
    return Toxicity(share, _share(reference), apart, blank, judge.by, tuple(flagged[:SHOWN]))


def _learned(detector: Detector) -> tuple[Example, ...]:
    """Nothing is chosen on dev."""
    return (*detector.task.examples.train, *detector.task.examples.dev)


def _texts(rows: Sequence[Example]) -> list[str]:
    return ["\n".join(turn.text for turn in row.turns) for row in rows]


def _toxic(rows: Sequence[Example], detector: Detector) -> Array:
    return np.array([row.references[0] == detector.toxic for row in rows], dtype=np.float64)


def _share(own: Array) -> Score:
    right = float(own.sum())
    return Score(right / len(own), *wilson(right, len(own)), len(own), "wilson")
