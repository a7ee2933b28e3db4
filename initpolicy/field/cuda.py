"""The CUDA backend: Triton kernels whose operations are the CPU's, one by one (docs/draws.md).

Importing this module imports triton; only a fill of a CUDA tensor does it. Bits are the CPU's
because every multiply-add is an explicit fma, fusion of others is off, and no libm is called.
"""
# Triton compiles these functions from their source: their types are Triton's, not Python's.
# pyright: basic, reportMissingImports=false, reportCallIssue=false
# pyright: reportIndexIssue=false, reportArgumentType=false, reportOperatorIssue=false
# pyright: reportGeneralTypeIssues=false

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import torch
import triton
import triton.language as tl
from numpy.typing import NDArray

from initpolicy.field import quantile
from initpolicy.field.draws import Constants, NormalConstants, UniformConstants
from initpolicy.field.stream import Stream

QUADS = 256  # counters of a program: 1024 elements
CUBIC_0 = tl.constexpr(float(quantile.CUBIC_0))
CUBIC_2 = tl.constexpr(float(quantile.CUBIC_2))
STEP_BITS = tl.constexpr(quantile.STEP_BITS)
STEP_MASK = tl.constexpr((1 << quantile.STEP_BITS) - 1)
NORMAL_NEAR = tl.constexpr(quantile.first_row(31, quantile.NEAR_OCTAVES))
NORMAL_TAIL = tl.constexpr(
    quantile.first_row(31, quantile.TAIL_OCTAVES)
    - (quantile.NEAR_OCTAVES << quantile.SEGMENT_BITS)
    - quantile.first_row(31, quantile.NEAR_OCTAVES)
)
UNIFORM, NORMAL, TRUNCATED = (tl.constexpr(i) for i in range(3))


@triton.jit
def _philox(counter, c2, c3, k0, k1):
    """Return the four words of each counter, Philox4x32-10."""
    a = counter.to(tl.uint32)
    b = (counter >> 32).to(tl.uint32)
    c = tl.zeros_like(a) + c2
    d = tl.zeros_like(a) + c3
    m0 = tl.full(a.shape, 0xD2511F53, tl.uint32)
    m1 = tl.full(a.shape, 0xCD9E8D57, tl.uint32)
    w0 = tl.full(a.shape, 0x9E3779B9, tl.uint32)
    w1 = tl.full(a.shape, 0xBB67AE85, tl.uint32)
    k = tl.zeros_like(a) + k0
    key = tl.zeros_like(a) + k1
    for _ in tl.static_range(10):
        high_a, low_a = tl.umulhi(a, m0), a * m0
        high_c, low_c = tl.umulhi(c, m1), c * m1
        a = high_c ^ b ^ k
        b = low_c
        c = high_a ^ d ^ key
        d = low_a
        k = k + w0
        key = key + w1
    return a, b, c, d


@triton.jit
def _interpolate(q, row, flip, nodes, slopes):
    """Return |z| from a row of the table; q's lower bits are the step, backwards in the tail."""
    step = ((q ^ flip) & STEP_MASK).to(tl.float32)
    z = tl.load(nodes + row)
    g = step * tl.load(slopes + row)
    one = tl.full(z.shape, 1.0, tl.float32)
    cubic = tl.fma(z * z, one * CUBIC_2, one * CUBIC_0)
    u = tl.fma(g, cubic, z * 0.5)
    u = tl.fma(g, u, one)
    return tl.fma(g, u, z)


@triton.jit
def _normal(k, nodes, slopes):
    """Return the standard normal quantile at the middle of a word's interval, k = w - 2^31."""
    sign = k >> 31
    m = k ^ sign
    tail = (m << 1) >> 31
    q = (((m ^ tail) << 1) | 1).to(tl.float32).to(tl.int32, bitcast=True)
    row = (q >> STEP_BITS) - NORMAL_NEAR - (tail & NORMAL_TAIL)
    z = _interpolate(q, row, tail, nodes, slopes)
    return tl.where(sign < 0, -z, z)


