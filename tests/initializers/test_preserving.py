"""Gains by integration, held against scipy's quadrature, closed forms and torch's own table."""

from __future__ import annotations

import inspect
import math
import warnings
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import IntegrationWarning, quad
from scipy.stats import norm
from torch import nn
from torch.nn.modules import activation

from initpolicy.initializers import InitializerError
from initpolicy.initializers.preserving import preserving_gain
from initpolicy.model.flow.elementwise import is_affine, is_elementwise

NOT_ELEMENTWISE = {"GLU", "MultiheadAttention", "Softmax", "Softmax2d", "Softmin", "LogSoftmax"}
ARGUMENTS = {"Threshold": (0.1, 20.0)}
KINKS = (-6.0, -3.0, -1.0, -0.5, -0.1, 0.0, 0.1, 0.5, 1.0, 3.0, 6.0)

ACTIVATIONS = [
    kind(*ARGUMENTS.get(name, ()))
    for name in activation.__all__
    if name not in NOT_ELEMENTWISE and not inspect.isabstract(kind := getattr(nn, name))
]


def by_quadrature(function: nn.Module, *kinks: float) -> float:
    """1 / sqrt(E f(z)^2) by scipy."""

    def integrand(point: float) -> float:
        value = float(function(torch.tensor([point], dtype=torch.float64)).detach())
        return value * value * norm.pdf(point)

    ends = sorted({-15.0, 15.0, *KINKS, *kinks})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IntegrationWarning)  # of the last digit
        parts = [
            quad(integrand, low, high, epsabs=1e-15, epsrel=1e-13, limit=200)[0]
            for low, high in pairwise(ends)
        ]
    return 1 / math.sqrt(math.fsum(parts))


@pytest.mark.parametrize("function", ACTIVATIONS, ids=lambda one: type(one).__name__)
def test_every_activation_of_torch_has_the_gain_of_its_integral(function) -> None:
    function = function.double().eval()
    assert preserving_gain(function) == pytest.approx(by_quadrature(function), rel=1e-11)


@given(st.floats(0, 3), st.floats(0.01, 2))
def test_arguments_count(slope, alpha) -> None:
    leaky = preserving_gain(nn.LeakyReLU(slope))
    assert leaky == math.sqrt(2 / (1 + slope**2))  # the very number, as torch computes it
    elu = nn.ELU(alpha)
    # E[(alpha (e^z - 1))^2; z < 0] by completing squares.
    below = math.exp(2) * norm.cdf(-2) - 2 * math.exp(0.5) * norm.cdf(-1) + 0.5
    assert preserving_gain(elu) == pytest.approx(1 / math.sqrt(0.5 + alpha**2 * below), rel=1e-12)


@given(st.floats(-3, -0.01), st.floats(0.01, 3))
def test_limits_may_lie_anywhere(low, high) -> None:
    gain = preserving_gain(nn.Hardtanh(low, high))
    inside = (norm.cdf(high) - high * norm.pdf(high)) - (norm.cdf(low) - low * norm.pdf(low))
    moment = inside + low**2 * norm.cdf(low) + high**2 * norm.sf(high)
    assert gain == pytest.approx(1 / math.sqrt(moment), rel=1e-11)


@given(st.floats(-3, 3), st.floats(-5, 5).filter(lambda value: abs(value) > 0.01))
def test_jumps_may_lie_anywhere(threshold, value) -> None:
    gain = preserving_gain(lambda x: value * (x > threshold).double())
    assert gain == pytest.approx(1 / (abs(value) * math.sqrt(norm.sf(threshold))), rel=1e-11)


@pytest.mark.parametrize(
    ("name", "function"),
    [("relu", nn.ReLU()), ("leaky_relu", nn.LeakyReLU()), ("linear", nn.Identity())],
)
def test_where_torch_has_the_gain_of_the_integral_it_is_the_same_number(name, function) -> None:
    assert preserving_gain(function) == nn.init.calculate_gain(name)


def test_selu_is_its_own_fixed_point_and_needs_no_gain() -> None:
    # Klambauer et al. 2017 choose its constants so that E[selu(z)^2] is 1; torch says 3/4.
    assert preserving_gain(nn.SELU()) == pytest.approx(1, abs=1e-12)
    assert nn.init.calculate_gain("selu") == 0.75


def test_gains_are_the_same_numbers_on_machines_whose_last_bits_differ() -> None:
    def noisy(x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x) * (1 + 4e-16 * torch.sign(torch.sin(1e6 * x)))

    assert preserving_gain(noisy) == preserving_gain(torch.tanh)


def test_a_function_that_computes_in_float32_ends_too() -> None:
    gain = preserving_gain(lambda x: torch.tanh(x.float()))
    assert gain == pytest.approx(preserving_gain(torch.tanh), rel=1e-5)


@pytest.mark.parametrize(
    "function",
    [
        torch.zeros_like,
        torch.log,
        lambda x: torch.exp(x * x),
        lambda x: x.sum(),
        lambda x: torch.fft.fft(x),
        lambda x: x.to("meta"),
        lambda x: 1 / 0,
    ],
)
def test_what_has_no_gain_is_an_error(function) -> None:
    with pytest.raises(InitializerError):
        preserving_gain(function)


@pytest.mark.parametrize("kind", [nn.Softmax, nn.LogSoftmax])
def test_functions_of_many_numbers_are_not_elementwise(kind) -> None:
    assert not is_elementwise(kind(-1))
    for function in (torch.cumsum, torch.flip):
        assert not is_elementwise(lambda x, f=function: f(x, (0,) if f is torch.flip else 0))


@given(st.floats(-5, 5), st.floats(-5, 5).filter(lambda value: abs(value) > 1e-3))
def test_a_line_is_affine_and_a_bent_one_is_not(addend, factor) -> None:
    assert is_affine(lambda x: factor * x + addend)
    assert not is_affine(lambda x: factor * torch.relu(x) + addend)
    assert is_elementwise(lambda x: factor * x + addend)
