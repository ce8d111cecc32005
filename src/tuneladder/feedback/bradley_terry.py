"""Strengths from comparisons: Bradley and Terry 1952 with Davidson's ties (1970, JASA 65), fitted by minorising and maximising
(Hunter 2004, Annals of Statistics 32).

    P(i beats j) = s_i / D, P(they tie) = t sqrt(s_i s_j) / D, D = s_i + s_j + t sqrt(s_i s_j)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tuneladder.errors import BadInput
from tuneladder.evaluate.intervals import Array, Z
from tuneladder.feedback.table import Whole

PRIOR = 0.1  # wins and losses that each is lent against an answer of mean strength: whoever never lost is not infinitely strong
ROUNDS = 10_000


@dataclass(frozen=True)
class Strengths:
    """`log` (M,) the natural logarithms of the strengths, 0 their mean, with their intervals; `spread` (M, M) their covariance;
    `tie` how readily two of the same strength tie; `likelihood` after every round, the prior's included."""

    names: tuple[str, ...]
    log: Array
    low: Array
    high: Array
    spread: Array
    tie: float
    likelihood: tuple[float, ...]


def bradley_terry(
    wins: Array, ties: Array | None = None, *, names: Sequence[str] = (), prior: float = PRIOR, rounds: int = ROUNDS
) -> Strengths:
    """wins (M, M): how often the row beat the column, weights allowed; ties (M, M), symmetric, each tie in both cells.

    Raises BadInput for fewer than two, and where without a prior the strengths have no maximum: some never lost to the others.
    """
    many = len(wins)
    tied = np.zeros((many, many)) if ties is None else ties
    names = tuple(names) or tuple(map(str, range(many)))
    if many < 2 or not (wins.sum() + tied.sum()):
        raise BadInput("there is nothing to compare", "strengths are of two or more that were compared")
    if not prior and (unbeaten := _unbeaten(wins + tied)):
        said = ", ".join(names[m] for m in unbeaten[:5])
        raise BadInput(f"nothing else ever beat or tied any of {said}: their strength has no bound", "leave the prior above 0")
    # without a draw `tie` stays 0, and the model is Bradley's and Terry's
    log: Array = np.zeros(many)
    tie = 1.0 if tied.sum() else 0.0
    seen = [_likelihood(log, tie, wins, tied, prior)]
    for _ in range(rounds):
        log = _strengths(log, tie, wins, tied, prior)
        tie = _tie(log, tie, wins, tied)
        seen.append(_likelihood(log, tie, wins, tied, prior))
        if seen[-1] - seen[-2] < 1e-11 * (1 + abs(seen[-1])):
            break
    # a strength means something beside the others alone: their mean is 0, and the doubt is of how far each lies from it
    apart = np.eye(many) - 1 / many
    spread = apart @ np.linalg.pinv(_information(log, tie, wins, tied, prior)) @ apart
    log, half = log - log.mean(), Z * np.sqrt(np.diag(spread))
    return Strengths(names, log, log - half, log + half, spread, tie, tuple(seen))


def in_groups(fit: Strengths, better: Array, one: Whole, other: Whole, group: Whole) -> Strengths:
    """The same strengths with intervals for comparisons of which those of one group (N,) say the same thing together, as the pairs
    of an item do: by the groups' own spread (Liang and Zeger 1986, Biometrika 73), and where that is the narrower, as it is of an
    answer that never lost, the fit's own. `better` (N,): 1 where `one` was, 0 where `other` was, 0.5 where they tied."""
    gap = (fit.log[one] - fit.log[other]) / 2
    up, down = np.exp(gap), np.exp(-gap)
    rest = better - (up + fit.tie / 2) / (up + down + fit.tie)
    pull = np.zeros((int(group.max()) + 1, len(fit.log)))
    np.add.at(pull, (group, one), rest)
    np.add.at(pull, (group, other), -rest)
    groups = len(np.unique(group))
    spread = fit.spread @ (pull.T @ pull) @ fit.spread * groups / max(1, groups - 1)
    half = Z * np.sqrt(np.maximum(np.diag(spread), np.diag(fit.spread)))
    return replace(fit, low=fit.log - half, high=fit.log + half)


def _strengths(log: Array, tie: float, wins: Array, tied: Array, prior: float) -> Array:
    """One round: sqrt(s_i s_j) lies below its tangent (a s_i + s_j / a) / 2, D's logarithm below its own, and what is left of each
    strength has a maximum in closed form."""
    strength = np.exp(log)
    met = wins + wins.T + tied
    root = np.sqrt(np.outer(strength, strength))
    whole = strength[:, None] + strength[None, :] + tie * root
    scored = wins.sum(1) + tied.sum(1) / 2 + prior
    slope = (met / whole * (1 + tie / 2 * root / strength[:, None])).sum(1) + 2 * prior / (strength + 1)
    return np.asarray(np.log(scored / slope))


def _tie(log: Array, tie: float, wins: Array, tied: Array) -> float:
    if not tie:
        return 0.0
    strength = np.exp(log)
    root = np.sqrt(np.outer(strength, strength))
    whole = strength[:, None] + strength[None, :] + tie * root
    return float(tied.sum() / ((wins + wins.T + tied) * root / whole).sum())


def _likelihood(log: Array, tie: float, wins: Array, tied: Array, prior: float) -> float:
    strength = np.exp(log)
    middle = (log[:, None] + log[None, :]) / 2
    whole = np.log(strength[:, None] + strength[None, :] + tie * np.exp(middle))
    found = (wins * (log[:, None] - whole)).sum() + prior * (log - 2 * np.log1p(strength)).sum()
    if tie:
        found += (tied * (np.log(tie) + middle - whole)).sum() / 2
    return float(found)


def _information(log: Array, tie: float, wins: Array, tied: Array, prior: float) -> Array:
    """(M, M): the curvature in the logarithms of the strengths, `tie` held: the variance of a comparison's 1, 1/2 or 0."""
    gap = (log[:, None] - log[None, :]) / 2
    up, down = np.exp(gap), np.exp(-gap)
    whole = up + down + tie
    won, drawn = up / whole, tie / whole
    spread = won + drawn / 4 - (won + drawn / 2) ** 2
    each = (wins + wins.T + tied) * spread
    np.fill_diagonal(each, 0.0)
    lent = 2 * prior / (np.exp(log / 2) + np.exp(-log / 2)) ** 2
    return np.asarray(np.diag(each.sum(1) + lent) - each)


def _unbeaten(beaten: Array) -> list[int]:
    """Those of a part that nothing outside it ever beat or tied; empty where everybody is reached from everybody (Ford 1957)."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import connected_components

    count, part = connected_components(csr_matrix(beaten > 0), directed=True, connection="strong")
    if count == 1:
        return []
    for own in range(count):
        inside = part == own
        if not (beaten[~inside][:, inside] > 0).any():
            return [int(m) for m in np.flatnonzero(inside)]
    return []
