"""The gain that keeps the second moment of a standard normal input, for any function."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from initpolicy.initializers.initializer import InitializerError
from initpolicy.model.flow.elementwise import Elementwise, ElementwiseError, outputs_of

_FARTHEST = 20.0  # the density there is 5e-88
_PANELS = 80
_POINTS = 16
_SURE = 4e-15  # of the whole, for each panel
_NARROWEST = 2.0**-48
_MOST_PANELS = 20_000
_DIGITS = 13
_LARGEST = 1e150  # whose square is finite

_EXACT = (1.0, 1e-6, 0.01, 0.25, 0.5, 1.5, 2.0, 3.0, 5.0, 7.0, 12.0, _FARTHEST)

Floats = np.ndarray[Any, np.dtype[np.float64]]


def _rule() -> tuple[Floats, Floats]:
    """The nodes and weights of the rule of Gauss and Lobatto on [-1, 1].

    It has both ends, so that no kink hides between an end and the first node.
    """
    polynomial: Any = np.polynomial.Legendre
    last = polynomial.basis(_POINTS - 1)
    nodes = np.concatenate([[-1.0], np.sort(last.deriv().roots().real), [1.0]])
    return nodes, 2 / (_POINTS * (_POINTS - 1) * last(nodes) ** 2)


_NODES, _WEIGHTS = _rule()


def preserving_gain(function: Elementwise) -> float:
    """1 / sqrt(E[f(z)^2]) for a standard normal z, where `function` acts on each element alone.

    The integral is by rules of Gauss and Lobatto on panels, which are halved wherever halves tell
    another value, so that kinks and jumps may lie anywhere. Slopes on both sides of 0, such as
    those of relu and leaky_relu, need no integral. Other gains are rounded to 13 digits, beyond
    which machines differ. Raises `InitializerError` if there is no such number.

    >>> preserving_gain(torch.relu) == math.sqrt(2), preserving_gain(torch.tanh)
    (True, 1.592537419723)
    """
    values = torch.tensor([*_EXACT, *(-point for point in _EXACT)], dtype=torch.float64)
    outputs = _called(function, values)
    up, down = float(outputs[0]), float(outputs[len(_EXACT)])
    if torch.equal(outputs, torch.where(values > 0, values * up, values * -down)):
        moment = (up * up + down * down) / 2
        gain = math.sqrt(2.0 / (up * up + down * down)) if moment else math.inf
        return _checked(gain, moment)
    moment, sure = _second_moment(function)
    digits = _DIGITS if sure else 6
    return _checked(float(f"{1 / math.sqrt(moment):.{digits}g}") if moment > 0 else 0.0, moment)


def _checked(gain: float, moment: float) -> float:
    if not math.isfinite(moment) or not math.isfinite(gain) or gain <= 0:
        told = "0" if moment == 0 else "not finite"
        raise InitializerError(f"the second moment of what it makes is {told}")
    return gain


def _called(function: Elementwise, values: torch.Tensor) -> torch.Tensor:
    try:
        return outputs_of(function, values)
    except ElementwiseError as error:
        raise InitializerError(str(error)) from error


def _second_moment(function: Elementwise) -> tuple[float, bool]:
    """The integral, and whether it is as exact as float64 allows."""
    edges = np.linspace(-_FARTHEST, _FARTHEST, _PANELS + 1)
    low, high = edges[:-1], edges[1:]
    whole = _panels(function, low, high)
    scale, done, made, sure = float(np.sum(whole)), 0.0, _PANELS, True
    while len(low):
        middle = (low + high) / 2
        left, right = _panels(function, low, middle), _panels(function, middle, high)
        settled = np.abs(whole - left - right) <= _SURE * max(scale, 1e-300)
        settled |= high - low < _NARROWEST
        made += 2 * int(np.count_nonzero(~settled))
        if made > _MOST_PANELS:  # noise, such as that of float32, ends nowhere
            settled[:], sure = True, False
        done += float(np.sum((left + right)[settled]))
        low, high = (
            np.concatenate([low[~settled], middle[~settled]]),
            np.concatenate([middle[~settled], high[~settled]]),
        )
        whole = np.concatenate([left[~settled], right[~settled]])
    return done, sure


def _panels(function: Elementwise, low: Floats, high: Floats) -> Floats:
    half = (high - low)[:, None] / 2
    points = (low + high)[:, None] / 2 + half * _NODES
    outputs = _called(function, torch.tensor(points.ravel())).numpy()
    values: Floats = np.reshape(outputs, points.shape)
    if not np.all(np.abs(values) < _LARGEST):
        raise InitializerError("what it makes is not finite")
    density = np.exp(-points * points / 2) / math.sqrt(2 * math.pi)
    return np.sum(values * values * density * _WEIGHTS * half, axis=1)
