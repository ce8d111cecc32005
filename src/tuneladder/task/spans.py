"""Span corruption's form (arXiv:1910.10683, section 3.1.4): each span of a text gives way to a sentinel, and the target is those
sentinels, each before what it stands for."""

from __future__ import annotations

from collections.abc import Sequence

SHARE = 0.15  # of a text's tokens that are taken out
MEAN = 3  # tokens of a span, on average


def corrupted(
    ids: Sequence[int], spans: Sequence[tuple[int, int]], sentinels: Sequence[int]
) -> tuple[list[int], list[int], list[int]]:
    """What is left of the text, what is to be written, and the places in the latter that hold tokens of the text.

    `spans` are (start, end), apart from one another and in order, no more than there are sentinels.
    """
    source: list[int] = []
    target: list[int] = []
    places: list[int] = []
    done = 0
    for (start, end), sentinel in zip(spans, sentinels, strict=False):
        source += [*ids[done:start], sentinel]
        target.append(sentinel)
        places += range(len(target), len(target) + end - start)
        target += ids[start:end]
        done = end
    return [*source, *ids[done:]], target, places
