"""Texts that stand on both sides of a split, exactly or nearly: the Jaccard overlap of their sets of five words in a row is
0.8 or more. The search is exact, not sampled: rare shingles first, and only as many of them as a match must share (prefix
filtering, doi:10.1145/1242572.1242591), so 50,000 short rows take seconds."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tuneladder.task.scripts import DENSE
from tuneladder.types import Example

SHINGLE = 5
NEAR = 0.8
Shingles = NDArray[np.int64]
# characters of scripts that put no spaces between words count as words
_WORD = re.compile(rf"[{DENSE}]|[^\W{DENSE}]+")


@dataclass(frozen=True)
class Leak:
    """Row `id` of `split` is the same, or nearly the same, as row `other` of `kept`, which stays."""

    split: str
    id: str
    kept: str
    other: str
    how: Literal["exact", "near"]
    overlap: float


def read_text(example: Example) -> str:
    """What is compared: all that a person or a model said before the answer, and what a row brings to choose from. Instructions of
    the system are the same everywhere."""
    return "\n".join([*(turn.text for turn in example.turns if turn.role != "system"), *example.options])


def normal(text: str) -> str:
    """The text without what a copy may change: case, spacing, and Unicode's compatible forms."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def find_leaks(splits: Sequence[tuple[str, Sequence[Example]]]) -> list[Leak]:
    """The leaks among the splits, which come in the order of their right to a row: test, dev, train.

    A row that leaks into an earlier split is not compared with later ones: it will be gone.
    """
    flat = [(split, example) for split, examples in splits for example in examples]
    texts = [normal(read_text(example)) for _, example in flat]
    sets, own = _shingles(texts)
    exact: dict[str, int] = {}
    index: dict[int, list[int]] = defaultdict(list)
    leaks: list[Leak] = []
    start = 0
    for split, examples in splits:
        kept = []
        for row in range(start, start + len(examples)):
            found = (exact[texts[row]], 1.0) if texts[row] in exact else _nearest(row, sets, own, index)
            if found is None:
                kept.append(row)
            else:
                other, example = flat[found[0]], flat[row][1]
                how: Literal["exact", "near"] = "exact" if texts[row] == texts[found[0]] else "near"
                leaks.append(Leak(split, example.id, other[0], other[1].id, how, found[1]))
        for row in kept:
            exact.setdefault(texts[row], row)
            for shingle in sets[row][: _prefix(own[row])].tolist():
                index[shingle].append(row)
        start += len(examples)
    return leaks


def _prefix(size: int) -> int:
    """How many of a set's rarest members must include one that a near set shares: |A| - ceil(0.8 |A|) + 1."""
    return size - -(-size * 4 // 5) + 1 if size else 0


def _nearest(row: int, sets: Sequence[Shingles], own: Sequence[int], index: dict[int, list[int]]) -> tuple[int, float] | None:
    """The first kept row that overlaps enough, in the whole text and in what is the row's own, with the overlap."""
    seen: set[int] = set()
    for shingle in sets[row][: _prefix(own[row])].tolist():
        for other in index.get(shingle, ()):
            if other in seen or not NEAR * own[row] <= own[other] <= own[row] / NEAR:
                continue
            seen.add(other)
            if _overlap(sets[row][: own[row]], sets[other][: own[other]]) >= NEAR:
                overlap = _overlap(sets[row], sets[other])
                if overlap >= NEAR:
                    return other, overlap
    return None


def _overlap(one: Shingles, two: Shingles) -> float:
    shared = len(np.intersect1d(one, two, assume_unique=True))
    return shared / (len(one) + len(two) - shared)


def _shingles(texts: Sequence[str]) -> tuple[list[Shingles], list[int]]:
    """Each text's set of shingles as ranks, the rarest first (none for texts under five words), and how many are its own.

    Shingles that stand in more than a tenth of the texts, or in more than 500, belong to a template and not to a row.
    """
    if not texts:
        return [], []
    words: dict[str, int] = defaultdict(lambda: len(words))
    ids: list[int] = []
    lengths = []
    for text in texts:
        found = _WORD.findall(text)
        ids += [words[word] for word in found]
        lengths.append(len(found))
    # every window of five words over all the texts at once; those that reach over a text's end are left out
    word = np.array(ids, dtype=np.uint64)
    size = max(len(word) - SHINGLE + 1, 0)
    hashed = np.zeros(size, dtype=np.uint64)
    for shift in range(SHINGLE):
        hashed = _mixed(hashed + word[shift : shift + size] + np.uint64(1))
    text_of_word = np.repeat(np.arange(len(texts)), lengths)
    whole = text_of_word[:size] == text_of_word[len(word) - size :]
    distinct, member = np.unique(hashed[whole], return_inverse=True)
    kinds = max(len(distinct), 1)
    pairs = np.unique(text_of_word[:size][whole] * kinds + member)
    count = np.bincount(pairs % kinds, minlength=kinds)
    rank = np.empty(kinds, dtype=np.int64)
    rank[np.argsort(count, kind="stable")] = np.arange(kinds)
    ranked = np.sort(pairs // kinds * kinds + rank[pairs % kinds])
    sets = np.split(ranked % kinds, np.searchsorted(ranked, np.arange(1, len(texts)) * kinds))
    common = int((count <= min(max(10, len(texts) // 10), 500)).sum())  # ranks from here on are a template's
    return sets, [int(np.searchsorted(part, common)) for part in sets]


def _mixed(hashed: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """One round of splitmix64: sums of small word numbers become 64 well-spread bits."""
    hashed = hashed * np.uint64(0x9E3779B97F4A7C15)
    hashed = (hashed ^ (hashed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    return hashed ^ (hashed >> np.uint64(27))
