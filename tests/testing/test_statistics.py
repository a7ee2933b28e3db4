"""The statistics of `check_initializer`: against scipy, and how often they are wrong."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from initpolicy.laws import Moments, Normal, TruncatedNormal, Uniform
from initpolicy.testing import statistics
from initpolicy.testing.strategies import cases

RIGHT = [
    (Normal(0.5, 2.0), scipy.stats.norm(0.5, 2)),
    (Uniform(-1.0, 3.0), scipy.stats.uniform(-1, 4)),
    (TruncatedNormal(0.0, 1.0, -2.0, 2.0), scipy.stats.truncnorm(-2, 2)),
]


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=30))
def test_distance_is_scipys(values):
    law = Normal(0.3, 1.2)
    found = statistics._distance(law, np.sort(values))
    expected = scipy.stats.kstest(values, scipy.stats.norm(0.3, 1.2).cdf).statistic
    assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("law", "distribution"), RIGHT)
def test_right_laws_are_called_wrong_no_more_often_than_stated(law, distribution):
    # Three tests at 0.01 / 3 each: more than 12 of 300 has a probability of 3e-5 at most. The
    # numbers come from numpy, and are the same in every run.
    generator = np.random.default_rng(0)
    alarms = 0
    for _ in range(300):
        groups = distribution.rvs((256, 8), random_state=generator)
        alarms += any(statistics.contradictions(law, law.moments, groups, 0.01 / 3))
    assert alarms <= 12


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        (scipy.stats.norm(0, 1.05), "root mean square"),
        (scipy.stats.norm(0.08, 1), "mean of"),
        (scipy.stats.uniform(-(3**0.5), 2 * 3**0.5), "distribution"),
        (scipy.stats.laplace(0, 0.5**0.5), "distribution"),
    ],
)
def test_wrong_samples_are_found(wrong, word):
    law = Normal(0.0, 1.0)
    for seed in range(10):
        groups = wrong.rvs((256, 128), random_state=seed)
        told = list(statistics.contradictions(law, law.moments, groups, 1e-9 / 150))
        assert any(word in message for message in told)


def test_values_that_are_not_finite():
    groups = np.zeros((256, 1))
    groups[3] = np.nan
    law = Normal(0.0, 1.0)
    assert list(statistics.contradictions(law, law.moments, groups, 1e-9)) == [
        "of 256 values some are NaN or infinite"
    ]


@given(cases("trunc_normal") | cases("uniform") | cases("normal"))
def test_moments_of_known_laws_are_those_of_their_distribution(case):
    moments = case.law.moments
    if statistics.resolved(moments):
        assert list(statistics.wrong_moments(case.law, moments)) == []


@pytest.mark.parametrize(("law", "_"), RIGHT)
@pytest.mark.parametrize("factor", [0.99, 1.01, 0.5, 3.0])
def test_wrong_moments_are_seen_without_a_sample(law, _, factor):
    right = law.moments
    wrong = Moments(right.mean, right.variance * factor)
    assert any("standard deviation" in one for one in statistics.wrong_moments(law, wrong))
    wrong = Moments(right.mean + 0.01 * factor * right.std, right.variance)
    assert any("mean" in one for one in statistics.wrong_moments(law, wrong))
