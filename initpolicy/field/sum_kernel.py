"""The CPU's kernel for the sums of a digest. Every operation is listed in docs/digest.md.

Importing this module imports numba. Only compiling does it: elements.py runs what was compiled
before.
"""
# numba compiles these functions from their source: their types are numba's, not Python's.
# pyright: basic, reportCallIssue=false, reportPrivateImportUsage=false

from __future__ import annotations

import numba
import numpy as np

from initpolicy.field.intrinsics import prefer_wide_vectors
from initpolicy.field.mixing import MIXERS

u64 = np.uint64
(STEP_A, SHIFT_A, MUL_A, THEN_A, MORE_A, LAST_A) = (u64(number) for number in MIXERS[0])
(STEP_B, SHIFT_B, MUL_B, THEN_B, MORE_B, LAST_B) = (u64(number) for number in MIXERS[1])
ZERO = u64(0)


@numba.njit(forceinline=True)
def _mix(z, shift, factor, then, more, last):
    z = u64(z ^ u64(z >> shift)) * factor
    z = u64(z ^ u64(z >> then)) * more
    return u64(z ^ u64(z >> last))


def sum_entry(values, size, runs, count, out):
    """Add up both mixes of every element: unsigned integers, whose runs are all starts, then stops.

    The step of an index is added from element to element, since a product costs more.
    """
    prefer_wide_vectors()
    bits, both = numba.carray(values, (size,)), numba.carray(runs, (2 * count,))
    sums = numba.carray(out, (2,))
    a, b, done = ZERO, ZERO, 0
    for run in range(count):
        start, length = both[run], np.int64(both[count + run] - both[run])
        p, q = u64(start + u64(1)) * STEP_A, u64(start + u64(1)) * STEP_B
        part = bits[done : done + length]
        for k in range(part.size):
            x = u64(part[k])
            a += _mix(u64(x + p), SHIFT_A, MUL_A, THEN_A, MORE_A, LAST_A)
            b += _mix(u64(x + q), SHIFT_B, MUL_B, THEN_B, MORE_B, LAST_B)
            p += STEP_A
            q += STEP_B
        done += length
    sums[0], sums[1] = a, b
