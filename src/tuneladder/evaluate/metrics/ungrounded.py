"""Ungrounded: the share of answers that say what does not stand in what was read, for questions on a given context.

An answer is ungrounded where one of its content words, by its English stem, or one of its numbers is not in the row's turns: the
context and the question. Function words (evaluate/grams.py) do not count. The rule sees words, not meaning: a true paraphrase is
ungrounded too, and words of the context put together falsely are not. An answer that says nothing is not.
"""

from __future__ import annotations

from collections.abc import Sequence

from tuneladder.evaluate.facts import numbers_in
from tuneladder.evaluate.grams import FUNCTION, words
from tuneladder.types import Answer, Example

better = "lower"
best = 0.0
worst = 1.0
kinds = ()
interval = "wilson"
relative = True  # references may be in words of their own, and not all of them will


def outcomes(examples: Sequence[Example], answers: Sequence[Answer]) -> list[str]:
    """Of each answer what does not stand in its row, with blanks between; "" where it is grounded."""
    from nltk.stem.snowball import SnowballStemmer

    stem = SnowballStemmer("english").stem
    found = []
    for example, answer in zip(examples, answers, strict=True):
        read = "\n".join(turn.text for turn in example.turns)
        stems = {stem(part) for word in words(read) for part in _parts(word)}
        stray = [
            word
            for word in dict.fromkeys(words(answer.text))
            if word not in FUNCTION
            and not _is_number(word)
            and not all(stem(part) in stems or part in FUNCTION for part in _parts(word))
        ]
        numbers = numbers_in(read)
        stray += [word for word in dict.fromkeys(words(answer.text)) if _is_number(word) and not numbers_in(word) <= numbers]
        found.append(" ".join(stray))
    return found


def items(answers: Sequence[str], references: Sequence[Sequence[str]], labels: Sequence[str]) -> list[float]:
    """Of outcomes."""
    return [float(bool(answer)) for answer in answers]


def _parts(word: str) -> list[str]:
    """A word, or the words that hyphens join."""
    return [word] if _is_number(word) else [part for part in word.split("-") if part]


def _is_number(word: str) -> bool:
    return word[0].isdigit()
