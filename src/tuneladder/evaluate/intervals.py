"""95 % intervals and paired tests, all seeded and vectorised.

R resamples of N rows are one matrix of weights (R, N); a metric whose S statistics add up over rows is then `weights @ statistics`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Combine = Callable[[Array], Array]

Z = 1.959963984540054  # the normal quantile of 97.5 %
_POWER = 0.8416212335729143  # that of 80 %
_BLOCK = 4_000_000  # weights held at once: 32 MB


def wilson(successes: float, count: int) -> tuple[float, float]:
    """The Wilson score interval of a share (Wilson 1927, equation 4 in Brown, Cai and DasGupta 2001), within [0, 1]."""
    if count == 0:
        return 0.0, 1.0
    share = successes / count
    scale = 1 + Z**2 / count
    middle = (share + Z**2 / (2 * count)) / scale
    half = Z / scale * math.sqrt(share * (1 - share) / count + Z**2 / (4 * count**2))
    # At the ends the formula gives 0 and 1 up to rounding; the interval must hold its own estimate.
    return max(0.0, min(middle - half, share)), min(1.0, max(middle + half, share))


def bootstrap(statistics: Array, combine: Combine, *, seed: int, resamples: int = 1000) -> tuple[float, float]:
    """The percentile interval of `combine` over rows drawn with replacement. statistics (N, S); combine (R, S) -> (R,)."""
    values = np.concatenate([combine(weights @ statistics) for weights in resampled(len(statistics), seed, resamples)])
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def by_group(statistics: Array, groups: Sequence[str]) -> Array:
    """The sums of each group's rows (G, S), in the order in which groups come: what a bootstrap draws whole where the rows of a
    group depend on one another. statistics (N, S)."""
    places = {group: at for at, group in enumerate(dict.fromkeys(groups))}
    sums = np.zeros((len(places), statistics.shape[1]))
    np.add.at(sums, [places[group] for group in groups], statistics)
    return sums


def mean_of_parts(
    parts: Sequence[Sequence[tuple[Array, Combine]]], shares: Sequence[float] | None = None, *, seed: int, resamples: int = 1000
) -> tuple[float, float, float]:
    """The mean over parts of the mean of each one's metrics: (value, low, high). Parts count by their `shares`, which are 1 in all,
    or alike whatever their rows.

    A part is its metrics' statistics (N, S) over the same rows, each with its `combine`; rows are drawn within their part. What is
    drawn of N rows varies by (N - 1) / N of what it should, and is moved from the value by as much more. One row says nothing of
    how far another would lie: its part varies as a share does, 0 or 1 about the mean of all.
    """
    values = [float(np.mean([combine(own.sum(0, keepdims=True))[0] for own, combine in part])) for part in parts]
    weights = shares or [1 / len(parts)] * len(parts)
    value = sum(share * own for share, own in zip(weights, values, strict=True))
    plain, moved = np.zeros(resamples), np.zeros(resamples)
    for number, (share, part, own) in enumerate(zip(weights, parts, values, strict=True)):
        if (count := len(part[0][0])) == 1:
            right = np.random.default_rng(seed + number).random(resamples) < value
            plain += share * own
            moved += share * (right - np.clip(value, 0, 1))
            continue
        blocks = resampled(count, seed + number, resamples)
        drawn = np.concatenate([np.mean([combine(block @ each) for each, combine in part], 0) for block in blocks])
        plain += share * drawn
        moved += share * math.sqrt(count / (count - 1)) * (drawn - own)
    # no further than from 0 to 1 where nothing that was drawn is
    low, high = np.quantile(np.clip(value + moved, min(0, plain.min()), max(1, plain.max())), [0.025, 0.975])
    return value, float(low), float(high)


def paired_bootstrap(
    a: Array, b: Array, combine: Combine, *, seed: int, resamples: int = 1000
) -> tuple[float, float, float, float]:
    """How much higher b is than a on the same rows: (difference, low, high, two-sided p). Statistics (N, S), row by row alike."""
    drawn = [combine(weights @ b) - combine(weights @ a) for weights in resampled(len(a), seed, resamples)]
    values = np.concatenate(drawn)
    difference = float(combine(b.sum(0, keepdims=True))[0] - combine(a.sum(0, keepdims=True))[0])
    low, high = np.quantile(values, [0.025, 0.975])
    # One is added so that no p is ever zero (Phipson and Smyth, arXiv:1603.05766).
    tail = min(int((values <= 0).sum()), int((values >= 0).sum())) + 1
    return difference, float(low), float(high), min(1.0, 2 * tail / (resamples + 1))


def independent_bootstrap(a: Array, b: Array, combine: Combine, *, seed: int, resamples: int = 1000) -> tuple[float, float]:
    """The percentile interval of how much higher b is than a, on rows of their own. Statistics (N, S) and (M, S)."""
    drawn = [
        np.concatenate([combine(weights @ own) for weights in resampled(len(own), seed + at, resamples)])
        for at, own in enumerate((a, b))
    ]
    low, high = np.quantile(drawn[1] - drawn[0], [0.025, 0.975])
    return float(low), float(high)


def mcnemar(won: int, lost: int) -> float:
    """McNemar's exact two-sided p: how likely so uneven a split of the won and lost items is if both were equally good."""
    count = won + lost
    term = total = 1
    for k in range(1, min(won, lost) + 1):  # whole numbers throughout, so exact
        term = term * (count - k + 1) // k
        total += term
    return min(1.0, float(2 * total / (1 << count)))


