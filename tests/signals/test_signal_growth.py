"""Growth over depth, against numpy's fit and scipy's quantiles."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from initpolicy.signals.growth import growth, slope, student

SIZES = st.lists(st.floats(1e-30, 1e30), min_size=2, max_size=30)


@given(SIZES)
def test_the_slope_is_that_of_least_squares(sizes: list[float]) -> None:
    expected = np.polyfit(range(len(sizes)), np.log(sizes), 1)[0]
    assert slope(sizes) == pytest.approx(expected, rel=1e-6, abs=1e-9)


@given(st.floats(0.01, 100), st.integers(2, 50))
def test_a_power_grows_by_its_base(base: float, layers: int) -> None:
    found = growth([[base**layer for layer in range(layers)]])
    assert found is not None
    assert found.factor == pytest.approx(base)
    assert (found.low, found.high, found.draws) == (0, math.inf, 1)


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 5, 6, 9, 10, 29, 30, 99])
@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.999])
def test_students_quantile(degrees: int, confidence: float) -> None:
    expected = stats.t.ppf((1 + confidence) / 2, degrees)
    assert student(degrees, confidence) == pytest.approx(expected, rel=1e-9)


@given(st.lists(st.lists(st.floats(1e-3, 1e3), min_size=3, max_size=3), min_size=2, max_size=6))
def test_the_interval_is_that_of_the_mean_over_draws(draws: list[list[float]]) -> None:
    found = growth(draws)
    slopes = [np.polyfit(range(3), np.log(draw), 1)[0] for draw in draws]
    reach = stats.t.ppf(0.975, len(draws) - 1) * stats.sem(slopes)
    assert found is not None
    assert math.log(found.factor) == pytest.approx(np.mean(slopes), abs=1e-9)
    assert math.log(found.high) == pytest.approx(np.mean(slopes) + reach, abs=1e-6)
    assert math.log(found.low) == pytest.approx(np.mean(slopes) - reach, abs=1e-6)


def test_layers_without_a_signal_are_left_out() -> None:
    assert growth([[1.0], [2.0]]) is None
    assert growth([[0.0, 0.0, 1.0]]) is None
    assert slope([1.0, 0.0, math.inf, 8.0]) == pytest.approx(math.log(2))
