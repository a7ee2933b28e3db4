"""The normal quantile: accurate, odd and monotone over all words; its table is what it says."""

import make_quantile_table as table
import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from kernels import values_of
from scipy.special import erfinv, ndtri

from initpolicy.field import NormalDraw
from initpolicy.field.quantile import CUBIC_0, CUBIC_2, load_table

DIGEST = "ca2b8e218b9df87acb2a8f208e90b5539628dd62065ff5768c0e9f3520c8de2f"
STANDARD = NormalDraw(0.0, 1.0)


def z_of(words):
    return values_of(words, STANDARD, torch.float32).numpy()


def truth(m):
    """z of the words 2^31 + m, in double precision from whichever end of the range is near."""
    m = np.asarray(m, np.int64)
    near = np.sqrt(2) * erfinv((2 * np.minimum(m, 2**30) + 1) / 2.0**32)
    tail = -ndtri((2 * np.minimum(2**31 - 1 - m, 2**30) + 1) / 2.0**33)
    return np.where(m < 2**30, near, tail)


def errors(m):
    """Relative error, and error in units of the last place of the true value."""
    true = truth(m)
    error = np.abs(z_of(np.asarray(m, np.int64) + 2**31) - true)
    return error / true, error / np.spacing(true.astype(np.float32))


def check_accuracy(m):
    relative, ulps = errors(m)
    assert np.all((relative <= 2e-7) | (ulps <= 2))
    assert relative.max() <= 1.6e-7
    return relative.max(), ulps.max()


def check_monotone_and_odd(m):
    words = np.asarray(m, np.int64) + 2**31
    z = z_of(words)
    assert np.all(np.diff(z) >= 0)
    assert np.array_equal(z_of(2**32 - 1 - words), -z)
    return z[0], z[-1]


def test_accuracy_of_a_sample():
    rng = np.random.default_rng(0)
    check_accuracy(rng.integers(0, 2**31, 500_000))
    octaves = (2 ** (31 * rng.random(200_000))).astype(np.int64)
    check_accuracy(octaves)
    check_accuracy(2**31 - 1 - octaves)


def test_accuracy_against_mpmath():
    for m in [0, 1, 77, 2**20, 2**30 - 1, 2**30, 2**31 - 2**20, 2**31 - 2, 2**31 - 1]:
        x = mpmath.mpf(2 * m + 1) / 2**32
        z = mpmath.sqrt(2) * mpmath.erfinv(x)
        assert abs(float(z_of([2**31 + m])[0]) / z - 1) < 1.6e-7


@pytest.mark.parametrize("exponent", range(5, 31))
def test_monotone_where_segments_meet(exponent):
    """2^13 words around each of the boundaries of an octave, near and tail."""
    for q in 2**exponent + (2**exponent >> 5) * np.arange(32):
        m = np.arange(max(q // 2 - 4096, 0), min(q // 2 + 4096, 2**30 + 4096))
        check_monotone_and_odd(m)
        check_monotone_and_odd(2**31 - 1 - m[::-1])


def test_largest_value():
    assert float(z_of([2**32 - 1])[0]) == 6.337957859039307


def test_digest_of_the_table():
    assert table.digest(np.stack(load_table())) == DIGEST
    assert (float(table.CUBIC_0), float(table.CUBIC_2)) == (CUBIC_0, CUBIC_2)


@given(st.integers(0, table.ROWS - 1))
def test_rows_of_the_table(index):
    nodes, slopes = load_table()
    assert table.row(index) == (float(nodes[index]), float(slopes[index]))


@pytest.mark.heavy
def test_whole_table():
    assert table.digest(table.make()) == DIGEST


@pytest.mark.heavy
def test_every_word():
    """All 2^32 words, those of the negative half by oddness. Several minutes."""
    step, last = 1 << 22, -np.inf
    relative = ulps = 0.0
    for start in range(0, 2**31, step):
        m = np.arange(start, start + step)
        relative, ulps = np.maximum(check_accuracy(m), (relative, ulps))
        first, then = check_monotone_and_odd(m)
        assert last <= first
        last = then
    print(f"largest relative error {relative:.4g}, {ulps:.4g} ulp, largest z {last:.9g}")
