"""Lanes do to each number what numpy does."""

import operator
from fractions import Fraction

import numba
import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from initpolicy.field import lanes

COUNT = 8
KINDS = [np.uint32, np.int64]


def kernel(operation):
    """Compile an operation on two arrays of lanes, and on lanes and a scalar on either side."""

    @numba.njit
    def both(a, b, out):
        lanes.store(out, 0, operation(lanes.load(a, 0, COUNT), lanes.load(b, 0, COUNT)))

    @numba.njit
    def right(a, b, out):
        lanes.store(out, 0, operation(lanes.load(a, 0, COUNT), b))

    @numba.njit
    def left(a, b, out):
        lanes.store(out, 0, operation(a, lanes.load(b, 0, COUNT)))

    return both, right, left


OPERATIONS = {
    name: kernel(getattr(operator, name)) for name in ("add", "sub", "mul", "and_", "or_", "xor")
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", OPERATIONS)
@given(data=st.data())
def test_operators_wrap(name, kind, data):
    a, b = (data.draw(arrays.arrays(kind, COUNT)) for _ in range(2))
    both, right, left = OPERATIONS[name]
    operation, out = getattr(operator, name), np.zeros(COUNT, kind)
    with np.errstate(over="ignore"):
        both(a, b, out)
        assert np.array_equal(out, operation(a, b))
        right(a, b[0], out)
        assert np.array_equal(out, operation(a, b[0]))
        left(a[0], b, out)
        assert np.array_equal(out, operation(a[0], b))


SHIFTS = kernel(operator.lshift), kernel(operator.rshift)


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_shifts_keep_the_sign_of_signed_integers(kind, data):
    a = data.draw(arrays.arrays(kind, COUNT))
    by = kind(data.draw(st.integers(0, np.dtype(kind).itemsize * 8 - 1)))
    out = np.zeros(COUNT, kind)
    for (_, right, _), operation in zip(SHIFTS, (np.left_shift, np.right_shift), strict=True):
        right(a, by, out)
        assert np.array_equal(out, operation(a, by))


@numba.njit
def _halves(a, b, out, more, quarter):
    x, y = lanes.load(a, 0, COUNT), lanes.load(b, 0, COUNT)
    lanes.store(out, 0, lanes.joined(x, y))
    words = lanes.interleaved(x, y)
    lanes.store(more, 0, words)
    lanes.store(quarter, 0, lanes.part(words, 2))


@given(*(arrays.arrays(np.uint64, COUNT) for _ in range(2)))
def test_halves_are_joined_and_interleaved(a, b):
    out, more, quarter = (
        np.zeros(COUNT, np.uint64),
        np.zeros(4 * COUNT, "u4"),
        np.zeros(COUNT, "u4"),
    )
    _halves(a, b, out, more, quarter)
    low = np.uint64(0xFFFFFFFF)
    assert np.array_equal(out, (a & low) | (b & low) << np.uint64(32))
    wanted = np.stack((a, b), axis=1).view(np.uint32).ravel()
    assert np.array_equal(more, wanted)
    assert np.array_equal(quarter, wanted[2 * COUNT : 3 * COUNT])


TABLE = np.arange(1000, dtype=np.float32) ** 2


@numba.njit
def _gathered(rows, out):
    lanes.store(out, 0, lanes.gather(TABLE, lanes.load(rows, 0, COUNT)))


@given(arrays.arrays(np.uint32, COUNT, elements=st.integers(0, 999)))
def test_a_table_is_read_at_each_row(rows):
    out = np.zeros(COUNT, np.float32)
    _gathered(rows, out)
    assert np.array_equal(out, TABLE[rows])


@numba.njit
def _float_operations(a, b, c, fused, bounded, least, most):
    x, y, z = lanes.load(a, 0, COUNT), lanes.load(b, 0, COUNT), lanes.load(c, 0, COUNT)
    lanes.store(fused, 0, lanes.fma(x, y, z))
    lanes.store(bounded, 0, lanes.clamped(x, least, most))


FLOATS = arrays.arrays(
    np.float32, COUNT, elements=st.floats(-(2.0**30), 2.0**30, width=32, allow_subnormal=False)
)


@given(FLOATS, FLOATS, FLOATS)
def test_a_product_and_a_sum_are_rounded_once(a, b, c):
    fused, bounded = np.zeros(COUNT, np.float32), np.zeros(COUNT, np.float32)
    _float_operations(a, b, c, fused, bounded, np.float32(-3), np.float32(7))
    for x, y, z, got in zip(a, b, c, fused, strict=True):
        assert Fraction(float(got)) == reference.fma(*(Fraction(float(n)) for n in (x, y, z)))
    assert np.array_equal(bounded, np.clip(a, -3, 7))