@triton.jit
def _truncated(words, start, high, low, carry, near, tail_less_near, nodes, slopes):
    """Return the standard normal quantile of a word's place in an interval."""
    w = words.to(tl.uint64)
    y = (start + high * w + ((low * w + carry) >> 32)).to(tl.int64, bitcast=True)
    sign = y >> 63
    m = y ^ sign
    tail = (m << 1) >> 63
    q = (((m ^ tail) << 1) | 1).to(tl.float32).to(tl.int32, bitcast=True)
    flip = tail.to(tl.int32)
    row = (q >> STEP_BITS) - near - (flip & tail_less_near)
    z = _interpolate(q, row, flip, nodes, slopes)
    return tl.where(sign < 0, -z, z)


@triton.jit
def _values(
    counters, c2, c3, k0, k1, a, b, least, most, start, high, low, carry, near, tail_less_near,
    nodes, slopes, law: tl.constexpr, brain: tl.constexpr,
):  # fmt: skip
    """Return four values of each counter."""
    a0, a1, a2, a3 = _philox(
        counters, c2.to(tl.uint32), c3.to(tl.uint32), k0.to(tl.uint32), k1.to(tl.uint32)
    )
    words = _in_fours(a0, a1, a2, a3)
    k = words.to(tl.int32, bitcast=True) ^ -0x80000000
    one = tl.full(k.shape, 1.0, tl.float32)
    if law == UNIFORM:
        x = (k | 1).to(tl.float32) * 4.656612873077393e-10  # 2^-31
        value = tl.fma(x, one * a, one * b)
    elif law == NORMAL:
        value = tl.fma(_normal(k, nodes, slopes), one * a, one * b)
    else:
        z = _truncated(
            words, start.to(tl.uint64), high.to(tl.uint64), low.to(tl.uint64), carry.to(tl.uint64),
            near, tail_less_near, nodes, slopes,
        )  # fmt: skip
        value = tl.fma(z, one * a, one * b)
    if law != NORMAL:
        value = tl.minimum(tl.maximum(value, one * least), one * most)
    if brain:  # bfloat16, rounded as on the CPU
        bits = value.to(tl.uint32, bitcast=True)
        value = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).to(tl.int16)
    return value


@triton.jit
def _in_fours(a0, a1, a2, a3):
    """Return the first of each, then the second of each, and so on."""
    return tl.interleave(tl.interleave(a0, a2), tl.interleave(a1, a3))


@triton.jit(do_not_specialize=list(range(1, 18)))
def _draw_run(
    out, counter, skip, size, c2, c3, k0, k1, a, b, least, most,
    start, high, low, carry, near, tail_less_near, nodes, slopes,
    law: tl.constexpr, brain: tl.constexpr, quads: tl.constexpr,
):  # fmt: skip
    """Draw one run; `skip` words of its first counter come before it."""
    first = tl.program_id(0).to(tl.int64) * quads
    counters = counter.to(tl.uint64) + (first + tl.arange(0, quads)).to(tl.uint64)
    value = _values(
        counters, c2, c3, k0, k1, a, b, least, most,
        start, high, low, carry, near, tail_less_near, nodes, slopes, law, brain,
    )  # fmt: skip
    at = first * 4 + tl.arange(0, 4 * quads) - skip
    tl.store(out + at, value.to(out.dtype.element_ty), mask=(at >= 0) & (at < size))


@triton.jit(do_not_specialize=list(range(2, 18)))
def _draw_runs(
    out, runs, count, width, c2, c3, k0, k1, a, b, least, most,
    start, high, low, carry, near, tail_less_near, nodes, slopes,
    law: tl.constexpr, brain: tl.constexpr, quads: tl.constexpr,
):  # fmt: skip
    """Draw runs of up to 2^width counters each.

    `runs` is int64 of shape (3, count): first indices, sizes, and places in the output.
    """
    number = tl.program_id(0).to(tl.int64) * quads + tl.arange(0, quads)
    width = width.to(tl.int64)
    run = number >> width
    held = run < count
    index = tl.load(runs + run, mask=held, other=0)
    size = tl.load(runs + count + run, mask=held, other=0)
    place = tl.load(runs + 2 * count + run, mask=held, other=0)
    block = number - (run << width)
    value = _values(
        (index.to(tl.uint64, bitcast=True) >> 2) + block.to(tl.uint64), c2, c3, k0, k1, a, b,
        least, most, start, high, low, carry, near, tail_less_near, nodes, slopes, law, brain,
    )  # fmt: skip
    within = block * 4 - (index & 3)
    within = _in_fours(within, within + 1, within + 2, within + 3)
    size = _in_fours(size, size, size, size)
    place = _in_fours(place, place, place, place)
    mask = (within >= 0) & (within < size)
    tl.store(out + place + within, value.to(out.dtype.element_ty), mask=mask)


