"""The kernels agree, bit for bit, with the slow reference."""

import math
from fractions import Fraction

import reference
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from kernels import values_of

from initpolicy import field

DTYPES = [name for name in reference.FORMATS if hasattr(torch, name)]
CORNERS = [0, 1, 2, 2**30 - 1, 2**30, 2**31 - 1, 2**31, 2**31 + 1, 3 * 2**30 - 1, 3 * 2**30]
CORNERS += [2**32 - 2, 2**32 - 1]

words = st.one_of(
    st.sampled_from(CORNERS),
    st.integers(0, 2**32 - 1),
    st.builds(lambda e, d: min(2**e + d, 2**32 - 1), st.integers(0, 31), st.integers(0, 300)),
    st.builds(lambda e, d: max(2**32 - 2**e - d, 0), st.integers(0, 31), st.integers(0, 300)),
)
indices = st.one_of(
    st.integers(0, 2**64 - 9),
    st.integers(0, 100),
    st.integers(2**34 - 9, 2**34 + 9),
    st.integers(2**64 - 99, 2**64 - 9),
)
reals = st.floats(-1e4, 1e4).filter(lambda x: x == 0 or abs(x) > 1e-30)
stds = st.one_of(st.just(0.0), st.floats(1e-6, 1e3))
dtypes = st.sampled_from(DTYPES)


def refused(draw, dtype):
    """Whether the planner would have said that this draw cannot be."""
    try:
        field.check_draw(draw, getattr(torch, dtype))
    except ValueError as error:
        if any(reason in str(error) for reason in ("value lies in", "do not fit", "sigma")):
            return True
        raise
    return False


def check(got, wanted):
    assert [Fraction(x) for x in got.double().tolist()] == list(wanted)


@given(st.integers(0, 2**64 - 1), st.text(max_size=9), st.text(max_size=9), indices)
@settings(max_examples=60, deadline=None)
def test_words(seed, name, tag, start):
    try:
        name.encode(), tag.encode()
    except UnicodeEncodeError:
        assume(False)
    four = reference.stream(seed, name, tag)
    stream = field.stream(seed, name, tag)
    assert [*stream.key, *stream.high] == four
    got = field.words(stream, start, start + 7)
    assert got.tolist() == [reference.word(four, start + i) for i in range(7)]


@given(st.lists(words, min_size=1, max_size=12), reals, reals, dtypes)
@example(CORNERS, 0.0, 1e-40, "float32")
@example(CORNERS, -1.0, 1.0, "float8_e4m3fn")
@example(CORNERS, 1.0, 1.0 + 2**-22, "float32")
@example(CORNERS, 1025.0, 1707.7304743406994, "float32")
@example(CORNERS, 0.0, 1e-36, "bfloat16")
@settings(max_examples=150, deadline=None)
def test_uniform(ws, low, high, dtype):
    low, high = min(low, high), max(low, high)
    draw = field.UniformDraw(low, high)
    if refused(draw, dtype):
        return
    got = values_of(ws, draw, getattr(torch, dtype))
    check(got, [reference.uniform(w, low, high, dtype) for w in ws])


@given(st.lists(words, min_size=1, max_size=12), reals, stds, dtypes)
@example(CORNERS, 0.0, 1.0, "float32")
@example(CORNERS, 0.0, 1e-40, "float32")
@example(CORNERS, 0.0, 1e-6, "float16")
@settings(max_examples=200, deadline=None)
def test_normal(ws, mean, std, dtype):
    draw = field.NormalDraw(mean, std)
    if refused(draw, dtype):
        return
    got = values_of(ws, draw, getattr(torch, dtype))
    check(got, [reference.normal(w, mean, std, dtype) for w in ws])


sigmas = st.one_of(
    st.floats(-16.9, 16.9),
    st.sampled_from([-5.0, -2.0, -0.6745, -0.6744, 0.0, 0.6744, 0.6745, 1.0, 8.0, 16.9]),
)
infinite = st.sampled_from([None, None, None, -math.inf, math.inf])


@given(
    st.lists(words, min_size=1, max_size=12),
    reals,
    stds,
    sigmas,
    sigmas,
    infinite,
    infinite,
    dtypes,
)
@example(CORNERS, 0.0, 1.0, 5.0, 5.0, None, math.inf, "float32")
@example(CORNERS, 0.0, 1.0, -5.0, -5.0, -math.inf, None, "bfloat16")
@example(CORNERS, 0.0, 1.0, 8.0, 8.1, None, None, "float32")
@example(CORNERS, 0.0, 1.0, 0.0, 0.0, -math.inf, math.inf, "float32")
@example(CORNERS, 0.0, 0.02, -100.0, 100.0, None, None, "float32")
@example(CORNERS, 0.0, 1.0, 0.0, 1e-20, None, None, "float32")
@example([*range(9)], 0.0, 1.0, 0.0, 8.75e-10, None, None, "float32")
@settings(max_examples=200, deadline=None)
def test_truncated(ws, mean, std, a, b, minus, plus, dtype):
    low, high = sorted((mean + std * a, mean + std * b))
    low = -math.inf if minus == -math.inf else low
    high = math.inf if plus == math.inf else high
    draw = field.TruncatedDraw(mean, std, low, high)
    if refused(draw, dtype):
        return
    got = values_of(ws, draw, getattr(torch, dtype))
    check(got, [reference.truncated(w, mean, std, low, high, dtype) for w in ws])
    assert all(low <= x <= high for x in got.double().tolist())


@given(
    st.integers(0, 2**64 - 1), indices, st.integers(1, 9), dtypes, st.sampled_from(["u", "n", "t"])
)
@settings(max_examples=60, deadline=None)
def test_fill(seed, start, size, dtype, law):
    """The whole way: stream, index, law and dtype."""
    draw, slow = {
        "u": (field.UniformDraw(-0.3, 0.5), lambda w: reference.uniform(w, -0.3, 0.5, dtype)),
        "n": (field.NormalDraw(0.1, 0.7), lambda w: reference.normal(w, 0.1, 0.7, dtype)),
        "t": (
            field.TruncatedDraw(0.1, 0.7, -1.0, 2.0),
            lambda w: reference.truncated(w, 0.1, 0.7, -1.0, 2.0, dtype),
        ),
    }[law]
    tensor = torch.empty(size, dtype=getattr(torch, dtype))
    runs = ((start, start + size),)
    field.fill([field.Fill(tensor, field.stream(seed, "w"), draw, runs)])
    four = reference.stream(seed, "w")
    check(tensor, [slow(reference.word(four, start + i)) for i in range(size)])
