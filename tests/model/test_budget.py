"""What compute-optimal pretraining says of a budget: the papers' own figures, and shapes that are as large as was asked."""

from __future__ import annotations

import pytest
from scipy.optimize import minimize_scalar

from tuneladder.errors import BadInput
from tuneladder.model.budget import budgets, loss, number, pace_near, shapes


def test_the_rule_is_chinchillas_own() -> None:
    """70 B parameters on 1.4 T tokens (arXiv:2203.15556, section 4)."""
    _, rule = budgets("parameters", 70e9)
    assert rule.tokens == pytest.approx(1.4e12)
    assert rule.flops == pytest.approx(5.88e23)
    assert budgets("flops", rule.flops)[1].parameters == pytest.approx(70e9)
    assert budgets("tokens", 1.4e12)[1].parameters == pytest.approx(70e9)


@pytest.mark.parametrize("flops", [1e17, 1e19, 5.76e23])
def test_the_fit_is_the_lowest_loss_of_its_work(flops: float) -> None:
    fit, _ = budgets("flops", flops)
    found = minimize_scalar(lambda log: loss(10**log, flops / 6 / 10**log), bounds=(5, 13), method="bounded")
    assert fit.parameters == pytest.approx(10**found.x, rel=1e-3)
    assert fit.loss == pytest.approx(found.fun, rel=1e-9)
    assert fit.flops == pytest.approx(6 * fit.parameters * fit.tokens)
    assert budgets("parameters", fit.parameters)[0].tokens == pytest.approx(fit.tokens)
    assert budgets("tokens", fit.tokens)[0].parameters == pytest.approx(fit.parameters)


def test_the_corrected_fit_agrees_with_the_rule_where_chinchilla_was() -> None:
    """What arXiv:2404.10102 is about: with the published constants the fit would have asked for far more tokens a parameter."""
    fit, rule = budgets("flops", 5.76e23)
    assert fit.tokens / fit.parameters == pytest.approx(18.4, abs=0.1)
    assert fit.parameters == pytest.approx(rule.parameters, rel=0.1)


@pytest.mark.parametrize(
    ("text", "value"), [("1e19", 1e19), ("10M", 1e7), ("1.5b", 1.5e9), ("60_000_000", 6e7), ("2,000,000", 2e6)]
)
def test_numbers_as_people_write_them(text: str, value: float) -> None:
    assert number(text, "flops" if value > 1e16 else "tokens") == value


@pytest.mark.parametrize(
    ("text", "said"),
    [("-1e19", "above 0"), ("0", "above 0"), ("many", "not a number"), ("nan", "not a number"), ("", "not a number"),
     ("1e300", "no model is made"), ("7", "no model is made"), ("1e19 flops", "not a number")],
)  # fmt: skip
def test_what_is_no_budget(text: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        number(text, "flops")


@pytest.mark.parametrize("parameters", [2e6, 1e7, 2.6e8, 7e9])
def test_shapes_are_as_large_as_was_asked(parameters: float) -> None:
    for base in shapes(parameters):
        assert base.source == "shape"
        assert base.parameters == pytest.approx(parameters, rel=0.1)
        assert base.settings["width"] == 64 * base.settings["heads"]
        assert base.vocabulary * base.width <= max(parameters / 4, 4096 * base.width)


def test_the_pace_of_a_shape_is_measured() -> None:
    for base in shapes(1e6):
        assert pace_near(base).flops > 1e8
