"""The CPU backend: kernels that numba compiles. Every operation is listed in docs/draws.md.

Importing this module imports numba; only a fill does it. The kernels release the GIL.

Three habits make the loops vectorise. The table is a constant of the module, since as an argument
it might overlap the output. Integers are wrapped to 32 bits after each operation, since numba
widens them. Words go to a buffer that stays in the first-level cache, and a second loop maps them.
"""
# numba compiles these functions from their source; their types are numba's, not Python's.
# pyright: basic, reportUnknownMemberType=false, reportMissingTypeStubs=false
# pyright: reportAttributeAccessIssue=false, reportGeneralTypeIssues=false

from __future__ import annotations

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, overload

from initpolicy.field.draws import NormalConstants, UniformConstants
from initpolicy.field.formats import format_of
from initpolicy.field.quantile import (
    CUBIC_0,
    CUBIC_2,
    NEAR_OCTAVES,
    SEGMENT_BITS,
    STEP_BITS,
    TAIL_OCTAVES,
    first_row,
    load_table,
)

u32, u64, i32, i64, f32 = np.uint32, np.uint64, np.int32, np.int64, np.float32

NODES, SLOPES = load_table()
TAIL_START = i32(NEAR_OCTAVES << SEGMENT_BITS)
STEP_SHIFT = i32(STEP_BITS)
STEP_MASK = i32((1 << STEP_BITS) - 1)
NORMAL_NEAR = i32(first_row(31, 64))
NORMAL_TAIL = i32(first_row(31, 256) - (NEAR_OCTAVES << SEGMENT_BITS) - first_row(31, 64))
HALF = f32(0.5)
ONE = f32(1.0)
THIRTY_ONE = i32(31)
TOP = u32(0x80000000)
SIGN = i32(-0x80000000)
TO_UNIT = f32(2.0**-31)
M0, M1 = u64(0xD2511F53), u64(0xCD9E8D57)
W0, W1 = u32(0x9E3779B9), u32(0xBB67AE85)
THIRTY_TWO = u64(32)
BLOCK = 1024


@intrinsic
def fma(context, a, b, c):
    """a * b + c, rounded once."""
    real = types.float32
    return real(real, real, real), lambda _, builder, __, args: builder.fma(*args)


@intrinsic
def as_float(context, a):
    """The float32 with these bits."""
    return types.float32(types.int32), lambda _, builder, __, args: builder.bitcast(
        args[0], ir.FloatType()
    )


@intrinsic
def as_bits(context, a):
    """The bits of a float32."""
    return types.int32(types.float32), lambda _, builder, __, args: builder.bitcast(
        args[0], ir.IntType(32)
    )


def put(out, i, value):
    """Store a float32, rounded to the format that the type of `out` stands for."""


@overload(put, inline="always")
def _put(out, i, value):
    if out.dtype == types.uint16:

        def store(out, i, value):  # bfloat16
            bits = u32(as_bits(value))
            out[i] = np.uint16(u32(bits + u32(0x7FFF) + ((bits >> u32(16)) & u32(1))) >> u32(16))

    elif out.dtype == types.int16:

        def store(out, i, value):  # float16
            bits = as_bits(value)
            sign = i32(i32(bits >> i32(16)) & i32(-0x8000))
            out[i] = np.int16(_round(i32(bits & i32(0x7FFFFFFF)), i32(10), i32(-14)) | sign)

    elif out.dtype == types.float64:

        def store(out, i, value):
            out[i] = np.float64(value)

    else:

        def store(out, i, value):
            out[i] = value

    return store


@numba.njit(inline="always")
def _round(size, mantissa, exponent):
    """Round a positive float32's bits to a narrower format, nearest even; it must not overflow.

    `mantissa` counts the format's stored bits; `exponent` is that of its smallest normal number.
    """
    cut = i32(i32(23) - mantissa)
    # A normal number: add just under half of the last place, and the rest if that place is odd.
    odd = i32(i32(size >> cut) & i32(1))
    just_under = i32(i32(i32(1) << i32(cut - i32(1))) - i32(1))
    rebased = i32(size - i32(i32(exponent + i32(126)) << i32(23)))
    normal = i32(i32(i32(rebased + just_under) + odd) >> cut)
    # A subnormal one: added to this power of two, it is rounded at the format's smallest unit.
    magic = i32(i32(i32(exponent + i32(127)) + cut) << i32(23))
    subnormal = i32(as_bits(f32(as_float(size) + as_float(magic))) - magic)
    return subnormal if size < i32(i32(exponent + i32(127)) << i32(23)) else normal


