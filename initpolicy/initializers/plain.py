"""Initializers that ask nothing of the tensor: constants, uniform and normal draws."""

from __future__ import annotations

from initpolicy.laws import Constant, Normal, Uniform


def constant(tensor: object, *, val: float) -> Constant:
    """Every element is `val`. As `torch.nn.init.constant_`.

    >>> print(constant(None, val=0.5))
    0.5
    """
    return Constant(val)


def ones(tensor: object) -> Constant:
    """Every element is 1. As `torch.nn.init.ones_`.

    >>> print(ones(None))
    1
    """
    return Constant(1.0)


def zeros(tensor: object) -> Constant:
    """Every element is 0. As `torch.nn.init.zeros_`.

    >>> print(zeros(None))
    0
    """
    return Constant(0.0)


def uniform(tensor: object, *, a: float = 0.0, b: float = 1.0) -> Uniform:
    """U(a, b). As `torch.nn.init.uniform_`.

    >>> print(uniform(None, a=-0.1, b=0.1))
    U(-0.1, 0.1)
    """
    return Uniform(a, b)


def normal(tensor: object, *, mean: float = 0.0, std: float = 1.0) -> Normal:
    """N(mean, std). As `torch.nn.init.normal_`.

    >>> print(normal(None, std=0.02))
    N(0, 0.02)
    """
    return Normal(mean, std)
