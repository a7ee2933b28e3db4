"""Initializers that keep variance in one direction, for rectifiers."""

from __future__ import annotations

import math
from typing import Literal

from initpolicy.initializers.fans import divisor
from initpolicy.initializers.gain import Nonlinearity, gain
from initpolicy.laws import Normal, Uniform
from initpolicy.model.facts import Facts


def kaiming_uniform(
    tensor: Facts,
    *,
    a: float = 0.0,
    mode: Literal["fan_in", "fan_out"] = "fan_in",
    nonlinearity: Nonlinearity = "leaky_relu",
) -> Uniform:
    """U(-b, b) with b = gain * sqrt(3 / fan). He et al. 2015.

    As `torch.nn.init.kaiming_uniform_`; `a` is the negative slope of leaky_relu. Raises `FanError`
    for a tensor with fewer than two dimensions.

    >>> print(kaiming_uniform(Facts((8, 6)), nonlinearity="relu"))
    U(-1, 1)
    """
    bound = math.sqrt(3.0) * _std(tensor, a, mode, nonlinearity)
    return Uniform(-bound, bound)


def kaiming_normal(
    tensor: Facts,
    *,
    a: float = 0.0,
    mode: Literal["fan_in", "fan_out"] = "fan_in",
    nonlinearity: Nonlinearity = "leaky_relu",
) -> Normal:
    """N(0, gain / sqrt(fan)). He et al. 2015.

    As `torch.nn.init.kaiming_normal_`; `a` is the negative slope of leaky_relu. Raises `FanError`
    for a tensor with fewer than two dimensions.

    >>> print(kaiming_normal(Facts((512, 128)), mode="fan_out", nonlinearity="relu"))
    N(0, 0.0625)
    """
    return Normal(0.0, _std(tensor, a, mode, nonlinearity))


def _std(
    tensor: Facts, a: float, mode: Literal["fan_in", "fan_out"], nonlinearity: Nonlinearity
) -> float:
    return gain(nonlinearity, a) / math.sqrt(divisor(tensor, mode))
