"""Gains: what makes up for the activation that follows a layer."""

from __future__ import annotations

import math
from typing import Literal, get_args

from initpolicy.initializers.initializer import InitializerError, suggestion

Nonlinearity = Literal[
    "linear",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "sigmoid",
    "tanh",
    "relu",
    "leaky_relu",
    "selu",
    "elu",
    "gelu",
    "gelu_tanh",
    "mish",
    "silu",
    "softplus",
]

NonlinearityOrAuto = Literal[Nonlinearity, "auto"]
"""With "auto", whatever follows the layer."""

# 1 / sqrt(E[f(z)^2]) for a standard normal z, integrated numerically to double precision.
_PRESERVING = {
    "elu": 1.2451983007007066,
    "gelu": 1.5335304411955353,
    "gelu_tanh": 1.533580521666147,
    "mish": 1.486847581273208,
    "silu": 1.676532470331091,
    "softplus": 1.0418668355353018,
}


def gain(nonlinearity: str, param: float | None = None) -> float:
    """Give the factor on std that a nonlinearity calls for.

    The names and values of `torch.nn.init.calculate_gain`: 1 for linear, the convolutions and
    sigmoid, 5/3 for tanh, sqrt(2) for relu, sqrt(2 / (1 + param^2)) for leaky_relu with negative
    slope `param` (0.01 if not given), 3/4 for selu. Those that torch does not know, elu (alpha 1),
    gelu, gelu_tanh (its approximation), mish, silu and softplus, keep the second moment of a
    standard normal input: 1 / sqrt(E[f(z)^2]). `param` is for leaky_relu only; others ignore it.

    Raises `InitializerError` for any other name.

    >>> gain("tanh"), gain("leaky_relu", 1.0), gain("gelu")
    (1.6666666666666667, 1.0, 1.5335304411955353)
    """
    if nonlinearity in _PRESERVING:
        return _PRESERVING[nonlinearity]
    if nonlinearity == "tanh":
        return 5.0 / 3
    if nonlinearity == "relu":
        return math.sqrt(2.0)
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        return math.sqrt(2.0 / (1 + slope**2))
    if nonlinearity == "selu":
        return 3.0 / 4
    if nonlinearity in get_args(Nonlinearity):
        return 1.0
    raise InitializerError(
        f"no gain is known for the nonlinearity {nonlinearity!r}",
        hint=suggestion(nonlinearity, get_args(Nonlinearity))
        or f"write one of {', '.join(get_args(Nonlinearity))}, or the number itself",
    )
