"""From the values in a label column to the words that a model reads and writes."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tuneladder.errors import BadInput, unknown
from tuneladder.task.formats import text_of
from tuneladder.types import Example

FEW = 5  # values that a hint writes out
_DIGITS = tuple("0123456789")  # what YAML leaves as it is without quotes, among much else


@dataclass(frozen=True)
class Words:
    """The labels' words in order, the word of each value, and what there is to say about them."""

    words: tuple[str, ...]
    of: Mapping[str, str]
    notes: tuple[str, ...]


def label_words(examples: Mapping[str, Sequence[Example]], labels: Mapping[Any, Any] | Sequence[Any] | None) -> Words:
    """The words of a classification.

    The examples of each split have the label's value as their reference. `labels` maps values to words; or lists the words,
    which the values are themselves or count from 0; or is None: the sorted values are the words. Values match whatever their
    case where that is unambiguous. Raises BadInput for one label, a value without a word, or as good as a label a row.
    """
    first: dict[str, str] = {}
    counts: Counter[str] = Counter()
    named: object = True
    for example in (example for part in examples.values() for example in part):
        if len(example.references) > 1:
            several = ", ".join(example.references)[:120]
            raise BadInput(
                f"row {example.id} has {len(example.references)} labels: {several}",
                "kind classify takes one label a row, or of every row a list of them",
            )
        first.setdefault(example.references[0], example.id)
        counts[example.references[0]] += 1
    if labels is None:
        mapping = {value: value for value in sorted({value.strip() for value in counts}, key=_order)}
        total = sum(counts.values())
        if len(counts) > 20 and len(counts) > total / 2:
            raise BadInput(
                f"the target has {len(counts):,} different values in {total:,} rows: these are no labels",
                "name another column with `target`, or say kind: generate",
            )
    elif isinstance(labels, Mapping):
        mapping = {text_of(value).strip(): text_of(word).strip() for value, word in labels.items()}
    elif isinstance(labels, str):
        raise BadInput(f"labels is the text {labels[:80]!r}", "a list of words, or a mapping from the values to words")
    else:
        given = [text_of(word).strip() for word in labels]
        if len(given) > len(set(given)):  # counted from 0, two values may mean one word: that is a mapping's to say
            twice = next(word for word, count in Counter(given).items() if count > 1)
            raise BadInput(f"labels lists {twice!r} twice", f"once each; where several values mean one, {{0: {twice}, ...}}")
        named = {value.strip().casefold() for value in counts} & {word.casefold() for word in given}
        mapping = {(word if named else str(n)): word for n, word in enumerate(given)}
    words = tuple(dict.fromkeys(mapping.values()))
    if "" in words:
        raise BadInput("one of the labels is an empty word", "every label needs a word that a model can write")
    folded = Counter(value.casefold() for value in mapping)
    loose = {value.casefold(): word for value, word in mapping.items() if folded[value.casefold()] == 1}
    of: dict[str, str] = {}
    for value, count in counts.items():
        word = mapping.get(value.strip(), loose.get(value.strip().casefold()))
        if word is None:
            values = sorted({value.strip() for value in counts}, key=_order)
            has = f"the data has: {', '.join(values)[:200]}"
            hint = f"{has}; labels has: {', '.join(words if not named else mapping)[:200]}"
            if isinstance(labels, Mapping | Sequence) and any(isinstance(label, bool) for label in labels):
                hint += "; YAML reads a bare yes, no, on, off as true or false: put them in quotes"
            elif not named and values == [str(n) for n in range(len(values))]:
                hint = f"{has}, {len(values)} values, and labels lists {len(given)} words: a word for each, in this order"
            elif not named:  # the words were counted from 0, which the values do not do
                keys = [value if value in _DIGITS else json.dumps(value, ensure_ascii=False) for value in values[:FEW]]
                which = ", ".join(f"{key}: WORD" for key in keys) + (", ..." if len(values) > FEW else "")
                hint = f"{has}; say which is which of {', '.join(words)[:200]}: labels: {{{which}}}"
            raise BadInput(f"the value {value[:80]!r} (row {first[value]}, {count:,} in all) is none of the labels", hint)
        of[value] = word
    used = dict.fromkeys(of.values())
    if len(used) < 2:
        raise BadInput(
            f"no row has another label than {next(iter(used))!r} ({sum(counts.values()):,} in all)",
            "a classification needs two or more labels; is `target` the right column?",
        )
    return Words(words, of, tuple(_notes(examples, of, words)))


def label_weights(given: str | Mapping[Any, Any], words: Sequence[str], counts: Mapping[str, int]) -> dict[str, float]:
    """How much a row of each label counts in the loss: `balanced` gives every label the same sum over the training rows,
    n / (k n_c) for n_c of n rows and k labels that have any; a mapping gives weights by the labels' words, and 1 where it has none.

    `counts` are the training rows of each word. Raises BadInput for what is neither, or a weight that is not above 0.
    """
    if isinstance(given, str):
        if given != "balanced":
            raise BadInput(f"class_weights is {given!r}", "balanced, or label: weight")
        total, trained = sum(counts.values()), sum(counts.get(word, 0) > 0 for word in words)
        return {word: total / (trained * counts[word]) if counts.get(word) else 1.0 for word in words}
    weights = dict.fromkeys(words, 1.0)
    for label, weight in given.items():
        word = text_of(label)
        if word not in weights:
            raise unknown("label to weigh", word, words)
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < math.inf:
            raise BadInput(f"class_weights: {word} is {weight!r}", "a number above 0; 1 is what a label counts without")
        weights[word] = float(weight)
    return weights


def _notes(examples: Mapping[str, Sequence[Example]], of: Mapping[str, str], words: Sequence[str]) -> list[str]:
    notes = []
    trained = {of[example.references[0]] for example in examples["train"]}
    if missing := [word for word in words if word not in trained]:
        notes.append(f"no training row has the label {', '.join(missing[:5])}{', ...' if len(missing) > 5 else ''}")
    seen: dict[str, str] = {}
    for word in words:
        if (other := seen.setdefault(word.casefold(), word)) != word:
            notes.append(
                f"the labels '{other}' and '{word}' differ by case only: map both to one word with `labels` if they are the same"
            )
    return notes


def _order(value: str) -> tuple[int, float, str]:
    """Numbers by size, then words."""
    try:
        return (0, float(value), value)
    except ValueError:
        return (1, 0.0, value)
