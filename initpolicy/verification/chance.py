"""How improbable an observation is: bounds that hold for every number of values, large or small.

All give the natural logarithm of a probability that is at least the true one, so that a test never
raises more false alarms than it states. None is an approximation for large samples. They are the
bounds of H. Chernoff (1952), of P. Massart for the inequality of Dvoretzky, Kiefer and Wolfowitz
(1990), of C. McDiarmid (1989), and of K. Davidson and S. Szarek for singular values (2001).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_LOG_2 = math.log(2)


def normal(z: npt.ArrayLike) -> Floats:
    """Bound P(|Z| >= |z|) for a standard normal Z.

    >>> float(normal(2.0))
    -2.0
    """
    return -np.square(np.asarray(z, np.float64)) / 2


def squares(total: npt.ArrayLike, count: int) -> Floats:
    """Bound, on its side, how far the sum of `count` squared standard normals is from `count`.

    >>> squares([100.0, 200.0], 100).round(2).tolist()
    [0.0, -14.65]
    """
    ratio = np.asarray(total, np.float64) / count
    with np.errstate(divide="ignore"):
        distance = ratio - 1 - np.log(ratio)
    return np.minimum(0.0, _LOG_2 - count / 2 * distance)


def count(found: int, among: int, probability: float) -> float:
    """Bound, on its side, how far a binomial count is from what is expected.

    >>> count(50, 100, 0.5), round(count(100, 100, 0.5), 2)
    (0.0, -68.62)
    """
    if among == 0:
        return 0.0
    share = found / among
    distance = _relative(share, probability) + _relative(1 - share, 1 - probability)
    return min(0.0, _LOG_2 - among * distance)


def at_least(found: int, among: int, probability: float) -> float:
    """Bound the probability that a binomial count is `found` or more.

    >>> at_least(3, 10, 0.5), round(at_least(3, 1000, 1e-6), 1)
    (0.0, -21.0)
    """
    if found <= among * probability:
        return 0.0
    return count(found, among, probability) - _LOG_2


def _relative(share: float, probability: float) -> float:
    if share <= 0:
        return 0.0
    return math.inf if probability <= 0 else share * math.log(share / probability)


def distance(largest: float, count: int) -> float:
    """Bound how far the distribution function of `count` values is from that of their law.

    >>> round(distance(0.1, 1000), 2)
    -19.31
    """
    return min(0.0, _LOG_2 - 2 * count * largest**2)


def lacking(short: float, count: int) -> float:
    """Bound the probability that `count` values have so many distinct ones too few.

    To replace one value changes the number of distinct ones by at most one.
    """
    return -2 * max(0.0, short) ** 2 / count


def singular(smallest: float, largest: float, rows: int, columns: int) -> float:
    """Bound how far singular values of a standard normal matrix are from where they must be.

    >>> singular(10.0, 30.0, 100, 400), round(singular(10.0, 40.0, 100, 400), 2)
    (0.0, -49.31)
    """
    few, many = sorted((math.sqrt(rows), math.sqrt(columns)))
    over, under = largest - many - few, many - few - smallest
    return min(0.0, _LOG_2 - max(over, under, 0.0) ** 2 / 2)
