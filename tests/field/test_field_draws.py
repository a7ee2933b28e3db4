"""The laws: bounds kept in every dtype, the right distributions, clear refusals."""

import itertools
import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from kernels import values_of
from scipy import stats

from initpolicy import field
from initpolicy.field.formats import FLOAT8, format_of
from initpolicy.field.truncation import tail

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16, *FLOAT8]
INFINITE = math.inf

# Words whose values are the extremes, and a few between.
WORDS = [0, 1, 2, 2**16, 2**30, 2**31 - 1, 2**31, 3 * 2**30, 2**32 - 2**9, 2**32 - 2, 2**32 - 1]


def truncated(mean, std, a, b):
    """Bounds in sigma."""
    return field.TruncatedDraw(mean, std, mean + a * std, mean + b * std)


INTERVALS = [
    (-2, 2),
    (-1, 3),
    (5, INFINITE),
    (-INFINITE, -5),
    (8, 8.1),
    (-8.1, -8),
    (0.1, 0.2),
    (-INFINITE, 0.5),
    (-INFINITE, INFINITE),
    (-0.001, 0.003),
    (0.6744, 0.6746),
    (16.9, INFINITE),
    (-100, 100),
    (-100, -1),
]


def refused(draw, dtype):
    """Whether the dtype is too coarse or too small for the law."""
    try:
        field.check_draw(draw, dtype)
    except ValueError as error:
        if "value lies in" in str(error) or "do not fit" in str(error):
            return True
        raise
    return False


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("interval", INTERVALS, ids=str)
def test_truncated_values_stay_inside(interval, dtype):
    for mean, std in ((0.0, 1.0), (0.0, 0.02), (3.0, 0.1)):
        draw = truncated(mean, std, *interval)
        if refused(draw, dtype):
            continue
        values = values_of(WORDS, draw, dtype).double().numpy()
        assert np.all((draw.low <= values) & (values <= draw.high))
        assert np.all(np.diff(values) >= 0)


@given(
    st.floats(-16.9, 16.9),
    st.floats(1e-7, 10),
    st.floats(-100, 100),
    st.floats(1e-3, 10),
    st.sampled_from(DTYPES),
)
@example(8.0, 0.1, 0.0, 1.0, torch.bfloat16)
@settings(max_examples=150, deadline=None)
def test_any_interval_is_kept(alpha, width, mean, std, dtype):
    draw = field.TruncatedDraw(mean, std, mean + alpha * std, mean + (alpha + width) * std)
    if refused(draw, dtype):
        return
    values = values_of(WORDS, draw, dtype).double().numpy()
    assert np.all((draw.low <= values) & (values <= draw.high))
    assert np.all(np.diff(values) >= 0)


@given(st.floats(-400, 400), st.floats(1e-6, 400), st.sampled_from(DTYPES))
@example(-0.1, 0.2, torch.bfloat16)
@example(1.0, 0.1, torch.bfloat16)
@settings(max_examples=200, deadline=None)
def test_uniform_values_stay_inside(low, width, dtype):
    draw = field.UniformDraw(low, low + width)
    if refused(draw, dtype):
        return
    values = values_of(WORDS, draw, dtype).double().numpy()
    assert np.all((draw.low <= values) & (values <= draw.high))
    assert np.all(np.diff(values) >= 0)


# Kolmogorov-Smirnov with exact p-values, seeds fixed. A right program fails one of these tests
# for one seed in a million (each at 1e-6 / their number).
LAWS = [
    (field.UniformDraw(-0.25, 1.0), stats.uniform(-0.25, 1.25)),
    (field.NormalDraw(0.5, 2.0), stats.norm(0.5, 2.0)),
    *(
        (truncated(0.5, 2.0, *interval), stats.truncnorm(*interval, loc=0.5, scale=2.0))
        for interval in INTERVALS
        if abs(interval[0]) < 100 and interval[0] != 16.9
    ),
]


@pytest.mark.parametrize(("draw", "law"), LAWS, ids=lambda x: str(x) if hasattr(x, "low") else "")
def test_distribution(draw, law):
    tensor = torch.empty(20_000)
    field.fill([field.Fill(tensor, field.stream(11, "ks"), draw)])
    values = tensor.double().numpy()
    assert stats.kstest(values, law.cdf, method="exact").pvalue > 1e-6 / len(LAWS)
    # Twice as wide a law must be told apart, or this test could not fail.
    wrong = (values - values.mean()) * 2 + values.mean()
    assert stats.kstest(wrong, law.cdf, method="exact").pvalue < 1e-6 / len(LAWS)


@pytest.mark.parametrize("interval", [i for i in INTERVALS if abs(i[0]) < 100], ids=str)
def test_truncated_quantiles(interval):
    """Against mpmath at a dozen words, from the probability of each word's middle."""
    draw = truncated(0.0, 1.0, *interval)
    values = values_of(WORDS, draw, torch.float64).tolist()
    with mpmath.workprec(400):
        low, high = (mpmath.ncdf(mpmath.mpf(x)) for x in (draw.low, draw.high))
        for word, value in zip(WORDS, values, strict=True):
            p = low + (high - low) * (mpmath.mpf(word) + 0.5) / 2**32
            z = float(mpmath.findroot(lambda z, p=p: mpmath.ncdf(z) - p, value, tol=1e-150))
            assert value == pytest.approx(z, rel=3e-7, abs=1e-15)


