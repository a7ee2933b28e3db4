"""Tests of samples against a law, each with a bound on its rate of false alarms.

No test here relies on a limit theorem for how often it is wrong: Dvoretzky, Kiefer and Wolfowitz's
inequality bounds the first for any number of values, and a bound on self-normalized sums
(B. Efron, "Student's t-test under symmetry conditions", 1969) the other for any symmetric law.
"""

# The stubs of torch and numpy leave these functions without types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from initpolicy.laws import Drawn, Moments

Array = Any

GROUPS = 256
"""Into how many independent groups a sample is divided."""

_RESOLUTION = 2.0**-10
"""How wide a step of the type may be, in standard deviations, where samples are compared."""


def resolved(moments: Moments) -> bool:
    """Whether float32 shows the law's values, and not only where they lie.

    >>> resolved(Moments(0.0, 1.0)), resolved(Moments(1.0, 1e-12)), resolved(Moments(1.0, 0.0))
    (True, False, False)
    """
    info = np.finfo(np.float32)
    step = max(abs(moments.mean) * float(info.eps), float(info.tiny))
    return moments.std * _RESOLUTION > step and moments.std < float(info.max) / 64


def contradictions(law: Any, moments: Moments, groups: Array, alpha: float) -> Iterator[str]:
    """Say in what a sample contradicts the moments, or the distribution function, of a law.

    `groups` has one row for each independent group. Were the law right, each of at most three tests
    would speak with a probability of `alpha` at most.
    """
    z = (groups.astype(np.float64) - moments.mean) / moments.std
    count = z.size
    if not np.isfinite(z).all():
        yield f"of {count} values some are NaN or infinite"
        return
    if _deviates(z.mean(axis=1), alpha):
        found = moments.mean + moments.std * float(z.mean())
        yield f"the mean of {count} values is {found:.4g}, and the law says {moments.mean:.4g}"
    if _deviates(np.square(z).mean(axis=1) - 1, alpha):
        found = moments.std * math.sqrt(float(np.square(z).mean()))
        yield (
            f"the root mean square deviation of {count} values is {found:.4g}, and the law says "
            f"{moments.std:.4g}"
        )
    if isinstance(law, Drawn):
        distance = _distance(law, np.sort(groups.astype(np.float64), axis=None))
        # A rounded value may stand for any of a step, which holds so much probability at most.
        allowed = math.sqrt(math.log(2 / alpha) / (2 * count)) + 2 * _RESOLUTION
        if distance > allowed:
            yield (
                f"the distribution of {count} values is off by {distance:.2g} from the law's "
                f"`cdf`, and chance explains {allowed:.2g}"
            )


def _deviates(means: Array, alpha: float) -> bool:
    """Whether the means of groups are further from 0 than symmetric chance takes them.

    Of n independent variables, symmetric about 0, |sum| / sqrt(sum of squares) is above x with a
    probability of at most 2 exp(-x^2 / 2).
    """
    scale = math.sqrt(float(np.square(means).sum()))
    if scale == 0:
        return False
    return abs(float(means.sum())) / scale > math.sqrt(2 * math.log(2 / alpha))


def _distance(law: Drawn, values: Array) -> float:
    """Give the largest distance between the distribution of sorted values and the law's."""
    expected = law.cdf(values)
    steps = np.arange(values.size + 1) / values.size
    return float(max((steps[1:] - expected).max(), (expected - steps[:-1]).max()))


def wrong_moments(law: Drawn, moments: Moments) -> Iterator[str]:
    """Say in what the moments of a law contradict its distribution function; nothing is drawn.

    Mean and variance are integrals of the distribution function, which are summed here.
    """
    low, high = law.support
    low = max(low, moments.mean - 40 * moments.std)
    high = min(high, moments.mean + 40 * moments.std)
    points = np.linspace(low, high, 8_001)
    cdf = law.cdf(points)
    z, step = (points - moments.mean) / moments.std, (high - low) / 8_000 / moments.std

    def integral(heights: Array) -> float:
        return float((heights[1:] + heights[:-1]).sum() / 2 * step)

    if float(cdf[-1]) < 1 - 1e-6:
        if high > law.support[1] - moments.std:
            return  # it is the support that is wrong
        yield "`cdf` does not rise to 1 within 40 of the law's standard deviations"
        return
    mean = float(z[-1]) - integral(cdf)
    square = float(z[-1]) ** 2 - 2 * integral(z * cdf)
    if abs(mean) > 1e-3:
        found = moments.mean + moments.std * mean
        yield f"`moments` say a mean of {moments.mean:.4g}, and `cdf` one of {found:.4g}"
    if abs(square - mean**2 - 1) > 1e-3:
        found = moments.std * math.sqrt(max(0.0, square - mean**2))
        yield (
            f"`moments` say a standard deviation of {moments.std:.4g}, and `cdf` one of {found:.4g}"
        )
