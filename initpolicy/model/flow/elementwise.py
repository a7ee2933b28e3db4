"""Functions of one number, as activations are."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch

Elementwise = Callable[[torch.Tensor], torch.Tensor]


class ElementwiseError(ValueError):
    """A function does not give a real number for each number; the message says what it does."""


def outputs_of(function: Elementwise, values: torch.Tensor) -> torch.Tensor:
    """The outputs, one for each value, as float64; raises `ElementwiseError` for anything else."""
    try:
        with torch.no_grad():
            outputs = cast("object", function(values.clone()))
    except Exception as error:  # whatever a function of the model does with a row of numbers
        raise ElementwiseError(f"it fails on a row of numbers: {error}") from error
    if not isinstance(outputs, torch.Tensor) or outputs.numel() != values.numel():
        raise ElementwiseError("it does not give a number for each number")
    if outputs.is_meta or outputs.is_complex():
        raise ElementwiseError("it gives no real numbers")
    return outputs.detach().reshape(values.shape).to(torch.float64)


def is_elementwise(function: Elementwise) -> bool:
    """Whether a function gives a number for each number, whatever stands beside it.

    >>> is_elementwise(torch.tanh), is_elementwise(lambda x: torch.softmax(x, -1))
    (True, False)
    """
    order = [5, 0, 3, 6, 1, 4, 2]
    values = torch.tensor([-2.3, -1.1, -0.4, 0.2, 0.7, 1.9, 3.1], dtype=torch.float64)
    try:
        whole = outputs_of(function, values)
        turned = outputs_of(function, values[order])
        part = outputs_of(function, values[2:5])
    except ElementwiseError:
        return False
    return _close(whole[order], turned) and _close(whole[2:5], part)


def _close(one: torch.Tensor, other: torch.Tensor) -> bool:
    return torch.allclose(one, other, rtol=1e-6, atol=1e-9, equal_nan=True)


def is_affine(function: Elementwise) -> bool:
    """Whether an elementwise function is a factor and a number that is added.

    >>> is_affine(lambda x: 3 * x + 1), is_affine(torch.relu)
    (True, False)
    """
    values = torch.linspace(-9, 9, 37, dtype=torch.float64)
    outputs = outputs_of(function, values)
    line = outputs[0] + (outputs[-1] - outputs[0]) * (values - values[0]) / 18
    return torch.allclose(outputs, line, rtol=1e-6, atol=1e-9 * float(outputs.abs().max()))
