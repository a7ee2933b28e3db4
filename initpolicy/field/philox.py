"""Philox as the CPU's kernels compute it, many counters at a time. docs/draws.md lists it.

Importing this module imports numba. All numbers are 64 bits wide, and mean their lower half: what
the upper one holds is left as it is, because a product reads the lower half alone. Where the upper
half of the counter is the same for a whole loop, so is half of what the first two rounds make, and
the compiler makes it once.
"""
# numba compiles these functions from their source: their types are numba's, not Python's.
# pyright: basic, reportCallIssue=false, reportPrivateImportUsage=false

from __future__ import annotations

import numba
import numpy as np

u64 = np.uint64
M0, M1 = u64(0xD2511F53), u64(0xCD9E8D57)
W0, W1 = u64(0x9E3779B9), u64(0xBB67AE85)
LOWER = u64(0xFFFFFFFF)
THIRTY_TWO = u64(32)


@numba.njit(forceinline=True)
def key_of(i, stream):
    """Give the key of a round, of which 2 and 3 of the stream's numbers are the first."""
    return u64(stream[2] + W0 * u64(i)) & LOWER, u64(stream[3] + W1 * u64(i)) & LOWER


@numba.njit(forceinline=True)
def common(high, stream):
    """Make what the first two rounds have in common, for counters with the same upper half."""
    k0, k1 = key_of(0, stream)
    p1 = stream[0] * M1
    p0 = ((p1 >> THIRTY_TWO) ^ high ^ k0) * M0
    l0, l1 = key_of(1, stream)
    # Where a product is to be shifted, so is what meets it: the compiler then sees that the upper
    # halves are 0, and takes the instruction that multiplies lower halves.
    return (stream[1] ^ k1) << THIRTY_TWO, (p1 ^ l0) << THIRTY_TWO, (p0 >> THIRTY_TWO) ^ l1, p0


@numba.njit(forceinline=True)
def two_rounds(low, common):
    """Make the first two rounds of Philox4x32, of lanes of lower halves of counters."""
    p0 = (low & LOWER) * M0
    p1 = ((p0 ^ common[0]) >> THIRTY_TWO) * M1
    return (p1 ^ common[1]) >> THIRTY_TWO, p1, p0 ^ common[2], (low & u64(0)) | common[3]


@numba.njit(forceinline=True)
def one_round(state, k0, k1):
    """Make a round of Philox4x32 of Salmon et al. 2011."""
    a, b, c, d = state
    p0, p1 = (a & LOWER) * M0, (c & LOWER) * M1
    return (p1 >> THIRTY_TWO) ^ b ^ k0, p1, (p0 >> THIRTY_TWO) ^ d ^ k1, p0


@numba.njit(forceinline=True)
def philox(low, common, stream):
    """Make words 0 and 1 of counters, as halves of one number, and words 2 and 3."""
    state = two_rounds(low, common)
    for i in range(2, 9):
        k0, k1 = key_of(i, stream)
        state = one_round(state, k0, k1)
    a, b, c, d = state
    k0, k1 = key_of(9, stream)
    p0, p1 = (a & LOWER) * M0, (c & LOWER) * M1
    front = (p1 >> THIRTY_TWO | p1 << THIRTY_TWO) ^ ((b ^ k0) & LOWER)
    back = (p0 >> THIRTY_TWO | p0 << THIRTY_TWO) ^ ((d ^ k1) & LOWER)
    return front, back