@numba.njit(inline="always")
def _philox(counter, c2, c3, k0, k1):
    """Philox4x32-10 of Salmon et al. 2011, in its own order of words."""
    a, b, c, d = u32(counter), u32(counter >> THIRTY_TWO), c2, c3
    for _ in range(10):
        p0, p1 = u64(a) * M0, u64(c) * M1
        a, b = u32(p1 >> THIRTY_TWO) ^ b ^ k0, u32(p1)
        c, d = u32(p0 >> THIRTY_TWO) ^ d ^ k1, u32(p0)
        k0, k1 = u32(k0 + W0), u32(k1 + W1)
    return a, b, c, d


@numba.njit(inline="always")
def _fill_words(buffer, counter, quads, c2, c3, k0, k1):
    for i in range(quads):
        a, b, c, d = _philox(u64(counter + u64(i)), c2, c3, k0, k1)
        buffer[4 * i] = a
        buffer[4 * i + 1] = b
        buffer[4 * i + 2] = c
        buffer[4 * i + 3] = d


@numba.njit(inline="always")
def _unit(word):
    """x in [-1, 1]: the odd integer of the word's upper 31 bits, over 2^31."""
    return f32(f32(i32(i32(word ^ TOP) | i32(1))) * TO_UNIT)


@numba.njit(inline="always")
def _interpolate(q, row, flip):
    """|z| in a row of the table; the lower bits of q are the step, counted backwards in the tail."""
    step = f32(i32(i32(q ^ flip) & STEP_MASK))
    at = u64(u32(row))
    z = NODES[at]
    g = f32(step * SLOPES[at])
    u = fma(g, fma(f32(z * z), CUBIC_2, CUBIC_0), f32(z * HALF))
    return fma(g, fma(g, u, ONE), z)


@numba.njit(inline="always")
def _normal(word):
    """The standard normal quantile at the middle of a word's interval."""
    k = i32(word ^ TOP)
    sign = i32(k >> THIRTY_ONE)
    m = i32(k ^ sign)
    tail = i32(i32(m << i32(1)) >> THIRTY_ONE)  # all ones where |x| > 1/2
    v = i32(i32(m ^ tail) & i32(0x7FFFFFFF))
    q = as_bits(f32(i32(i32(v << i32(1)) | i32(1))))
    row = i32(i32(i32(q >> STEP_SHIFT) - NORMAL_NEAR) - i32(tail & NORMAL_TAIL))
    return as_float(i32(as_bits(_interpolate(q, row, tail)) | i32(sign & SIGN)))


@numba.njit(inline="always")
def _truncated(word, start, high, low, carry, near, tail_less_near):
    """The standard normal quantile of a word's place in an interval."""
    w = u64(word)
    y = i64(u64(start + u64(u64(high * w) + u64(u64(low * w + carry) >> THIRTY_TWO))))
    sign = i64(y >> i64(63))
    m = i64(y ^ sign)
    tail = i64(i64(m << i64(1)) >> i64(63))
    v = i64((m ^ tail) & i64(0x7FFFFFFFFFFFFFFF))
    q = as_bits(f32(i64((v << i64(1)) | i64(1))))
    flip = i32(tail)
    row = i32(i32(i32(q >> STEP_SHIFT) - near) - i32(flip & tail_less_near))
    return as_float(i32(as_bits(_interpolate(q, row, flip)) | i32(i32(sign) & SIGN)))


@numba.njit(nogil=True, cache=True)
def fill_uniform(out, starts, stops, c2, c3, k0, k1, half, mid, least, most):
    buffer = np.empty(BLOCK, np.uint32)
    done = 0
    for r in range(starts.size):
        index, left = starts[r], i64(stops[r] - starts[r])
        skip = i64(index & u64(3))
        while left > 0:
            take = min(left, BLOCK - skip)
            _fill_words(buffer, u64(index >> u64(2)), (skip + take + 3) >> 2, c2, c3, k0, k1)
            words, target = buffer[skip : skip + take], out[done : done + take]
            for i in range(take):
                value = fma(_unit(words[i]), half, mid)
                value = value if value > least else least
                put(target, i, value if value < most else most)
            index, left, done, skip = u64(index + u64(take)), left - take, done + take, 0


