"""What the metrics of generated text share: a text's words, and how often each run of words stands in it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

Grams = Counter[tuple[str, ...]]

# Contractions and currency signs stand apart; hyphens, and points and commas between digits, stay within a word.
_WORD = re.compile(r"[$£€¥]|n't\b|'(?:ll|ve|re|s|d|m)\b|\w+?(?=n't\b)|\w+(?:-\w+|(?<=\d)[.,]\d+)*")


def words(text: str) -> list[str]:
    """The text's words in lower case, without punctuation, much as the Penn Treebank's tokenizer divides English."""
    return _WORD.findall(text.lower().replace("’", "'"))


def grams(words: Sequence[str], longest: int) -> Grams:
    """How often each run of 1 to `longest` words stands there."""
    return Counter(gram for size in range(1, longest + 1) for gram in zip(*(words[start:] for start in range(size))))
