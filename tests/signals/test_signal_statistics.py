"""What is measured of one tensor, against numpy, torch and hand-written derivatives."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from initpolicy.signals import statistics

VALUES = arrays.arrays(
    np.float32, st.integers(1, 60), elements=st.floats(-1e4, 1e4, width=32, allow_subnormal=False)
)


@given(VALUES, st.sampled_from([1e-30, 1e-12, 1.0, 1e12, 1e30]))
def test_moments_at_any_scale(values: np.ndarray, scale: float) -> None:
    values = values * np.float32(scale)
    found = statistics.moments(torch.from_numpy(values))
    wide = values.astype(np.float64)
    size = np.sqrt(np.mean(wide**2))
    assert found.rms == pytest.approx(size, rel=1e-4)
    assert found.mean == pytest.approx(wide.mean(), rel=1e-4, abs=1e-5 * size)
    assert found.std == pytest.approx(wide.std(), rel=1e-2, abs=1e-5 * size)


def test_what_overflowed_is_told() -> None:
    assert statistics.moments(torch.tensor([1.0, math.inf])).rms == math.inf
    assert math.isnan(statistics.moments(torch.tensor([1.0, math.nan])).rms)
    assert statistics.moments(torch.full((1000,), 1e38)).rms == pytest.approx(1e38)


@given(arrays.arrays(np.int8, (4, 3, 5), elements=st.integers(0, 1)), st.sampled_from([-1, -2]))
def test_dead_units_are_zero_everywhere(values: np.ndarray, unit: int) -> None:
    others = tuple(axis for axis in range(3) if axis != 3 + unit)
    expected = np.mean(np.all(values == 0, axis=others))
    tensor = torch.from_numpy(values).float()
    assert statistics.share_of_dead(tensor, unit) == pytest.approx(expected)
    assert statistics.share_of_zeros(tensor) == pytest.approx(np.mean(values == 0))


def test_what_has_no_batch_and_what_has_no_values() -> None:
    one = torch.tensor([0.0, 1.0, math.nan, -0.0])
    assert statistics.share_of_dead(one, -2) == statistics.share_of_zeros(one) == 0.5
    none = torch.empty(0, 3)
    assert statistics.share_of_dead(none, -1) == statistics.share_of_zeros(none) == 0
    eight = torch.tensor([0.0, 1.0]).to(torch.float8_e4m3fn)
    assert statistics.share_of_zeros(eight) == 0.5
    strided = torch.tensor([[0.0, 1.0], [0.0, 0.0], [1.0, 0.0]]).t()
    assert statistics.share_of_zeros(strided) == pytest.approx(4 / 6)


def logistic(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize(
    ("function", "slope", "steepest"),
    [
        (torch.tanh, lambda x: 1 - np.tanh(x) ** 2, 1),
        (torch.sigmoid, lambda x: logistic(x) * (1 - logistic(x)), 0.25),
        (F.relu_, lambda x: x > 0, 1),
        (F.relu6, lambda x: (x > 0) & (x < 6), 1),
        (F.hardtanh, lambda x: abs(x) < 1, 1),
        (F.softsign, lambda x: 1 / (1 + abs(x)) ** 2, 1),
        (F.softplus, logistic, 1),
        (F.leaky_relu, lambda x: np.where(x > 0, 1, 0.01), 1),
        (F.silu, lambda x: logistic(x) * (1 + x * (1 - logistic(x))), 1.0998),
    ],
)
def test_saturated_is_where_the_slope_is_small(function, slope, steepest) -> None:
    inputs = np.random.default_rng(0).normal(0, 4, 5000)
    expected = np.mean(np.abs(slope(inputs)) < 0.05 * steepest)
    tensor = torch.from_numpy(inputs).float()
    assert statistics.share_of_flat(function, tensor) == pytest.approx(expected, abs=1e-3)
    assert torch.equal(tensor, torch.from_numpy(inputs).float())


@given(
    st.integers(1, 3), st.integers(1, 6), st.integers(2, 7), st.floats(0.1, 5), st.booleans(),
    st.integers(0, 9),
)  # fmt: skip
def test_attention_is_that_of_every_query(
    heads: int, queries: int, keys: int, scale: float, causal: bool, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    query = torch.randn(2, heads, queries, 4, generator=generator) * scale
    key = torch.randn(2, heads, keys, 4, generator=generator)
    found = statistics.attention(statistics.logits_of(query, key, causal=causal))
    # torch computes the probabilities, as values that are handed through.
    chances = F.scaled_dot_product_attention(
        query, key, torch.eye(keys).expand(2, heads, keys, keys), is_causal=causal
    )
    rows = [row.double().numpy() for row in chances.reshape(-1, keys) if (row > 0).sum() > 1]
    logits = [np.log(row[row > 0]) for row in rows]
    if not rows:
        assert found is None
        return
    assert found is not None
    entropies = [-np.sum(row[row > 0] * np.log(row[row > 0])) for row in rows]
    assert found.entropy == pytest.approx(np.mean(entropies), abs=1e-4)
    spread = np.mean(np.concatenate([(one - one.mean()) ** 2 for one in logits])) ** 0.5
    assert found.logit_std == pytest.approx(spread, rel=1e-2)
    # The slope p (1 - p) of the largest p is small beside its largest value, 1/4, near 1 only.
    sharp = [row.max() > 0.5 and row.max() * (1 - row.max()) < 0.05 / 4 for row in rows]
    assert found.saturated == pytest.approx(np.mean(sharp), abs=1e-6)


def test_masks_and_shared_keys() -> None:
    query, key = torch.randn(2, 6, 5, 8), torch.randn(2, 3, 7, 8)
    allowed = torch.rand(5, 7) > 0.5
    shared = key.repeat_interleave(2, 1)
    plain = query @ shared.transpose(-2, -1) * 0.5
    found = statistics.logits_of(query, key, allowed, scale=0.5)
    torch.testing.assert_close(found, plain.masked_fill(~allowed, -math.inf))
    added = torch.randn(1, 1, 5, 7)
    torch.testing.assert_close(statistics.logits_of(query, key, added, scale=0.5), plain + added)


def test_equal_logits_are_spread_over_all_keys() -> None:
    found = statistics.attention(torch.zeros(3, 4, 16))
    assert found == pytest.approx((0, math.log(16), 0))