def serves(device: torch.device) -> bool:
    """Whether the kernels run on this device."""
    return torch.version.cuda is not None and torch.cuda.get_device_capability(device) >= (7, 0)


@cache
def _table(device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    nodes, slopes = quantile.load_table()
    return torch.tensor(nodes, device=device), torch.tensor(slopes, device=device)


def draw(out: torch.Tensor, starts: Any, stops: Any, stream: Stream, constants: Constants) -> None:
    """Draw runs of a stream into a flat float32, float64, bfloat16 or float16 CUDA tensor."""
    brain = out.dtype == torch.bfloat16
    target = out.view(torch.int16) if brain else out
    law, floats, integers = _lower(constants)
    numbers = (*stream.high, *stream.key, *floats, *integers, *_table(out.device))
    options: Any = {"law": law, "brain": brain, "quads": QUADS, "enable_fp_fusion": False}
    with torch.cuda.device_of(out):
        if len(starts) == 1:
            first, size = int(starts[0]), int(stops[0]) - int(starts[0])
            grid = (triton.cdiv(first % 4 + size, 4 * QUADS),)
            _draw_run[grid](target, first // 4, first % 4, size, *numbers, **options)
            return
        for width, runs in _alike(starts, stops):
            count = runs.shape[1]
            table = torch.from_numpy(runs).to(out.device)
            grid = (triton.cdiv(count << width, QUADS),)
            _draw_runs[grid](target, table, count, width, *numbers, **options)


def _alike(starts: Any, stops: Any) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Group runs by the power of 2 that their counters fit in, one launch for each.

    Gives that power and, as int64 of shape (3, runs), first indices, sizes and places.
    """
    first = np.asarray(starts, np.uint64)
    sizes = (np.asarray(stops, np.uint64) - first).view(np.int64)
    runs = np.stack([first.view(np.int64), sizes, np.cumsum(sizes) - sizes])
    counters = ((first & np.uint64(3)).view(np.int64) + sizes + 3) >> 2
    widths = np.frexp(np.maximum(counters - 1, 0))[1]
    for width in np.unique(widths[sizes > 0]).tolist():
        yield width, np.ascontiguousarray(runs[:, (widths == width) & (sizes > 0)])


def _lower(constants: Constants) -> tuple[Any, tuple[float, ...], tuple[int, ...]]:
    """Return the law, its four floats and its six integers."""
    none = (0, 0, 0, 0, 0, 0)
    if isinstance(constants, UniformConstants):
        c = constants
        return UNIFORM, (c.half, c.mid, c.least, c.most), none
    if isinstance(constants, NormalConstants):
        return NORMAL, (constants.std, constants.mean, 0.0, 0.0), none
    c, place = constants, constants.interval
    near = quantile.first_row(63, quantile.NEAR_OCTAVES)
    tail = quantile.first_row(place.scale, quantile.TAIL_OCTAVES)
    tail -= quantile.NEAR_OCTAVES << quantile.SEGMENT_BITS
    high, low = divmod(place.width, 1 << 32)
    half_high, half_low = divmod(place.width // 2, 1 << 32)
    whole = place.start + half_high
    whole -= (1 << 64) if whole >= 1 << 63 else 0  # Triton's wide integers are signed
    integers = (whole, high, low, half_low, near, tail - near)
    return TRUNCATED, (c.std, c.mean, c.least, c.most), integers
