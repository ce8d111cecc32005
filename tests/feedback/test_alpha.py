"""Agreement against the worked examples that its authors published."""

from __future__ import annotations

import numpy as np
import pytest

from tuneladder.errors import BadInput
from tuneladder.evaluate.intervals import Array
from tuneladder.feedback.alpha import LEVELS, alpha
from tuneladder.feedback.kappa import cohen, fleiss, pairwise
from tuneladder.feedback.table import table_of
from tuneladder.types import Judgement

# Krippendorff 2011: four observers, twelve units, 0 where an observer did not look
OBSERVED = (
    (1, 2, 3, 3, 2, 1, 4, 1, 2, 0, 0, 0),
    (1, 2, 3, 3, 2, 2, 4, 1, 2, 5, 0, 3),
    (0, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, 0),
    (1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, 0),
)
# Fleiss' kappa as it is commonly worked out: ten subjects, fourteen raters, five categories
RATED = (
    (0, 0, 0, 0, 14), (0, 2, 6, 4, 2), (0, 0, 3, 5, 6), (0, 3, 9, 2, 0), (2, 2, 8, 1, 1),
    (7, 7, 0, 0, 0), (3, 2, 6, 3, 0), (2, 5, 3, 2, 2), (6, 5, 2, 1, 0), (0, 2, 2, 3, 7),
)  # fmt: skip


def counted(rows: tuple[tuple[int, ...], ...]) -> Array:
    """(I, K) of observers' rows, in which 0 is missing."""
    units = np.array(rows).T
    return np.array([[(unit == value).sum() for value in range(1, units.max() + 1)] for unit in units], dtype=np.float64)


@pytest.mark.parametrize(("level", "published"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_is_krippendorffs(level: str, published: float) -> None:
    named = next(each for each in LEVELS if each == level)
    found = alpha(counted(OBSERVED), named, np.arange(1.0, 6.0))
    assert found.value == pytest.approx(published, abs=5e-4)
    assert found.low < found.value < found.high <= 1
    assert found.count == 11  # the unit that one observer saw tells nothing


def test_alpha_knows_no_unit_and_no_origin() -> None:
    counts = counted(OBSERVED)
    plain, moved = (alpha(counts, "interval", number).value for number in (np.arange(5.0), 1e6 + 1e-3 * np.arange(5.0)))
    assert plain == pytest.approx(moved, abs=1e-6)


def test_alpha_of_chance_is_none_and_of_one_mind_is_one() -> None:
    draw = np.random.default_rng(0)
    chance = np.stack([np.bincount(row, minlength=3) for row in draw.integers(0, 3, (2000, 5))]).astype(np.float64)
    for level in LEVELS:
        found = alpha(chance, level, np.arange(3.0), resamples=200)
        assert found.low < 0 < found.high
        assert abs(found.value) < 0.03
        assert alpha(5 * np.eye(3), level, np.arange(3.0)).value == 1


def test_the_interval_covers_and_items_of_one_group_are_drawn_together() -> None:
    counts = counted(OBSERVED)
    assert alpha(counts, "nominal", seed=0) == alpha(counts, "nominal", seed=0)
    assert alpha(counts, "nominal", seed=0) != alpha(counts, "nominal", seed=1)
    twice = np.concatenate([counts, counts])
    apart = alpha(twice, "nominal", seed=0)
    together = alpha(twice, "nominal", group=np.tile(np.arange(12), 2), seed=0)
    assert together.value == apart.value
    assert together.high - together.low > apart.high - apart.low  # copies are no new evidence
    assert together.count == 11


def test_no_agreement_without_two_who_look_and_something_that_differs() -> None:
    with pytest.raises(BadInput, match="no item was judged by two"):
        alpha(np.eye(3), "nominal")
    with pytest.raises(BadInput, match="all 4 judgements are the same"):
        alpha(np.array([[2.0, 0.0], [2.0, 0.0]]), "nominal")


def test_fleiss_is_the_published_one() -> None:
    assert fleiss(np.array(RATED, dtype=np.float64)) == pytest.approx(0.210, abs=5e-4)
    with pytest.raises(BadInput, match="they have 1 to 4"):
        fleiss(counted(OBSERVED))


def test_cohen_is_scikit_learns() -> None:
    from sklearn.metrics import cohen_kappa_score

    draw = np.random.default_rng(1)
    for _ in range(5):
        a = draw.integers(0, 4, 60)
        b = np.where(draw.random(60) < 0.5, a, draw.integers(0, 4, 60))
        assert cohen(a, b) == pytest.approx(cohen_kappa_score(a, b))
    assert np.isnan(cohen(np.zeros(3, dtype=np.int64), np.zeros(3, dtype=np.int64)))


def test_the_mean_over_pairs_leaves_out_those_that_share_little() -> None:
    said = {"a": "xyxyxyxyxyxy", "b": "xyxyxyxyxyxx", "c": "xx"}
    table = table_of([Judgement(str(n), who, "", value, "") for who, values in said.items() for n, value in enumerate(values)])
    a, b = (np.array([{"x": 0, "y": 1}[value] for value in said[who]]) for who in "ab")
    assert pairwise(table) == pytest.approx(cohen(a, b))
    assert pairwise(table, at_least=13) is None
