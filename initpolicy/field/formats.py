"""Floating-point formats: what a dtype can represent, in exact arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import torch


@dataclass(frozen=True)
class Format:
    """A binary floating-point format.

    Attributes:
        mantissa: stored bits of the mantissa.
        exponent: exponent of the smallest normal number.
        largest: largest finite number.
        negative_zero: whether the format has one.
    """

    mantissa: int
    exponent: int
    largest: Fraction
    negative_zero: bool = True

    def below(self, x: Fraction) -> Fraction:
        """Return the largest multiple of the format's spacing at x that does not exceed x."""
        unit = self.spacing(x)
        return (x / unit).__floor__() * unit

    def above(self, x: Fraction) -> Fraction:
        """Return the smallest multiple of the format's spacing at x that x does not exceed."""
        unit = self.spacing(x)
        return (x / unit).__ceil__() * unit

    def nearest(self, x: Fraction) -> Fraction:
        """Round to nearest, ties to even, as if the exponent had no upper end."""
        unit = self.spacing(x)
        return round(x / unit) * unit

    def spacing(self, x: Fraction) -> Fraction:
        """Return the distance between neighbouring numbers at x."""
        exponent = self.exponent
        if x:
            exponent = abs(x.numerator).bit_length() - x.denominator.bit_length()
            if abs(x) < Fraction(2) ** exponent:
                exponent -= 1
        return Fraction(2) ** (max(exponent, self.exponent) - self.mantissa)


FLOAT32 = Format(23, -126, Fraction(torch.finfo(torch.float32).max))
_FORMATS = {
    torch.float32: FLOAT32,
    torch.float64: FLOAT32,  # float32 values, widened
    torch.bfloat16: Format(7, -126, Fraction(torch.finfo(torch.bfloat16).max)),
    torch.float16: Format(10, -14, Fraction(65504)),
}
_EIGHT_BITS = {
    "float8_e4m3fn": Format(3, -6, Fraction(448)),
    "float8_e5m2": Format(2, -14, Fraction(57344)),
    "float8_e4m3fnuz": Format(3, -7, Fraction(240), negative_zero=False),
    "float8_e5m2fnuz": Format(2, -15, Fraction(57344), negative_zero=False),
}
FLOAT8 = {getattr(torch, k): v for k, v in _EIGHT_BITS.items() if hasattr(torch, k)}
_FORMATS.update(FLOAT8)


def format_of(dtype: torch.dtype) -> Format:
    """Return the format of the values that a dtype receives.

    A float64 tensor receives float32 values, widened.

    Raises:
        TypeError: the dtype is not one of the real floating dtypes that can be drawn.

    >>> format_of(torch.bfloat16).mantissa
    7
    """
    if dtype not in _FORMATS:
        raise TypeError(f"cannot draw values of {dtype}; use a real floating dtype")
    return _FORMATS[dtype]
