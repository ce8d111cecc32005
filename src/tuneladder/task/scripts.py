"""Where words end: at blanks and marks, but for scripts that write none between them."""

from __future__ import annotations

import re
from collections.abc import Iterable

# kana, Chinese characters, Thai, Lao, Burmese, Khmer: as part of a class in a pattern
DENSE = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"
_DENSE = re.compile(f"[{DENSE}]")
_LETTER = rf"[^\W{DENSE}]"


def whole(words: Iterable[str]) -> str:
    """A pattern that finds any of these words, of two that begin at one place the longer, where no letter or digit goes on with it;
    a script without blanks says nothing of where a word ends, and so what is written in one may stand anywhere."""
    return "|".join(map(_whole, sorted(words, key=len, reverse=True))) or r"(?!)"


def _whole(word: str) -> str:
    before = "" if _DENSE.match(word[:1]) else rf"(?<!{_LETTER})"
    after = "" if _DENSE.match(word[-1:]) else rf"(?!{_LETTER})"
    return f"{before}{re.escape(word)}{after}"