def swapped(nets: Sequence[int]) -> float:
    """The exact two-sided p of so much more won than lost, where all that a group won or lost, `nets` of them, is won or lost
    together: the share of all ways to swap the two variants in whole groups that are as uneven. Of groups of one item McNemar's."""
    moves = [abs(net) for net in nets if net]
    ways = np.ones(1)  # by how much more was won than lost, from the least
    for move in moves:
        gap = np.zeros(2 * move)
        ways = (np.concatenate([ways, gap]) + np.concatenate([gap, ways])) / 2
    reach = sum(moves)
    far = np.abs(np.arange(-reach, reach + 1)) >= abs(sum(nets))
    return min(1.0, float(ways[far].sum()))


def items_needed(won: int, lost: int, count: int) -> int | None:
    """How many items McNemar's test takes to tell two variants apart at p < 0.05 four times in five, if they truly differ as much
    and as often as on these; None where they do not differ.

    Connor 1987 (Biometrics 43, equation 3), with the correction for continuity that the exact test asks for.
    """
    if won == lost:
        return None
    apart, differing = abs(won - lost) / count, (won + lost) / count
    plain = ((Z * math.sqrt(differing) + _POWER * math.sqrt(differing - apart**2)) / apart) ** 2
    # whatever they are, fewer than six are no evidence: 2 / 2**5 is 0.06
    return max(6, math.ceil(plain / 4 * (1 + math.sqrt(1 + 2 / (plain * apart))) ** 2))


def holm(given: Sequence[float]) -> list[float]:
    """p-values corrected for their number, so that the chance of any false one stays what it was (Holm 1979): of m the smallest
    times m, the next times m - 1, and none below one before it."""
    found = [0.0] * len(given)
    most = 0.0
    for rank, at in enumerate(sorted(range(len(given)), key=lambda at: given[at])):
        most = max(most, min(1.0, (len(given) - rank) * given[at]))
        found[at] = most
    return found


def resampled(count: int, seed: int, resamples: int) -> Iterator[Array]:
    """How often each row is drawn, in blocks (r, N) that together are (resamples, N)."""
    random = np.random.default_rng(seed)
    block = max(1, min(resamples, _BLOCK // count))
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        drawn = random.integers(0, count, size=(rows, count)) + np.arange(rows)[:, None] * count
        yield np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count).astype(np.float64)
