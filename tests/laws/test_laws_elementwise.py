"""Laws of independent elements, against scipy, mpmath, torch and samples of the field."""

import math

import mpmath
import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from initpolicy import field
from initpolicy.laws import Constant, Drawn, Law, LawError, Normal, TruncatedNormal, Uniform

numbers = st.floats(-1e3, 1e3, allow_subnormal=False)
scales = st.floats(1e-3, 1e3)


def drawn(law: Drawn, shape=(1 << 16,), dtype=torch.float32, name="w") -> torch.Tensor:
    tensor = torch.empty(shape, dtype=dtype)
    law.validate(tuple(tensor.shape), dtype)
    field.fill(law.fills(tensor, field.stream(0, name)))
    law.write(tensor, field.stream(0, name))
    return tensor


# Moments and distribution functions against scipy and mpmath.


@given(numbers, scales)
def test_moments_of_uniform_and_normal(place, scale):
    uniform, ours = scipy.stats.uniform(place, scale), Uniform(place, place + scale).moments
    assert ours.mean == pytest.approx(uniform.mean(), rel=1e-12, abs=1e-12)
    assert ours.variance == pytest.approx(uniform.var(), rel=1e-9)
    normal = Normal(place, scale).moments
    assert (normal.mean, normal.std) == (place, pytest.approx(scale))


def exact_moments(low: float, high: float) -> tuple[float, float]:
    """The integrals themselves, in 60 digits."""
    if low < 0 and -low > high:
        mean, variance = exact_moments(-high, -low)
        return -mean, variance
    with mpmath.workdps(60):
        a, b = mpmath.mpf(low), mpmath.mpf(high)
        density = mpmath.npdf
        z = (mpmath.erfc(a / mpmath.sqrt(2)) - mpmath.erfc(b / mpmath.sqrt(2))) / 2
        mean = (density(a) - density(b)) / z
        at = [0 if mpmath.isinf(x) else x * density(x) for x in (a, b)]
        return float(mean), float(1 + (at[0] - at[1]) / z - mean**2)


bounds = st.floats(-20, 20) | st.just(-math.inf)


@settings(max_examples=200)
@given(bounds, st.floats(1e-3, 30) | st.just(math.inf))
def test_moments_of_the_truncated_normal(low, width):
    high = low + width if math.isfinite(low) else 3.0
    mean, variance = exact_moments(low, high)
    ours = TruncatedNormal(0.0, 1.0, low, high).moments
    assert ours.mean == pytest.approx(mean, rel=1e-12, abs=1e-13)
    assert ours.variance == pytest.approx(variance, rel=1e-10)


@pytest.mark.parametrize(("low", "high"), [(5, math.inf), (60, math.inf), (-1e3, -999.9), (-2, 2)])
def test_far_and_narrow_intervals(low, high):
    mean, variance = exact_moments(low, high)
    ours = TruncatedNormal(10.0, 2.0, 10 + 2.0 * low, 10 + 2.0 * high).moments
    assert ours.mean == pytest.approx(10 + 2 * mean, rel=1e-12)
    assert ours.variance == pytest.approx(4 * variance, rel=1e-8)


@given(numbers, scales, st.floats(-4, 3), st.floats(0.1, 4), st.floats(0, 1))
def test_cdf_is_scipys(mean, scale, low, width, where):
    x = mean + scale * (low + where * width)
    law = TruncatedNormal(mean, scale, mean + scale * low, mean + scale * (low + width))
    theirs = scipy.stats.truncnorm(low, low + width, mean, scale)
    assert float(law.cdf(x)) == pytest.approx(float(theirs.cdf(x)), abs=1e-8)
    assert float(Normal(mean, scale).cdf(x)) == pytest.approx(
        float(scipy.stats.norm(mean, scale).cdf(x)), rel=1e-9
    )
    uniform = scipy.stats.uniform(mean - scale, 2 * scale)
    ours = Uniform(mean - scale, mean + scale).cdf(x)
    assert float(ours) == pytest.approx(float(uniform.cdf(x)), abs=1e-9)


