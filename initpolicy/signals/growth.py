"""By what factor a signal grows from layer to layer, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Growth:
    """The factor by which root mean squares change from one layer to the next."""

    factor: float
    low: float
    high: float
    """The interval that holds the mean over draws with 95 % confidence; infinitely wide for
    one draw."""
    layers: int
    draws: int

    def __str__(self) -> str:
        interval = f", 95 % {self.low:.3g} to {self.high:.3g}" if self.draws > 1 else ""
        return f"{self.factor:.3g} a layer ({self.layers} layers{interval})"

    def to_json(self) -> dict[str, Any]:
        """The growth as plain data; the interval is None for one draw."""
        one = self.draws == 1
        return {
            "factor": self.factor,
            "low": None if one else self.low,
            "high": None if one else self.high,
            "layers": self.layers,
            "draws": self.draws,
        }


def slope(values: Sequence[float]) -> float | None:
    """The least-squares slope of the logarithms of sizes over their places; None if too few.

    >>> round(slope([1.0, 2.0, 4.0, 0.0, 16.0]), 6)
    0.693147
    """
    points = [(place, math.log(value)) for place, value in enumerate(values) if 0 < value < _INF]
    if len(points) < 2:
        return None
    middle = sum(place for place, _ in points) / len(points)
    return sum((place - middle) * value for place, value in points) / sum(
        (place - middle) ** 2 for place, _ in points
    )


_INF = math.inf


def growth(draws: Sequence[Sequence[float]]) -> Growth | None:
    """The growth over the layers of several draws; None where there are not two layers.

    >>> print(growth([[1.0, 0.5, 0.25], [1.0, 0.4, 0.16]]))
    0.447 a layer (3 layers, 95 % 0.108 to 1.85)
    """
    slopes = [found for draw in draws if (found := slope(draw)) is not None]
    if not slopes:
        return None
    number = len(slopes)
    mean = math.fsum(slopes) / number
    layers = max(map(len, draws))
    if number == 1:
        return Growth(_exp(mean), 0.0, math.inf, layers, 1)
    variance = math.fsum((one - mean) ** 2 for one in slopes) / (number - 1)
    reach = student(number - 1) * math.sqrt(variance / number)
    return Growth(_exp(mean), _exp(mean - reach), _exp(mean + reach), layers, number)


def _exp(value: float) -> float:
    return math.exp(min(value, 700.0))


def student(degrees: int, confidence: float = 0.95) -> float:
    """Within how many standard errors Student's t lies with this probability.

    >>> round(student(2), 4)
    4.3027
    """
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        if _within(middle, degrees) < confidence:
            low = middle
        else:
            high = middle
    return math.sqrt(degrees) * math.tan((low + high) / 2)


def _within(angle: float, degrees: int) -> float:
    """The probability of |t| < sqrt(degrees) tan(angle): Abramowitz and Stegun, 26.7.3-4."""
    cosine, sine = math.cos(angle), math.sin(angle)
    odd = degrees % 2
    term = cosine if odd else 1.0
    total = 0.0
    for power in range(1 + odd, degrees, 2):
        total += term
        term *= cosine * cosine * power / (power + 1)
    return 2 / math.pi * (angle + sine * total) if odd else sine * total