def test_symmetric_truncation_is_odd():
    words = np.random.default_rng(0).integers(0, 2**32, 100_000, dtype=np.uint32)
    draw = truncated(0.0, 1.0, -2, 2)
    assert torch.equal(
        values_of(~words, draw, torch.float32), -values_of(words, draw, torch.float32)
    )


def test_without_bounds_it_is_the_normal_law():
    words = np.random.default_rng(0).integers(0, 2**32, 100_000, dtype=np.uint32)
    free = values_of(words, truncated(0.0, 1.0, -INFINITE, INFINITE), torch.float32)
    normal = values_of(words, field.NormalDraw(0.0, 1.0), torch.float32)
    assert torch.allclose(free, normal, rtol=3e-7, atol=1e-9)


@given(st.fractions(0, 20))
@settings(deadline=None)
def test_tail_probability(z):
    with mpmath.workprec(1500):
        true = mpmath.erfc(mpmath.mpf(z.numerator) / z.denominator / mpmath.sqrt(2))
        got = tail(z)
        assert abs(mpmath.mpf(got.numerator) / got.denominator - true) < mpmath.mpf(2) ** -500


def test_all_laws_are_monotone_images_of_one_field():
    words = np.sort(np.random.default_rng(0).integers(0, 2**32, 10_000, dtype=np.uint32))
    for draw in (field.UniformDraw(0, 1), field.NormalDraw(0, 1), truncated(0, 1, -1, 4)):
        assert torch.all(values_of(words, draw, torch.float32).diff() >= 0)


def test_std_zero_is_the_mean():
    for draw in (field.NormalDraw(0.3, 0.0), field.TruncatedDraw(0.3, 0.0, -1.0, 1.0)):
        assert set(values_of(WORDS, draw, torch.float32).tolist()) == {np.float32(0.3)}


@pytest.mark.parametrize(
    ("draw", "dtype", "message"),
    [
        (field.NormalDraw(0.0, -1.0), torch.float32, "std must be at least 0, not -1"),
        (field.NormalDraw(math.nan, 1.0), torch.float32, "mean must be finite, not nan"),
        (field.NormalDraw(0.0, INFINITE), torch.float32, "std must be finite, not inf"),
        (field.NormalDraw(0.0, 1e39), torch.float32, "does not fit into float32"),
        (field.NormalDraw(0.0, 2e4), torch.float16, "up to 130000 do not fit into float16"),
        (field.NormalDraw(0.0, 100.0), torch.float8_e4m3fn, "do not fit into float8_e4m3fn"),
        (field.NormalDraw(0.0, 1.0), torch.int8, "cannot draw values of torch.int8"),
        (field.UniformDraw(1.0, 0.0), torch.float32, "low must not exceed high"),
        (field.UniformDraw(0.0, INFINITE), torch.float32, "high must be finite"),
        (field.UniformDraw(-1e6, 1e6), torch.float16, "do not fit into float16"),
        (field.UniformDraw(1.001, 1.002), torch.bfloat16, "no bfloat16 value lies in"),
        (field.UniformDraw(0.1, 0.1), torch.float64, "no float64 value lies in"),
        (field.TruncatedDraw(0.0, 1.0, 2.0, 1.0), torch.float32, "low must not exceed high"),
        (field.TruncatedDraw(0.0, 1.0, math.nan, 1.0), torch.float32, "bounds must be numbers"),
        (field.TruncatedDraw(0.0, 1.0, 18.0, INFINITE), torch.float32, "18 sigma from the mean"),
        (field.TruncatedDraw(0.0, 1e-3, -1.0, -0.5), torch.float32, "500 sigma from the mean"),
        (field.TruncatedDraw(0.0, 0.0, 1.0, 2.0), torch.float32, "std is 0 and the mean"),
        (field.TruncatedDraw(0.0, 1e4, -INFINITE, 1.0), torch.float16, "do not fit into float16"),
        (field.TruncatedDraw(0.0, 1.0, -INFINITE, -INFINITE), torch.float32, "no float32 value"),
    ],
)
def test_refusals(draw, dtype, message):
    error = TypeError if dtype == torch.int8 else ValueError
    with pytest.raises(error, match=message):
        field.check_draw(draw, dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_formats_are_torchs(dtype):
    """Every code of the 8-bit formats; the corners of the others."""
    form = format_of(dtype)
    assert (
        float(form.largest) == torch.finfo(dtype if dtype != torch.float64 else torch.float32).max
    )
    if dtype in FLOAT8:
        codes = torch.arange(256, dtype=torch.uint8).view(dtype).double()
        values = sorted({x for x in codes.tolist() if math.isfinite(x)})
        for low, high in itertools.pairwise(values):
            between = (low + high) / 2
            assert field.representable_bounds(between, INFINITE, dtype)[0] == high
            assert field.representable_bounds(-INFINITE, between, dtype)[1] == low
            assert field.representable_bounds(low, high, dtype) == (low, high)


def test_representable_bounds():
    assert field.representable_bounds(-INFINITE, INFINITE, torch.float16) == (-65504.0, 65504.0)
    assert field.representable_bounds(1e-9, 1.0, torch.float16) == (2**-24, 1.0)
    assert (
        field.representable_bounds(-0.1, 0.1, torch.float64)[1] == float(np.float32(0.1)) - 2**-27
    )