def test_cdf_in_both_tails_far_out():
    points = np.array([40.0, 40.02, 40.1])
    theirs = scipy.stats.truncnorm(40, math.inf).cdf(points)
    np.testing.assert_allclose(TruncatedNormal(0, 1, 40, math.inf).cdf(points), theirs, rtol=1e-8)
    left = TruncatedNormal(0, 1, -math.inf, -40).cdf(-points)
    np.testing.assert_allclose(left, 1 - theirs, rtol=1e-8)


def test_cdf_of_no_width_is_a_step():
    assert Normal(1, 0).cdf([0.9, 1.0]).tolist() == [0.0, 1.0]
    assert Uniform(1, 1).cdf([0.9, 1.0]).tolist() == [0.0, 1.0]


# Samples. Seeds are fixed, so that a test either always passes or always fails; for a right
# implementation, each of these had a chance of at most 1e-6 to be the kind that fails.

LAWS = [
    Uniform(0.0, 1.0),
    Uniform(-0.3, 0.1),
    Normal(0.0, 0.02),
    Normal(3.0, 2.0),
    TruncatedNormal(0.0, 0.02, -0.04, 0.04),
    TruncatedNormal(0.0, 1.0, 5.0, math.inf),
    TruncatedNormal(1.0, 1.0, -math.inf, 0.5),
    TruncatedNormal(0.0, 1.0, -0.01, 3.0),
]


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_samples_follow_the_cdf(law):
    sample = drawn(law).double().numpy()
    assert scipy.stats.kstest(sample, law.cdf).pvalue > 1e-6
    assert law.check(torch.from_numpy(sample)) == ()


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_samples_have_the_moments(law):
    sample = drawn(law, (1 << 18,), name="moments").double().numpy()
    moments = law.moments
    # Five standard errors: 6e-7. None of these laws' kurtoses exceeds that of an exponential, 9.
    assert abs(sample.mean() - moments.mean) < 5 * moments.std / 512
    assert abs(sample.var() / moments.variance - 1) < 5 * math.sqrt(8) / 512


@pytest.mark.parametrize("law", LAWS, ids=str)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str)
def test_samples_of_every_type_pass_their_check(law, dtype):
    assert law.check(drawn(law, (4096,), dtype)) == ()


def test_other_samples_do_not_follow_the_cdf():
    sample = drawn(Normal(0, 1)).double().numpy()
    assert scipy.stats.kstest(sample, Normal(0, 1.05).cdf).pvalue < 1e-6
    assert scipy.stats.kstest(sample, TruncatedNormal(0, 1, -2, 2).cdf).pvalue < 1e-6


@pytest.mark.parametrize(
    "law", [Normal(0, 0.5), Uniform(-1, 1), TruncatedNormal(0, 1, -2, 2)], ids=str
)
def test_complex_parts_have_half_the_variance_each(law):
    sample = drawn(law, (1 << 17,), torch.complex64)
    parts = torch.view_as_real(sample).double()
    for part in parts.unbind(-1):
        assert float(part.var()) == pytest.approx(law.moments.variance / 2, rel=0.03)
    assert abs(float((parts[:, 0] * parts[:, 1]).mean())) < 5 * law.moments.variance / 2 / 362
    assert law.check(sample) == ()
    by_torch = torch.empty(1 << 17, dtype=torch.complex64)
    torch.manual_seed(0)
    law.write_torch(by_torch)
    assert float(by_torch.abs().square().mean()) == pytest.approx(law.moments.variance, rel=0.03)


def test_law_of_part():
    assert Normal(0, 2).of_part() == Normal(0, 2 * math.sqrt(0.5))
    assert Constant(0).of_part() == Constant(0)
    for law in (Normal(1, 1), Uniform(0, 1), TruncatedNormal(0, 1, -1, 2)):
        with pytest.raises(LawError, match="because it is not symmetric about 0"):
            law.validate((2,), torch.complex64)


