"""Which words of one text are which of another, in as few runs as can be found quickly."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Hashable, Sequence


def align(a: Sequence[Hashable], b: Sequence[Hashable]) -> list[tuple[int, int, int]]:
    """Runs (start in a, start in b, length) of equal words; no word is in two, and together they are as many as can be matched.

    The longest run that is left is taken first, of equals the one that moves least (greedy string tiling, Wise 1993): the fewest
    runs there could be is a hard problem.
    """
    places = defaultdict(list)
    for place, word in enumerate(b):
        places[word].append(place)
    free_a, free_b = [True] * len(a), [True] * len(b)
    lengths: dict[tuple[int, int], int] = {}
    for i in range(len(a) - 1, -1, -1):
        for j in places.get(a[i], ()):
            lengths[i, j] = 1 + lengths.get((i + 1, j + 1), 0)
    waiting = [(-length, abs(i - j), i, j) for (i, j), length in lengths.items() if (i - 1, j - 1) not in lengths]
    heapq.heapify(waiting)
    found = []
    while waiting:
        negative, moved, i, j = heapq.heappop(waiting)
        free = [free_a[i + k] and free_b[j + k] for k in range(-negative)]
        if all(free):
            found.append((i, j, -negative))
            free_a[i : i - negative] = free_b[j : j - negative] = [False] * -negative
            continue
        start = 0
        for k in range(len(free) + 1):
            if k == len(free) or not free[k]:
                if k > start:
                    heapq.heappush(waiting, (start - k, moved, i + start, j + start))
                start = k + 1
    return found
