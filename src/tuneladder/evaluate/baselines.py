"""What no language model costs: the most frequent label, or set of labels, and TF-IDF with logistic regression; of tags, a word's
most frequent; of a text, its first sentence and all of it."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import numpy as np

from tuneladder.evaluate import tfidf
from tuneladder.evaluate.measure import mark
from tuneladder.model.ask import schema_of
from tuneladder.task.multi_label import joined, labels_of
from tuneladder.task.record import written
from tuneladder.task.tagging import words_of
from tuneladder.types import Answer, Cost, Example, Measurement, Task

_SENTENCE = re.compile(r"(?<=[.!?])\s+|\s*\n\s*")


def baselines(task: Task, split: Literal["dev", "test"], *, seed: int) -> dict[str, Measurement]:
    """Measured on `split`: of a classification `majority`, or `frequent_set` where rows have several labels, and `tfidf`, learned
    from train, of several labels one against the rest; where words are tagged, `frequent_tag`; of a choice `longest` and
    `frequent_place`, the longest of a row's options and the one where the right one mostly stands in train; of objects
    `frequent_values`, each field's commonest value in train; of generation `lead` and `copy`, which say the input's first sentence
    and the input; nothing for another kind of task.

    `tfidf` is left out where train has a single label or no words to count. Its rows count as the task's weights say.
    """
    train, examples = task.examples.train, task.examples.dev if split == "dev" else task.examples.test
    if task.kind == "generate" and examples:
        return {
            "lead": _said(task, examples, _lead, "first sentence", seed),
            "copy": _said(task, examples, lambda text: text, "the input", seed),
        }
    if task.kind == "choose" and not task.labels and train and examples:
        return _placed(task, train, examples, seed)
    if task.prompt.schema and train and examples:
        return {"frequent_values": _valued(task, train, examples, seed)}
    if task.kind not in ("classify", "tag") or not train or not examples:
        return {}
    if task.kind == "tag":
        return {"frequent_tag": _frequent(task, train, examples, seed)}
    start = time.perf_counter()
    counts = Counter(example.references[0] for example in train)
    label = _commonest(counts)
    answers = [Answer(label, counts[label] / len(train))] * len(examples)
    name, engine = ("frequent_set", "most frequent set") if task.multi_label else ("majority", "majority label")
    found = {name: mark(task, examples, answers, seconds=time.perf_counter() - start, engine=engine, seed=seed)}
    if len(counts) > 1 and (counted := _tfidf(task, train, examples, seed)):
        found["tfidf"] = counted
    return found


def _valued(task: Task, train: Sequence[Example], examples: Sequence[Example], seed: int) -> Measurement:
    start = time.perf_counter()
    counts: dict[str, dict[str, Counter[str]]] = {}  # of each schema
    for example in train:
        own = counts.setdefault(schema_of(task.prompt, example), {})
        for field, value in json.loads(example.references[0]).items():
            own.setdefault(field, Counter())[json.dumps(value, ensure_ascii=False)] += 1
    said = {
        schema: written({field: json.loads(_commonest(values)) for field, values in own.items()}, json.loads(schema))
        for schema, own in counts.items()
    }
    answers = [Answer(said.get(schema_of(task.prompt, example), "")) for example in examples]
    return mark(task, examples, answers, seconds=time.perf_counter() - start, engine="most frequent values", seed=seed)


def _placed(task: Task, train: Sequence[Example], examples: Sequence[Example], seed: int) -> dict[str, Measurement]:
    """What the options give away without their question."""
    common = int(_commonest(Counter(str(example.options.index(example.references[0])) for example in train)))
    ways: dict[str, tuple[str, Callable[[tuple[str, ...]], str]]] = {
        "longest": ("longest option", lambda options: max(options, key=len)),
        "frequent_place": ("most frequent place", lambda options: options[min(common, len(options) - 1)]),
    }
    found = {}
    for name, (engine, take) in ways.items():
        start = time.perf_counter()
        answers = [Answer(take(example.options)) for example in examples]
        found[name] = mark(task, examples, answers, seconds=time.perf_counter() - start, engine=engine, seed=seed)
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


def _said(task: Task, examples: Sequence[Example], of: Callable[[str], str], engine: str, seed: int) -> Measurement:
    """What `of` makes of each row's last question, taken for its answer."""
    start = time.perf_counter()
    asked = [next((turn.text for turn in reversed(example.turns) if turn.role == "user"), "") for example in examples]
    answers = [Answer(of(text.strip())) for text in asked]
    return mark(task, examples, answers, seconds=time.perf_counter() - start, engine=engine, seed=seed)


def _lead(text: str) -> str:
    """The first sentence: as far as the first full stop, question or exclamation mark that ends a word, or the end of a line."""
    return _SENTENCE.split(text, maxsplit=1)[0]


def _tfidf(task: Task, train: Sequence[Example], examples: Sequence[Example], seed: int) -> Measurement | None:
    start = time.perf_counter()
    words, model = tfidf.words(), tfidf.regression(seed)
    texts, asked = ([_text(example) for example in rows] for rows in (train, examples))
    analyse = words.build_analyzer()
    if not any(analyse(text) for text in texts):
        return None
    rights = [example.references[0] for example in train]
    weights = np.array([task.weights.get(right, 1.0) for right in rights])
    counted = words.fit_transform(texts)
    if task.multi_label:
        say = _one_vs_rest(model, counted, rights, task.labels)
    else:
        model.fit(counted, rights, sample_weight=weights / weights.mean())
        say = partial(_likeliest, model)
    fitted = time.perf_counter()
    answers = say(words.transform(asked))
    done = time.perf_counter()
    measured = mark(task, examples, answers, seconds=done - fitted, engine="TF-IDF and logistic regression", seed=seed)
    return replace(measured, spent=Cost(seconds=done - start))


def _likeliest(model: Any, read: Any) -> list[Answer]:
    probabilities = model.predict_proba(read)
    best = np.argmax(probabilities, axis=1)
    return [Answer(str(model.classes_[k]), float(row[k])) for k, row in zip(best, probabilities, strict=True)]


def _one_vs_rest(model: Any, counted: Any, rights: Sequence[str], labels: Sequence[str]) -> Callable[[Any], list[Answer]]:
    """What says which labels rows have: a regression for each. What all rows of train have is always said, what none has never."""
    from sklearn.base import clone

    has = np.array([[label in labels_of(right, labels) for label in labels] for right in rights])
    heads = [clone(model).fit(counted, own) if 0 < own.sum() < len(own) else bool(own[0]) for own in has.T]

    def say(read: Any) -> list[Answer]:
        given = [[head] * read.shape[0] if isinstance(head, bool) else head.predict(read).tolist() for head in heads]
        rows = zip(*given, strict=True)
        return [Answer(joined((label for label, own in zip(labels, row, strict=True) if own), labels)) for row in rows]

    return say


def _text(example: Example) -> str:
    return "\n".join(turn.text for turn in example.turns)