@given(st.sampled_from(LAWS), st.floats(0.01, 100), st.booleans(), st.floats(-3, 3))
def test_scaled_laws_are_laws_of_scaled_values(law, factor, negative, x):
    expected = 1 - law.cdf(x) if negative else law.cdf(x)
    factor = -factor if negative else factor
    assert float(law.scaled(factor).cdf(factor * x)) == pytest.approx(float(expected), abs=1e-9)


@pytest.mark.parametrize("law", [*LAWS, Constant(0.5)], ids=str)
def test_scaling_by_0_leaves_only_0(law):
    assert law.scaled(0).moments.variance == 0
    assert law.scaled(0).support == (0, 0)


def test_scaling_by_no_number():
    with pytest.raises(LawError, match=r"^std must be finite, not nan$|^mean must be finite"):
        Normal(0, 1).scaled(math.nan)


# torch's own draws.


@pytest.mark.parametrize(
    ("law", "theirs"),
    [
        (Normal(0.1, 0.02), lambda t: torch.nn.init.normal_(t, 0.1, 0.02)),
        (Uniform(-0.1, 0.3), lambda t: torch.nn.init.uniform_(t, -0.1, 0.3)),
        (TruncatedNormal(0, 1, -2, 2), lambda t: torch.nn.init.trunc_normal_(t)),
        (TruncatedNormal(0, 1, 2, 9), lambda t: torch.nn.init.trunc_normal_(t, 0, 1, 2, 9)),
        (Constant(0.1), lambda t: torch.nn.init.constant_(t, 0.1)),
    ],
    ids=lambda one: str(one) if isinstance(one, Law) else "torch",
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.filterwarnings("ignore:mean is more than 2 std")
def test_torchs_draws_have_torchs_bits(law, theirs, dtype):
    a, b = torch.empty(37, 5, dtype=dtype), torch.empty(37, 5, dtype=dtype)
    torch.manual_seed(3)
    law.write_torch(torch.nn.Parameter(a))
    after = torch.get_rng_state()
    torch.manual_seed(3)
    theirs(b)
    assert torch.equal(a, b)
    assert torch.equal(after, torch.get_rng_state())
    assert law.check(a) == ()


@pytest.mark.filterwarnings("ignore:mean is more than 2 std")
@pytest.mark.parametrize("sign", [1, -1])
def test_torchs_draws_far_in_an_unbounded_tail(sign):
    law = TruncatedNormal(0, 1, 5, math.inf).scaled(sign)
    tensor = torch.empty(1024)
    torch.manual_seed(0)
    law.write_torch(tensor)
    assert law.check(tensor) == ()
    assert scipy.stats.kstest(tensor.double().numpy(), law.cdf).pvalue > 1e-6


def test_an_unbounded_side_near_the_bulk_draws_as_torch_does():
    ours, theirs = torch.empty(512), torch.empty(512)
    for low, high in ((-20.0, math.inf), (-math.inf, 20.0), (-math.inf, math.inf)):
        torch.manual_seed(0)
        TruncatedNormal(0, 1, low, high).write_torch(ours)
        torch.manual_seed(0)
        torch.nn.init.trunc_normal_(theirs, 0, 1, low, high)
        assert torch.equal(ours, theirs)


def test_torchs_draws_into_8_bits():
    tensor = torch.empty(64, dtype=torch.float8_e4m3fn)
    Normal(0, 1).write_torch(tensor)
    assert 0.5 < float(tensor.float().std()) < 1.5


# What a tensor can hold.


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_constants_are_rounded_as_torch_rounds(value):
    tensor = torch.empty(3, dtype=torch.float64)
    Constant(value).write(tensor, field.stream(0, "b"))
    assert torch.equal(tensor, torch.full((3,), value, dtype=torch.float64))
    assert Constant(value).check(tensor) == ()


@pytest.mark.parametrize(
    ("law", "dtype", "message", "hint"),
    [
        (
            Constant(0.5),
            torch.int64,
            "0.5 does not fit into int64, which holds whole numbers only",
            "write `0` or `1`",
        ),
        (Constant(300), torch.uint8, "300 does not fit into uint8, which holds 0 to 255", ""),
        (Constant(2), torch.bool, "2 does not fit into bool, which holds 0 to 1", ""),
        (
            Constant(1e6),
            torch.float16,
            "1e+06 does not fit into float16, whose largest value is 65504",
            "",
        ),
        (
            Normal(0, 0.02),
            torch.int32,
            "N(0, 0.02) cannot fill a tensor of int32, which takes constants only",
            "write a number that the type holds, for example `0`",
        ),
        (
            Normal(1, 0.02),
            torch.complex64,
            "N(1, 0.02) cannot fill a complex tensor, because it is not symmetric about 0",
            "write a constant, or a random law that is symmetric about 0",
        ),
    ],
)
def test_what_a_type_cannot_hold(law, dtype, message, hint):
    with pytest.raises(LawError) as caught:
        law.validate((4,), dtype)
    assert (caught.value.message, caught.value.hint) == (message, hint)


def test_the_fields_refusals_are_ours():
    with pytest.raises(LawError, match=r"^N\(0, 100000\) cannot fill a tensor of float16: "):
        Normal(0, 1e5).validate((2,), torch.float16)


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (255, torch.uint8),
        (1, torch.bool),
        (-(2**63), torch.int64),
        (65504, torch.float16),
        (-448, torch.float8_e4m3fn),
        (0.5, torch.complex64),
        (1, torch.float8_e5m2),
    ],
    ids=str,
)
def test_constants_that_fit(value, dtype):
    tensor = torch.empty((), dtype=dtype)
    Constant(value).validate((), dtype)
    Constant(value).write(tensor, field.stream(0, "b"))
    assert Constant(value).check(tensor) == ()


