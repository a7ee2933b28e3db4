"""Scales of pictures: where a number lies, and which numbers are written beside it."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """Numbers from `low` to `high` on a stretch of pixels, evenly or by their logarithms.

    >>> Scale(0, 10, 100, 200)(5), Scale(1, 100, 0, 50, log=True)(10)
    (150.0, 25.0)
    """

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The pixel of a number; of one that lies outside, the nearer end."""
        low, high = self._of(self.low), self._of(self.high)
        part = (self._of(value) - low) / (high - low) if high > low else 0.5
        return self.start + min(1.0, max(0.0, part)) * (self.stop - self.start)

    def _of(self, value: float) -> float:
        if not self.log:
            return value
        return math.log10(value) if value > 0 else -math.inf

    @property
    def ticks(self) -> list[float]:
        """Round numbers, at most eight."""
        return decades(self.low, self.high) if self.log else steps(self.low, self.high)


def steps(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers between two others.

    >>> steps(-0.13, 0.27), steps(0, 1)
    ([-0.1, 0.0, 0.1, 0.2], [0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
    """
    if not low < high:
        return [low]
    rough = (high - low) / most
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * by for by in (1, 2, 5, 10) if unit * by >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    digits = max(0, -math.floor(math.log10(step)))
    return [round(place * step, digits) + 0.0 for place in range(first, last + 1)]


def decades(low: float, high: float, most: int = 7) -> list[float]:
    """Powers of ten between two positive numbers; other round numbers where that gives too few.

    >>> decades(0.02, 300), decades(0.3, 4), decades(0.9, 1.2)
    ([0.1, 1.0, 10.0, 100.0], [0.5, 1.0, 2.0], [0.9, 1.0, 1.1, 1.2])
    """
    if high < 4 * low:
        return steps(low, high)
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    if last - first < 2:
        candidates = [by * 10.0**place for place in range(first - 1, last + 1) for by in (1, 2, 5)]
        return [value for value in candidates if low <= value <= high]
    step = math.ceil((last - first + 1) / most)
    return [10.0**place for place in range(first, last + 1, step)]


def short(value: float) -> str:
    """A number on an axis.

    >>> short(0.0), short(1e-07), short(0.05), short(1000.0)
    ('0', '1e-7', '0.05', '1000')
    """
    return f"{value:.4g}".replace("e-0", "e-").replace("e+0", "e")


def place(value: float) -> str:
    """A coordinate, with a tenth of a pixel.

    >>> place(12.0), place(0.25)
    ('12', '0.2')
    """
    return f"{value:.1f}".removesuffix(".0")
