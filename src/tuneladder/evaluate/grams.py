"""What the metrics of generated text share: a text's words, the function words among them (the closed classes of English), and
how often each run of words stands in it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

Grams = Counter[tuple[str, ...]]

# Contractions and currency signs stand apart; hyphens, and points and commas between digits, stay within a word.
_WORD = re.compile(r"[$£€¥]|n't\b|'(?:ll|ve|re|s|d|m)\b|\w+?(?=n't\b)|\w+(?:-\w+|(?<=\d)[.,]\d+)*")

_CLOSED = """
a an the this that these those no not n't
i me my mine you your yours he him his she her hers it its we us our ours they them their theirs
who whom whose which what when where why how there
's 're 've 'll 'd 'm be am is are was were been being have has had having do does did
can could may might must shall should will would
and or but nor so yet if than then as because while although though whether
about above after against along among around at before behind below beside between by down during for from in into of off on
onto out over since through to toward towards under until up upon with within without
"""
FUNCTION = frozenset(_CLOSED.split())


def words(text: str) -> list[str]:
    """The text's words in lower case, without punctuation, much as the Penn Treebank's tokenizer divides English."""
    return _WORD.findall(text.lower().replace("’", "'"))


def grams(words: Sequence[str], longest: int) -> Grams:
    """How often each run of 1 to `longest` words stands there."""
    return Counter(gram for size in range(1, longest + 1) for gram in zip(*(words[start:] for start in range(size))))