FLOATS = [torch.float8_e4m3fn, torch.float8_e5m2, torch.float16, torch.bfloat16, torch.float32]


@given(st.sampled_from(FLOATS), st.floats(-1e39, 1e39) | st.floats(-1e5, 1e5), st.booleans())
def test_a_constant_fits_exactly_where_torch_writes_it(dtype, value, near):
    if near:  # next to the largest, where to round would be enough
        value = math.copysign(torch.finfo(dtype).max * (1 + value % 0.01 / 10), value)
    try:
        torch.full((2,), value, dtype=dtype)
    except RuntimeError:
        with pytest.raises(LawError, match="whose largest value is"):
            Constant(value).validate((2,), dtype)
    else:
        Constant(value).validate((2,), dtype)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Normal(0, -1), "std must not be negative, and is -1"),
        (lambda: Normal(0, "1"), "std must be a number, not '1'"),
        (lambda: Normal(True, 1), "mean must be a number, not True"),
        (lambda: Constant(math.nan), "value must be finite, not nan"),
        (lambda: Uniform(1, 0), "the lower bound 1 lies above the upper bound 0"),
        (lambda: Uniform(0, math.inf), "high must be finite, not inf"),
        (lambda: TruncatedNormal(0, 0, -1, 1), "std must be positive, and is 0"),
        (
            lambda: TruncatedNormal(0, 1, 2, 2),
            "the lower bound 2 does not lie below the upper bound 2",
        ),
    ],
)
def test_parameters_that_mean_nothing(make, message):
    with pytest.raises(LawError) as caught:
        make()
    assert caught.value.message == message


# What is wrong with values.


