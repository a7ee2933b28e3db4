"""The standard normal distribution, truncated: moments and distribution function.

The formulas are those of J. Burkardt, "The truncated normal distribution" (2014), written so that
they keep their accuracy when the interval is narrow or far out in a tail.
"""

# The stubs of torch and numpy leave these functions without types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import numpy as np
import numpy.typing as npt
import torch

Floats = npt.NDArray[np.float64]


def standard_cdf(z: Floats) -> Floats:
    """Give the standard normal distribution function, element by element."""
    return _mapped(torch.special.ndtr, z)


def standard_moments(low: float, high: float) -> tuple[float, float]:
    """Give mean and variance of a standard normal variable, given that it lies in [low, high].

    With density phi and probability Z of the interval, the mean is m = (phi(low) - phi(high)) / Z
    and the variance 1 + (low phi(low) - high phi(high)) / Z - m^2. Where those terms would cancel,
    in a narrow interval or beyond 4, the integrals are computed by quadrature instead.

    >>> standard_moments(-math.inf, math.inf)
    (0.0, 1.0)
    >>> mean, variance = standard_moments(-2.0, 2.0)
    >>> mean, f"{math.sqrt(variance):.15f}"
    (0.0, '0.879625661034240')
    """
    if low < 0 and -low > high:  # the mirror image, so that the far bound is the upper one
        mean, variance = standard_moments(-high, -low)
        return -mean, variance
    if high - low < 2 or low > 4:
        return _moments_by_quadrature(low, high)
    probability = (math.erfc(low / math.sqrt(2)) - math.erfc(high / math.sqrt(2))) / 2
    mean = (_density(low) - _density(high)) / probability
    excess = (_moment_density(low) - _moment_density(high)) / probability
    return mean, 1 + excess - mean**2


def _density(z: float) -> float:
    return math.exp(-z * z / 2) / math.sqrt(2 * math.pi)


def _moment_density(z: float) -> float:
    return 0.0 if math.isinf(z) else z * _density(z)


def _moments_by_quadrature(low: float, high: float) -> tuple[float, float]:
    """Integrate by Gauss and Legendre over the part of the interval that carries probability."""
    nearest = max(low, 0.0)
    # exp(-40) of the peak's density lies beyond this point: nothing, in double precision.
    high = min(high, nearest + 40 / max(nearest, 4.0))
    nodes, weights = np.polynomial.legendre.leggauss(64)
    half = (high - low) / 2
    steps = half * (nodes + 1)  # distances from `low`, exact where `low` itself is large
    weights = weights * np.exp(-steps * (low + steps / 2))
    total = float(weights.sum())
    distance = float(weights @ steps) / total
    return low + distance, float(weights @ (steps - distance) ** 2) / total


def truncated_cdf(z: Floats, low: float, high: float) -> Floats:
    """Give the distribution function of a standard normal variable in [low, high] at `z`.

    >>> truncated_cdf(np.array([40.0, 40.01, 41.0]), 40.0, math.inf).round(4).tolist()
    [0.0, 0.3299, 1.0]
    """
    if high <= 0:
        return 1 - truncated_cdf(-z, -high, -low)
    z = np.clip(z, low, high)
    if low < 0:
        below, above = standard_cdf(np.array([low, high]))
        return np.clip((standard_cdf(z) - below) / (above - below), 0.0, 1.0)
    # In the upper tail everything is relative to the density at `low`, which may underflow.
    return _beyond(low, z) / _beyond(low, np.array(high))


def _beyond(low: float, z: Floats) -> Floats:
    """Give the probability between `low` and `z`, both in the upper tail, up to a constant."""
    decay = np.exp(-(z - low) * (z + low) / 2)
    tail = _mapped(torch.special.erfcx, z / math.sqrt(2))
    start = _mapped(torch.special.erfcx, np.array(low / math.sqrt(2)))
    return start - decay * tail


def _mapped(function: Callable[[torch.Tensor], torch.Tensor], points: Floats) -> Floats:
    """Apply a function of torch to float64 numbers; a scalar array stays one."""
    tensor = torch.from_numpy(np.ascontiguousarray(points, dtype=np.float64))
    return cast("Floats", function(tensor).numpy().reshape(np.shape(points)))
