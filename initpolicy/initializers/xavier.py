"""Initializers that keep variance both forwards and backwards, for activations odd about 0."""

from __future__ import annotations

import math

from initpolicy.initializers.fans import divisor
from initpolicy.laws import Normal, Uniform
from initpolicy.model.facts import Facts


def xavier_uniform(tensor: Facts, *, gain: float = 1.0) -> Uniform:
    """U(-b, b) with b = gain * sqrt(6 / (fan_in + fan_out)). Glorot and Bengio 2010.

    As `torch.nn.init.xavier_uniform_`. `gain = "auto"` in a policy is the gain of what
    follows the layer. Raises `FanError` for a tensor with fewer than two dimensions.

    >>> print(xavier_uniform(Facts((4, 2))))
    U(-1, 1)
    """
    bound = math.sqrt(3.0) * _std(tensor, gain)
    return Uniform(-bound, bound)


def xavier_normal(tensor: Facts, *, gain: float = 1.0) -> Normal:
    """N(0, gain * sqrt(2 / (fan_in + fan_out))). Glorot and Bengio 2010.

    As `torch.nn.init.xavier_normal_`. `gain = "auto"` in a policy is the gain of what
    follows the layer. Raises `FanError` for a tensor with fewer than two dimensions.

    >>> print(xavier_normal(Facts((6, 2))))
    N(0, 0.5)
    """
    return Normal(0.0, _std(tensor, gain))


def _std(tensor: Facts, gain: float) -> float:
    # torch divides 2 by the sum; doubling the mean gives that sum exactly, and so the same bits.
    return gain * math.sqrt(2.0 / (2.0 * divisor(tensor, "fan_avg")))
