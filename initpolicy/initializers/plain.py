"""Initializers that ask nothing of the tensor: constants, uniform and normal draws."""

from __future__ import annotations

from initpolicy.laws import Constant, Normal, Uniform
from initpolicy.model.facts import Facts


def constant(tensor: Facts, *, val: float) -> Constant:
    """Every element is `val`. As `torch.nn.init.constant_`.

    >>> print(constant(Facts((10,)), val=0.5))
    0.5
    """
    return Constant(val)


def ones(tensor: Facts) -> Constant:
    """Every element is 1. As `torch.nn.init.ones_`.

    >>> print(ones(Facts((10,))))
    1
    """
    return Constant(1.0)


def zeros(tensor: Facts) -> Constant:
    """Every element is 0. As `torch.nn.init.zeros_`.

    >>> print(zeros(Facts((10,))))
    0
    """
    return Constant(0.0)


def uniform(tensor: Facts, *, a: float = 0.0, b: float = 1.0) -> Uniform:
    """U(a, b). As `torch.nn.init.uniform_`.

    >>> print(uniform(Facts((10,)), a=-0.1, b=0.1))
    U(-0.1, 0.1)
    """
    return Uniform(a, b)


def normal(tensor: Facts, *, mean: float = 0.0, std: float = 1.0) -> Normal:
    """N(mean, std). As `torch.nn.init.normal_`.

    >>> print(normal(Facts((10,)), std=0.02))
    N(0, 0.02)
    """
    return Normal(mean, std)