def test_checks_say_what_is_wrong():
    values = torch.tensor([0.0, 0.5, -3.0, math.nan, math.inf])
    assert Uniform(-1, 1).check(values) == (
        "2 of 5 values are NaN or infinite",
        "1 of 5 values lies outside [-1, 1]",
    )
    assert Normal(0, 1).check(values) == ("2 of 5 values are NaN or infinite",)
    assert Constant(0).check(values) == ("4 of 5 values are not 0",)
    assert Constant(1).check(torch.tensor([1, 2])) == ("1 of 2 values is not 1",)
    assert Constant(0.1).check(torch.full((9,), 0.1, dtype=torch.bfloat16)) == ()
    assert Normal(0, 1).check(torch.tensor([complex(0, math.nan)])) == (
        "1 of 2 values is NaN or infinite",
    )


def test_a_bound_counts_as_it_is_rounded():
    edge = torch.tensor([0.1], dtype=torch.bfloat16)  # 0.10009765625
    assert Uniform(0, 0.1).check(edge) == ()
    assert Uniform(0, 0.1).check(torch.nextafter(edge, edge + 1)) != ()


@pytest.mark.parametrize(
    ("law", "text"),
    [
        (Normal(0, 0.0625), "N(0, 0.0625)"),
        (Uniform(-0.1, 0.1), "U(-0.1, 0.1)"),
        (Constant(0), "0"),
        (Constant(1 / 3), "0.3333"),
        (TruncatedNormal(0, 0.02, -0.04, 0.04), "N(0, 0.02) in [-0.04, 0.04]"),
        (TruncatedNormal(0, 1, 5, math.inf), "N(0, 1) in [5, inf]"),
    ],
)
def test_text(law, text):
    assert str(law) == text


@pytest.mark.filterwarnings("ignore:mean is more than 2 std")
def test_empty_and_scalar_tensors():
    for shape in ((0,), (0, 3), ()):
        for law in (*LAWS, Constant(1)):
            tensor = torch.empty(shape)
            law.validate(shape, torch.float32)
            field.fill(law.fills(tensor, field.stream(0, "w")))
            law.write(tensor, field.stream(0, "w"))
            law.write_torch(tensor)
            assert law.check(tensor) == ()


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad])
@pytest.mark.parametrize("made_in", [torch.enable_grad, torch.inference_mode])
@pytest.mark.parametrize("trained", [True, False])
def test_constants_are_written_in_every_mode_of_autograd(mode, made_in, trained):
    with made_in():
        tensor = torch.nn.Parameter(torch.empty(4), requires_grad=trained)
    version = None if tensor.is_inference() else tensor._version
    with mode():
        Constant(0.25).write(tensor, field.stream(0, "w"))
    assert torch.equal(tensor.detach(), torch.full((4,), 0.25))
    assert tensor.requires_grad == trained
    assert tensor.grad_fn is None
    assert version is None or tensor._version > version


@pytest.mark.parametrize("mode", [torch.no_grad, torch.enable_grad, torch.inference_mode])
@given(
    st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.1, 3.0]),
    st.lists(
        st.sampled_from(
            [
                *(torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.float8_e5m2),
                *(torch.int64, torch.uint8, torch.bool, torch.complex64),
            ]
        ),
        max_size=5,
    ),
    st.booleans(),
)
def test_many_tensors_get_what_each_would_get_alone(mode, value, dtypes, strided):
    law = Constant(value)
    many, alone = [], []
    for dtype in dtypes:
        if not dtype.is_floating_point and not dtype.is_complex and value not in (0, 1):
            continue
        made = [torch.full((2, 6), 7.0).to(dtype)[:, :: 2 if strided else 1] for _ in range(2)]
        many.append(made[0])
        alone.append(made[1])
    with mode():
        if many:
            law.write_each(many)
        for tensor in alone:
            law.write(tensor, field.stream(0, "w"))
    for one, other in zip(many, alone, strict=True):
        assert one.dtype == other.dtype
        assert one.contiguous().view(torch.uint8).equal(other.contiguous().view(torch.uint8))


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_tensors_that_share_memory_get_the_constant_once(value):
    memory = torch.full((10,), 7.0)
    with torch.no_grad():
        Constant(value).write_each([memory[:6], memory[4:]])
    assert memory.tolist() == [value] * 10
