"""What no language model costs: the most frequent label, and TF-IDF with logistic regression; of tags, a word's most frequent."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from tuneladder.evaluate.measure import mark
from tuneladder.task.tagging import words_of
from tuneladder.types import Answer, Cost, Example, Measurement, Task


def baselines(task: Task, split: Literal["dev", "test"], *, seed: int) -> dict[str, Measurement]:
    """`majority` and `tfidf`, learned from train and measured on `split`, for a classification; `frequent_tag` where words are
    tagged; nothing for other tasks.

    `tfidf` is left out where train has a single label or no words to count.
    """
    train, examples = task.examples.train, task.examples.dev if split == "dev" else task.examples.test
    if task.kind not in ("classify", "tag") or not train or not examples:
        return {}
    if task.kind == "tag":
        return {"frequent_tag": _frequent(task, train, examples, seed)}
    start = time.perf_counter()
    counts = Counter(example.references[0] for example in train)
    label = _commonest(counts)
    answers = [Answer(label, counts[label] / len(train))] * len(examples)
    found = {"majority": mark(task, examples, answers, seconds=time.perf_counter() - start, engine="majority label", seed=seed)}
    if len(counts) > 1 and (tfidf := _tfidf(task, train, examples, seed)):
        found["tfidf"] = tfidf
    return found


def _frequent(task: Task, train: Sequence[Example], examples: Sequence[Example], seed: int) -> Measurement:
    """Each word's most frequent tag in train; a word that is not there has the most frequent of all."""
    start = time.perf_counter()
    whole: Counter[str] = Counter()
    own: dict[str, Counter[str]] = {}
    for example in train:
        for word, tag in zip(words_of(example.turns[-1].text), words_of(example.references[0]), strict=True):
            whole[tag] += 1
            own.setdefault(word, Counter())[tag] += 1
    common = _commonest(whole)
    known = {word: _commonest(tags) for word, tags in own.items()}
    learned = time.perf_counter()
    answers = [Answer(" ".join(known.get(word, common) for word in words_of(example.turns[-1].text))) for example in examples]
    done = time.perf_counter()
    measured = mark(task, examples, answers, seconds=done - learned, engine="most frequent tag", seed=seed)
    return replace(measured, spent=Cost(seconds=done - start))


def _commonest(counts: Counter[str]) -> str:
    return max(sorted(counts), key=lambda name: counts[name])


def _tfidf(task: Task, train: Sequence[Example], examples: Sequence[Example], seed: int) -> Measurement | None:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    start = time.perf_counter()
    words: Any = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), min_df=1)
    model: Any = LogisticRegression(C=10, max_iter=1000, random_state=seed)
    texts = [_text(example) for example in train]
    analyse = words.build_analyzer()
    if not any(analyse(text) for text in texts):
        return None
    model.fit(words.fit_transform(texts), [example.references[0] for example in train])
    fitted = time.perf_counter()
    probabilities = model.predict_proba(words.transform([_text(example) for example in examples]))
    best = np.argmax(probabilities, axis=1)
    answers = [Answer(str(model.classes_[k]), float(row[k])) for k, row in zip(best, probabilities, strict=True)]
    done = time.perf_counter()
    measured = mark(task, examples, answers, seconds=done - fitted, engine="TF-IDF and logistic regression", seed=seed)
    return replace(measured, spent=Cost(seconds=done - start))


def _text(example: Example) -> str:
    return "\n".join(turn.text for turn in example.turns)
