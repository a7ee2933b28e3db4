"""Probabilities of the normal distribution as exact integers, the same on every machine."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cache, lru_cache
from math import isqrt

_BITS = 1024  # fraction bits of the fixed-point arithmetic
FARTHEST = Fraction(17)
"""How far, in sigma, the nearer bound of an interval may lie from the mean."""
_ENDLESS = Fraction(24)  # from here on a tail is less than 2^-400: no probability at all


@cache
def _root_of_two_over_pi() -> int:
    """sqrt(2 / pi) in fixed point, by Machin's formula pi = 16 atan(1/5) - 4 atan(1/239)."""
    guard = _BITS + 64

    def atan_of_inverse(n: int) -> int:
        power = total = (1 << guard) // n
        k = 1
        while power:
            power //= n * n
            total += (-power if k % 2 else power) // (2 * k + 1)
            k += 1
        return total

    pi = 16 * atan_of_inverse(5) - 4 * atan_of_inverse(239)
    square = (2 << (2 * guard)) // pi
    return isqrt(square << guard) >> (guard - _BITS)


def tail(z: Fraction) -> Fraction:
    """Return P(|Z| > z) of a standard normal Z for z >= 0, within 2^-500.

    By the Taylor series of erf, erf(z/sqrt 2) = sqrt(2/pi) sum (-1)^n z^(2n+1) / (2^n n! (2n+1)),
    in fixed point of 1024 fraction bits. No term exceeds 2^420 for z < 24, so that the roundings
    of the terms, carried along, stay below 2^-500.

    >>> float(tail(Fraction(2)))
    0.04550026389635842
    """
    if z >= _ENDLESS:
        return Fraction(0)
    square = (z * z / 2 * (1 << _BITS)).__floor__()
    term = (z * (1 << _BITS)).__floor__()
    total, n = term, 0
    while term:
        n += 1
        term = (term * square >> _BITS) // n
        total += (-term if n % 2 else term) // (2 * n + 1)
    return 1 - Fraction(total * _root_of_two_over_pi() >> _BITS, 1 << _BITS)


@dataclass(frozen=True)
class Interval:
    """Where the words of a truncated normal go.

    Word w goes to the integer Y = start + floor((width * w + floor(width / 2)) / 2^32). Y stands
    for the standard normal's |z| with P(|Z| > |z|) = (2^63 - |Y + 1/2|) / 2^scale, and has z's
    sign. The scale is 63, so that (Y + 1/2) / 2^63 is erf(z / sqrt 2), unless both bounds lie in
    one tail: there a larger scale keeps 62 significant bits of the probabilities.
    """

    start: int
    width: int
    scale: int


@lru_cache(maxsize=4096)
def interval(alpha: Fraction | None, beta: Fraction | None) -> Interval:
    """Return the interval of a standard normal between alpha and beta.

    Args:
        alpha: lower bound in sigma, None for minus infinity.
        beta: upper bound in sigma, None for infinity; not below alpha.

    Raises:
        ValueError: the nearer bound lies more than 17 sigma from the mean.

    >>> interval(None, None) == Interval(-(2**63), 2**64 - 1, 63)
    True
    """
    zero = Fraction(0)
    near = max(zero, alpha or zero, -(beta or zero))  # of its bounds, if both have one sign
    if near > FARTHEST:
        raise ValueError(
            f"the interval begins {float(near):g} sigma from the mean; draws reach to "
            f"{FARTHEST} sigma, where a normal variable lies with probability 4e-65"
        )
    scale, most = 63, tail(near)
    if 2 * most <= 1:
        while most * 2 ** (scale + 1) <= 1 << 62:
            scale += 1

    def position(z: Fraction | None, infinite: int) -> int:
        if z is None:
            return infinite
        above = (1 << 63) - round(tail(abs(z)) * 2**scale)
        return above if z >= 0 else -above

    start = max(position(alpha, -(1 << 63)), -(1 << 63))
    stop = min(position(beta, 1 << 63), (1 << 63) - 1)
    return Interval(start, max(stop - start, 0), scale)