@numba.njit(nogil=True, cache=True)
def fill_normal(out, starts, stops, c2, c3, k0, k1, std, mean):
    buffer = np.empty(BLOCK, np.uint32)
    done = 0
    for r in range(starts.size):
        index, left = starts[r], i64(stops[r] - starts[r])
        skip = i64(index & u64(3))
        while left > 0:
            take = min(left, BLOCK - skip)
            _fill_words(buffer, u64(index >> u64(2)), (skip + take + 3) >> 2, c2, c3, k0, k1)
            words, target = buffer[skip : skip + take], out[done : done + take]
            for i in range(take):
                put(target, i, fma(_normal(words[i]), std, mean))
            index, left, done, skip = u64(index + u64(take)), left - take, done + take, 0


@numba.njit(nogil=True, cache=True)
def fill_truncated(
    out, starts, stops, c2, c3, k0, k1,
    start, high, low, carry, near, tail_less_near, std, mean, least, most,
):  # fmt: skip
    buffer = np.empty(BLOCK, np.uint32)
    done = 0
    for r in range(starts.size):
        index, left = starts[r], i64(stops[r] - starts[r])
        skip = i64(index & u64(3))
        while left > 0:
            take = min(left, BLOCK - skip)
            _fill_words(buffer, u64(index >> u64(2)), (skip + take + 3) >> 2, c2, c3, k0, k1)
            words, target = buffer[skip : skip + take], out[done : done + take]
            for i in range(take):
                z = _truncated(words[i], start, high, low, carry, near, tail_less_near)
                value = fma(z, std, mean)
                value = value if value > least else least
                put(target, i, value if value < most else most)
            index, left, done, skip = u64(index + u64(take)), left - take, done + take, 0


@numba.njit(nogil=True, cache=True)
def fill_words(out, starts, stops, c2, c3, k0, k1):
    buffer = np.empty(BLOCK, np.uint32)
    done = 0
    for r in range(starts.size):
        index, left = starts[r], i64(stops[r] - starts[r])
        skip = i64(index & u64(3))
        while left > 0:
            take = min(left, BLOCK - skip)
            _fill_words(buffer, u64(index >> u64(2)), (skip + take + 3) >> 2, c2, c3, k0, k1)
            out[done : done + take] = buffer[skip : skip + take]
            index, left, done, skip = u64(index + u64(take)), left - take, done + take, 0


@numba.njit(nogil=True, cache=True)
def narrow(values, out, mantissa, exponent, negative_zero):
    """Round float32 values to the codes of an 8-bit format."""
    for i in range(values.size):
        bits = as_bits(values[i])
        size = _round(i32(bits & i32(0x7FFFFFFF)), mantissa, exponent)
        sign = i32(i32(bits >> i32(24)) & i32(0x80))
        out[i] = np.uint8(size | (sign if negative_zero or size else i32(0)))


def draw(out, starts, stops, words, constants):
    """Draw runs of a stream into a flat array: float32, float64, uint16 (bfloat16), int16 (float16).

    Args:
        out: contiguous array of as many elements as the runs hold.
        starts: first indices of the runs, uint64.
        stops: their ends, uint64.
        words: counter words 2 and 3, key words 0 and 1.
        constants: of the law; see `initpolicy.field.draws`.
    """
    if isinstance(constants, UniformConstants):
        c = constants
        fill_uniform(out, starts, stops, *words, f32(c.half), f32(c.mid), f32(c.least), f32(c.most))
    elif isinstance(constants, NormalConstants):
        fill_normal(out, starts, stops, *words, f32(constants.std), f32(constants.mean))
    else:
        place, c = constants.interval, constants
        near = first_row(63, NEAR_OCTAVES)
        tail = first_row(place.scale, TAIL_OCTAVES) - (NEAR_OCTAVES << SEGMENT_BITS)
        high, low = divmod(place.width, 1 << 32)
        half_high, half_low = divmod(place.width // 2, 1 << 32)
        fill_truncated(
            out, starts, stops, *words,
            u64((place.start + half_high) % (1 << 64)), u64(high), u64(low), u64(half_low),
            i32(near), i32(tail - near),
            f32(c.std), f32(c.mean), f32(c.least), f32(c.most),
        )  # fmt: skip


def narrow_to(values, out, dtype):
    """Round float32 values to an 8-bit dtype's codes, uint8."""
    target = format_of(dtype)
    narrow(values, out, i32(target.mantissa), i32(target.exponent), target.negative_zero)
