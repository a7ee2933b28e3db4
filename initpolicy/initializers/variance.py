"""Variance scaling, and the initializers of LeCun, as `jax.nn.initializers` defines them."""

from __future__ import annotations

import math
from typing import Literal

from initpolicy.initializers.fans import divisor
from initpolicy.initializers.truncated import trunc_normal
from initpolicy.laws import Law, LawError, Normal, Uniform
from initpolicy.model.facts import Facts, FanMode


def variance_scaling(
    tensor: Facts,
    *,
    scale: float = 1.0,
    mode: FanMode = "fan_in",
    distribution: Literal["normal", "truncated_normal", "uniform"] = "normal",
) -> Law:
    """Mean 0 and variance scale / fan, of three distributions. As `jax.nn.initializers`.

    "normal" is not truncated; "truncated_normal" is cut at 2 sigma and corrected, so that its
    variance is scale / fan all the same. Raises `FanError` for a tensor with fewer than two
    dimensions, `LawError` if `scale` is negative.

    >>> print(variance_scaling(Facts((8, 2)), scale=5.0, mode="fan_avg"))
    N(0, 1)
    >>> law = variance_scaling(Facts((3, 4)), distribution="truncated_normal")
    >>> print(law, law.moments.std)
    N(0, 0.5684) in [-1.137, 1.137] 0.5
    """
    if scale < 0:
        raise LawError(f"`scale` must not be negative, and is {scale:g}")
    variance = scale / divisor(tensor, mode)
    if distribution == "uniform":
        bound = math.sqrt(3 * variance)
        return Uniform(-bound, bound)
    if distribution == "normal" or variance == 0:
        return Normal(0.0, math.sqrt(variance))
    return trunc_normal(tensor, std=math.sqrt(variance), cut=2.0, corrected=True)


def lecun_normal(tensor: Facts) -> Law:
    """N(0, sqrt(1 / fan_in)), cut at 2 sigma and corrected. LeCun et al. 1998.

    As `jax.nn.initializers.lecun_normal`, which truncates; for the untruncated law write
    `variance_scaling`. Raises `FanError` for a tensor with fewer than two dimensions.

    >>> print(lecun_normal(Facts((3, 4))))
    N(0, 0.5684) in [-1.137, 1.137]
    """
    return variance_scaling(tensor, distribution="truncated_normal")


def lecun_uniform(tensor: Facts) -> Law:
    """U(-b, b) with b = sqrt(3 / fan_in). LeCun et al. 1998.

    As `jax.nn.initializers.lecun_uniform`. Raises `FanError` for a tensor with fewer than two
    dimensions.

    >>> print(lecun_uniform(Facts((4, 3))))
    U(-1, 1)
    """
    return variance_scaling(tensor, distribution="uniform")
