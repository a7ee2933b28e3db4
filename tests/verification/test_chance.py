"""Bounds on probabilities against scipy's distributions: never below them, and not far above."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from initpolicy.verification import chance

counts = st.integers(1, 3000)


@given(st.floats(-30, 30))
def test_a_normal_variable(z: float) -> None:
    true = math.log(2) + stats.norm.logsf(abs(z))
    assert true - 1e-9 <= chance.normal(z) <= true + math.log(2 + 2 * abs(z))


@given(counts, st.floats(0.01, 10))
def test_a_sum_of_squares(count: int, ratio: float) -> None:
    law = stats.chi2(count)
    true = law.logsf(ratio * count) if ratio > 1 else law.logcdf(ratio * count)
    bound = float(chance.squares(ratio * count, count))
    assert bound >= min(0, true + math.log(2)) - 1e-6
    if np.isfinite(true):
        assert bound <= max(0, true + math.log(40 * math.sqrt(count) * max(1, abs(ratio - 1))) + 3)


@given(counts, st.floats(0, 1), st.floats(1e-6, 0.5))
def test_a_binomial_count(among: int, share: float, probability: float) -> None:
    found = round(share * among)
    law = stats.binom(among, probability)
    above = found > among * probability
    true = law.logsf(found - 1) if above else law.logcdf(found)
    bound = chance.count(found, among, probability)
    assert bound >= min(0, true + math.log(2)) - 1e-6
    if np.isfinite(true) and true > -600:
        assert bound <= max(0, true + math.log(20 * math.sqrt(among)) + 2)


def test_a_count_that_cannot_be() -> None:
    assert chance.at_least(1, 100, 0.0) == -math.inf
    assert chance.at_least(0, 100, 0.0) == 0


@given(st.integers(1, 200), st.floats(0.0, 0.99))
def test_the_distance_of_distribution_functions(count: int, largest: float) -> None:
    true = stats.kstwo(count).logsf(largest)
    assert chance.distance(largest, count) >= min(0, true) - 1e-6


def test_singular_values_of_normal_matrices_are_within_their_bounds() -> None:
    generator = np.random.default_rng(0)
    for rows, columns in ((4, 4), (10, 300), (300, 10), (128, 512)):
        logs = []
        for _ in range(50):
            values = np.linalg.svd(generator.standard_normal((rows, columns)), compute_uv=False)
            logs.append(chance.singular(values[-1], values[0], rows, columns))
        assert min(logs) > math.log(1e-6)  # 200 matrices: wrong once in 5,000 runs at most


@pytest.mark.parametrize("cells", [256, 65536])
def test_distinct_values(cells: int) -> None:
    generator = np.random.default_rng(1)
    due = cells * -math.expm1(2000 * math.log1p(-1 / cells))
    found = [len(np.unique(generator.integers(0, cells, 2000))) for _ in range(100)]
    # Of 100 counts the smallest may not be rarer than 1 in 10 million.
    assert chance.lacking(due - min(found), 2000) > math.log(1e-7)
    assert chance.lacking(due / 2, 2000) < -5
