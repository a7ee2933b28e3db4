"""Philox as the CPU's kernels compute it. Every operation is listed in docs/draws.md.

Importing this module imports numba. The halves of the counter come apart: where the upper one is
the same for a whole loop, so is half of what the first two rounds make, and is made once.
"""
# numba compiles these functions from their source: their types are numba's, not Python's.
# pyright: basic, reportCallIssue=false, reportPrivateImportUsage=false

from __future__ import annotations

import numba
import numpy as np

u32, u64 = np.uint32, np.uint64
M0, M1 = u64(0xD2511F53), u64(0xCD9E8D57)
W0, W1 = u32(0x9E3779B9), u32(0xBB67AE85)
THIRTY_TWO = u64(32)


@numba.njit(forceinline=True)
def _rounds(count, a, b, c, d, k0, k1):
    """The first rounds of Philox4x32 of Salmon et al. 2011, and the keys of the next."""
    for _ in range(count):
        p0, p1 = u64(a) * M0, u64(c) * M1
        a, b = u32(p1 >> THIRTY_TWO) ^ b ^ k0, u32(p1)
        c, d = u32(p0 >> THIRTY_TWO) ^ d ^ k1, u32(p0)
        k0, k1 = u32(k0 + W0), u32(k1 + W1)
    return a, b, c, d, k0, k1


@numba.njit(forceinline=True)
def philox(low, high, c2, c3, k0, k1):
    """Philox4x32-10, in its own order of words."""
    a, b, c, d, _, _ = _rounds(10, low, high, c2, c3, k0, k1)
    return u32(a), u32(b), u32(c), u32(d)


@numba.njit(forceinline=True)
def philox_word(which, low, high, c2, c3, k0, k1):
    """One of the four words alone: the last round is made for it, without a branch."""
    a, b, c, d, k0, k1 = _rounds(9, low, high, c2, c3, k0, k1)
    front = u32(-u32(which < u32(2)))  # all ones for words 0 and 1
    upper = u32(u32(which & u32(1)) - u32(1))  # all ones for words 0 and 2
    factor = M1 if front else M0
    p = u64(u32(a ^ ((a ^ c) & front))) * factor
    other = u32(d ^ k1 ^ ((d ^ k1 ^ b ^ k0) & front))
    return u32(p >> (THIRTY_TWO & u64(upper))) ^ (other & upper)
