"""Initializers that keep variance in one direction, for rectifiers."""

from __future__ import annotations

import math
from typing import Literal

from initpolicy.initializers.fans import divisor
from initpolicy.initializers.gain import NonlinearityOrAuto, gain
from initpolicy.initializers.initializer import InitializerError
from initpolicy.laws import Normal, Uniform
from initpolicy.model.facts import Facts


def kaiming_uniform(
    tensor: Facts,
    *,
    a: float = 0.0,
    mode: Literal["fan_in", "fan_out"] = "fan_in",
    nonlinearity: NonlinearityOrAuto = "leaky_relu",
) -> Uniform:
    """U(-b, b) with b = gain * sqrt(3 / fan). He et al. 2015.

    As `torch.nn.init.kaiming_uniform_`; `a` is the negative slope of leaky_relu. With
    `nonlinearity = "auto"` the gain is that of what follows the layer. Raises `FanError` for a
    tensor with fewer than two dimensions.

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
    nonlinearity: NonlinearityOrAuto = "leaky_relu",
) -> Normal:
    """N(0, gain / sqrt(fan)). He et al. 2015.

    As `torch.nn.init.kaiming_normal_`; `a` is the negative slope of leaky_relu. With
    `nonlinearity = "auto"` the gain is that of what follows the layer. Raises `FanError` for a
    tensor with fewer than two dimensions.

    >>> print(kaiming_normal(Facts((512, 128)), mode="fan_out", nonlinearity="relu"))
    N(0, 0.0625)
    """
    return Normal(0.0, _std(tensor, a, mode, nonlinearity))


def _std(
    tensor: Facts,
    a: float,
    mode: Literal["fan_in", "fan_out"],
    nonlinearity: NonlinearityOrAuto,
) -> float:
    if nonlinearity != "auto":
        factor = gain(nonlinearity, a)
    elif tensor.auto_gain is not None:
        factor = tensor.auto_gain
    else:
        raise InitializerError(
            'nonlinearity = "auto" needs a layer, and this tensor has none',
            hint='name the nonlinearity, such as "relu"',
        )
    return factor / math.sqrt(divisor(tensor, mode))
