"""Draw version 1, slowly and obviously: integers, fractions, one rounding at a time.

Written from docs/draws.md alone. It shares nothing with the package but the table's file.
"""

import hashlib
from fractions import Fraction
from math import isinf
from pathlib import Path

import mpmath
import numpy as np

TABLE = np.load(Path(__file__).parents[2] / "initpolicy/field/quantile.npy")

# Stored bits of the mantissa, exponent of the smallest normal number, largest finite number.
FORMATS = {
    "float32": (23, -126, Fraction(2**24 - 1) * 2**104),
    "float64": (23, -126, Fraction(2**24 - 1) * 2**104),  # float32 values, widened
    "bfloat16": (7, -126, Fraction(2**8 - 1) * 2**120),
    "float16": (10, -14, Fraction(65504)),
    "float8_e4m3fn": (3, -6, Fraction(448)),
    "float8_e5m2": (2, -14, Fraction(57344)),
    "float8_e4m3fnuz": (3, -7, Fraction(240)),
    "float8_e5m2fnuz": (2, -15, Fraction(57344)),
}


# Rounding


def power(exponent):
    return Fraction(2) ** exponent


def unit(x, dtype):
    mantissa, least, _ = FORMATS[dtype]
    x = Fraction(x)
    exponent = max(least, abs(x.numerator).bit_length() - x.denominator.bit_length() - 1)
    while abs(x) >= power(exponent + 1):
        exponent += 1
    return power(exponent - mantissa)


def nearest(x, dtype="float32"):
    """Round to nearest, ties to even."""
    return round(x / unit(x, dtype)) * unit(x, dtype)


def fma(a, b, c):
    return nearest(a * b + c)


# Words


def stream(seed, name, tag=""):
    message = b"".join(
        [
            (1).to_bytes(8, "little"),
            seed.to_bytes(8, "little"),
            len(name.encode()).to_bytes(8, "little"),
            name.encode(),
            len(tag.encode()).to_bytes(8, "little"),
            tag.encode(),
        ]
    )
    number = int.from_bytes(hashlib.blake2b(message, digest_size=16).digest(), "little")
    return [number >> shift & 0xFFFFFFFF for shift in (0, 32, 64, 96)]  # key 0, 1, counter 2, 3


def philox(counter, key):
    """Philox4x32-10 (Salmon et al. 2011, figure 4)."""
    a, b, c, d = counter
    k0, k1 = key
    for _ in range(10):
        product_a, product_c = 0xD2511F53 * a, 0xCD9E8D57 * c
        a, b, c, d = (
            product_c >> 32 ^ b ^ k0,
            product_c & 0xFFFFFFFF,
            product_a >> 32 ^ d ^ k1,
            product_a & 0xFFFFFFFF,
        )
        k0, k1 = k0 + 0x9E3779B9 & 0xFFFFFFFF, k1 + 0xBB67AE85 & 0xFFFFFFFF
    return [a, b, c, d]


def word(four, index):
    k0, k1, c2, c3 = four
    block = index // 4
    return philox([block & 0xFFFFFFFF, block >> 32, c2, c3], [k0, k1])[index % 4]


# Bounds


def smallest_and_largest(low, high, dtype):
    _, _, largest = FORMATS[dtype]
    low = -largest if isinf(low) else max(Fraction(low), -largest)
    high = largest if isinf(high) else min(Fraction(high), largest)
    up, down = unit(low, dtype), unit(high, dtype)
    return -(-low // up) * up, high // down * down


def clamp(x, low, high):
    return max(low, min(x, high))


# Laws: word -> float32, then the dtype


def uniform(w, low, high, dtype="float32"):
    least, most = smallest_and_largest(low, high, dtype)
    low, high = Fraction(low), Fraction(high)
    mid = nearest((low + high) / 2)
    half = largest_half(mid, low, high)
    x = nearest(Fraction((w - 2**31) | 1)) / 2**31
    return nearest(clamp(fma(x, half, mid), least, most), dtype)


def largest_half(mid, low, high):
    """Return the largest float32 h <= (high - low) / 2 with mid + h, mid - h, rounded, inside."""

    def good(bits):
        h = Fraction(float(np.uint32(bits).view(np.float32)))
        within = nearest(mid + h) <= high and nearest(mid - h) >= low
        return within and h <= (high - low) / 2

    bits = 0
    for bit in reversed(range(31)):
        if (bits | 1 << bit) < 0x7F800000 and good(bits | 1 << bit):
            bits |= 1 << bit
    return Fraction(float(np.uint32(bits).view(np.float32)))


def normal(w, mean, std, dtype="float32"):
    # 2 * |x| * 2^31 is an odd integer, with x = (w + 1/2) / 2^31 - 1.
    z = quantile(2 * w + 1 - 2**32, 32, 32)
    return nearest(fma(z, nearest(Fraction(std)), nearest(Fraction(mean))), dtype)


def truncated(w, mean, std, low, high, dtype="float32"):
    least, most = smallest_and_largest(low, high, dtype)
    start, width, scale = interval(mean, std, low, high)
    y = start + (width * w + width // 2 >> 32)
    z = quantile(2 * y + 1, 64, scale + 1)
    value = fma(z, nearest(Fraction(std)), nearest(Fraction(mean)))
    return nearest(clamp(value, least, most), dtype)


def quantile(odd, near_unit, tail_unit):
    """Return z, by the table. |odd| / 2^near_unit is |x|, and the rest to 1 a tail probability.

    The tail probability counts in units of 2^-tail_unit.
    """
    size, full = abs(odd), 1 << near_unit
    if size < full // 2:
        q, exponent_of_unit, first, backwards = size, -near_unit, -64, False
    else:
        q, exponent_of_unit, first, backwards = full - size, -tail_unit, -256, True
    q = nearest(Fraction(q))
    octave = 0
    while q >= power(octave + 1):
        octave += 1
    mantissa = int(q / power(octave) * 2**23) - 2**23
    segment, step = divmod(mantissa, 2**18)
    row = (octave + exponent_of_unit - first) * 32 + segment
    if backwards:
        row, step = row + 64 * 32, 2**18 - 1 - step
    z, c = Fraction(float(TABLE[0, row])), Fraction(float(TABLE[1, row]))
    g = nearest(step * c)
    a, b = nearest(Fraction("0.1705")), nearest(Fraction("0.3415"))
    u = fma(g, fma(nearest(z * z), b, a), nearest(z / 2))
    z = fma(g, fma(g, u, Fraction(1)), z)
    return z if odd > 0 else -z


def interval(mean, std, low, high):
    """Return start, width and scale, with 1500 bits of mpmath's erfc."""
    if std == 0:
        return 0, 0, 63
    with mpmath.workprec(1500):
        alpha, beta = (
            mpmath.mpf(bound)
            if isinf(bound)
            else mpmath.mpf((Fraction(bound) - Fraction(mean)).numerator)
            / (Fraction(bound) - Fraction(mean)).denominator
            * Fraction(std).denominator
            / Fraction(std).numerator
            for bound in (low, high)
        )

        def tail(z):
            return mpmath.erfc(abs(z) / mpmath.sqrt(2)) if abs(z) < 24 else mpmath.mpf(0)

        near = tail(max(alpha, -beta, 0))
        scale = 63
        if near <= 0.5:
            while near * 2 ** (scale + 1) <= 2**62:
                scale += 1

        def place(z):
            y = 2**63 - int(mpmath.nint(tail(z) * 2**scale))
            return y if z >= 0 else -y

        start, stop = place(alpha), min(place(beta), 2**63 - 1)
    return start, stop - start, scale
