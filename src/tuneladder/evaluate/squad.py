"""What SQuAD's evaluation takes for the words of an answer (arXiv:1606.05250)."""

from __future__ import annotations

import re
import string

_MARKS = str.maketrans("", "", string.punctuation)


def words_of(text: str) -> list[str]:
    return re.sub(r"\b(a|an|the)\b", " ", text.lower().translate(_MARKS)).split()
