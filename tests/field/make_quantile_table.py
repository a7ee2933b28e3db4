"""The definition of the quantile table of draw version 1, as a program.

    python tests/field/make_quantile_table.py            # compare with the shipped table
    python tests/field/make_quantile_table.py --write    # write it (a new draw version!)

The text is in docs/draws.md, "The table". Everything is exact: quantiles by Newton's method at 200
bits, roundings by rational arithmetic, so that every machine makes the same bytes.
"""

import argparse
import hashlib
import multiprocessing
from fractions import Fraction
from pathlib import Path

import mpmath
import numpy as np

FILE = Path(__file__).parents[2] / "initpolicy/field/quantile.npy"

BITS = 5  # an octave has 2^BITS segments
REST = 23 - BITS  # bits of a float32's mantissa that count within a segment
LAST = (1 << REST) - 1
NEAR = range(-64, 0)  # octaves of |x|; one more segment begins at |x| = 1/2
TAIL = range(-256, 0)  # octaves of p = 1 - |x|; likewise
CUBIC_0 = Fraction(float(np.float32(0.1705)))
CUBIC_2 = Fraction(float(np.float32(0.3415)))

mpmath.mp.prec = 200


def round32(x: Fraction) -> Fraction:
    """The float32 nearest to x, ties to even (no overflow here)."""
    if x == 0:
        return x
    exponent = abs(x.numerator).bit_length() - x.denominator.bit_length()
    if abs(x) < Fraction(2) ** exponent:
        exponent -= 1
    unit = Fraction(2) ** (max(exponent, -126) - 23)
    return round(x / unit) * unit


def exact(x: mpmath.mpf) -> Fraction:
    sign, mantissa, exponent, _ = x._mpf_
    return (-1) ** sign * int(mantissa) * Fraction(2) ** exponent


def probability(side: str, octave: int, segment: int, step: int) -> Fraction:
    """|x| (near) or 1 - |x| (tail) at a step of a segment; |z| grows with the step."""
    low_bits = step if side == "near" else LAST - step
    return (1 + Fraction((segment << REST) + low_bits, 1 << 23)) * Fraction(2) ** octave


def quantile(side: str, probability: Fraction) -> mpmath.mpf:
    """|z| with P(|Z| < |z|) = probability (near), or P(|Z| > |z|) = probability (tail)."""
    p = mpmath.mpf(probability.numerator) / probability.denominator
    if side == "near":
        z = p * mpmath.sqrt(mpmath.pi / 2)  # from below: convex, so that Newton converges
        for _ in range(100):
            error = mpmath.erf(z / mpmath.sqrt(2)) - p
            step = error / (mpmath.sqrt(2 / mpmath.pi) * mpmath.exp(-z * z / 2))
            z -= step
            if abs(step) < abs(z) * mpmath.mpf(2) ** -100:
                return z
    else:  # log p is concave in z: start where its tangent leads upwards
        z = mpmath.sqrt(max(-2 * mpmath.log(p), mpmath.mpf("0.25")))
        for _ in range(100):
            tail = mpmath.erfc(z / mpmath.sqrt(2))
            slope = -mpmath.sqrt(2 / mpmath.pi) * mpmath.exp(-z * z / 2) / tail
            step = (mpmath.log(tail) - mpmath.log(p)) / slope
            z -= step
            if abs(step) < abs(z) * mpmath.mpf(2) ** -100:
                return z
    raise ArithmeticError(f"no quantile for {side} {probability}")


def node(side: str, octave: int, segment: int) -> Fraction:
    return round32(exact(quantile(side, probability(side, octave, segment, 0))))


def value(z: Fraction, c: Fraction, step: int) -> Fraction:
    """What the kernels compute, operation by operation."""
    g = round32(step * c)
    cubic = round32(round32(z * z) * CUBIC_2 + CUBIC_0)
    u = round32(g * cubic + round32(z / 2))
    u = round32(g * u + 1)
    return round32(g * u + z)


def slope(z: Fraction, end: mpmath.mpf) -> Fraction:
    """The float32 nearest to the c whose cubic, in real numbers, meets the segment's end."""
    target = end - mpmath.mpf(z.numerator) / z.denominator
    half = mpmath.mpf(z.numerator) / z.denominator / 2
    three = CUBIC_0 + CUBIC_2 * z * z
    cubic = mpmath.mpf(three.numerator) / three.denominator
    g = target
    for _ in range(60):
        step = (g + half * g**2 + cubic * g**3 - target) / (1 + 2 * half * g + 3 * cubic * g**2)
        g -= step
        if abs(step) < abs(g) * mpmath.mpf(2) ** -100:
            return round32(exact(g / LAST))
    raise ArithmeticError("no slope")


def below(c: Fraction) -> Fraction:
    return Fraction(float(np.nextafter(np.float32(float(c)), np.float32(0))))


def entry(side: str, octave: int, segment: int) -> tuple[float, float]:
    """(z, c) of one segment."""
    z = node(side, octave, segment)
    c = slope(z, quantile(side, probability(side, octave, segment, LAST)))
    direction = 1 if side == "near" else -1
    flat = octave * (1 << BITS) + segment + direction
    limit = node(side, flat >> BITS, flat & ((1 << BITS) - 1))
    while value(z, c, LAST) > limit:
        c = below(c)
    return float(z), float(c)


ROWS = (len(NEAR) + len(TAIL)) << BITS


def place(row: int) -> tuple[str, int, int] | None:
    """Side, octave and segment of a row; None for the rows that no word reaches."""
    side, octaves, row = (
        ("near", NEAR, row)
        if row < len(NEAR) << BITS
        else ("tail", TAIL, row - (len(NEAR) << BITS))
    )
    octave, segment = octaves[row >> BITS], row & ((1 << BITS) - 1)
    return None if octave == -1 and segment else (side, octave, segment)


def row(index: int) -> tuple[float, float]:
    where = place(index)
    return (0.0, 0.0) if where is None else entry(*where)


def make() -> np.ndarray:
    """The table: float32 of shape (2, rows), nodes z above slopes c."""
    with multiprocessing.Pool() as pool:
        rows = pool.map(row, range(ROWS), chunksize=64)
    return np.ascontiguousarray(np.array(rows, dtype="<f4").T)


def digest(table: np.ndarray) -> str:
    """SHA-256 of the values alone, little-endian, row-major."""
    return hashlib.sha256(table.astype("<f4").tobytes()).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true")
    table = make()
    if parser.parse_args().write:
        np.save(FILE, table)
    print(digest(table), "same" if np.array_equal(np.load(FILE), table) else "DIFFERENT")


if __name__ == "__main__":
    main()
