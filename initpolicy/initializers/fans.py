"""Fans, as formulas divide by them."""

from __future__ import annotations

from initpolicy.model.facts import Facts, FanError, FanMode


def divisor(tensor: Facts, mode: FanMode) -> float:
    """Give the fan of that name, to divide by.

    A tensor without elements may have a fan of 0. Nothing will be drawn for it, so that any law
    does, and 1 stands for the fan. Raises `FanError` for a fan of 0 otherwise, and for a tensor
    with fewer than two dimensions.

    >>> divisor(Facts((8, 2)), "fan_avg"), divisor(Facts((0, 2)), "fan_out")
    (5.0, 1.0)
    """
    fan = tensor.fan(mode)
    if fan > 0:
        return fan
    if tensor.numel:
        raise FanError(f"{mode} of a tensor of shape {tensor.shape} is {fan:g}")
    return 1.0
