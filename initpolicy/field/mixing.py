"""How an element becomes two numbers of 64 bits, whose sums make the digest of a tensor.

Both are z = bits + (index + 1) * step, and then z ^= z >> shift; z *= factor; z ^= z >> then;
z *= more; z ^= z >> last, all modulo 2^64: the first with the constants of SplitMix64 (Steele, Lea
and Flood 2014, with the finalizer Mix13 of Stafford), the second with the finalizer of MurmurHash3.
"""

from __future__ import annotations

from typing import NamedTuple


class Mixer(NamedTuple):
    """The constants of one of the two."""

    step: int
    shift: int
    factor: int
    then: int
    more: int
    last: int


MIXERS = (
    Mixer(0x9E3779B97F4A7C15, 30, 0xBF58476D1CE4E5B9, 27, 0x94D049BB133111EB, 31),
    Mixer(0xD1B54A32D192ED03, 33, 0xFF51AFD7ED558CCD, 33, 0xC4CEB9FE1A85EC53, 33),
)
