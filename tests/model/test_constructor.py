"""Buffers made again by their module's constructor: the values, and what it must leave alone."""

import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from initpolicy.model import ModelError, constructor_arguments, rebuilt, recomputed


class Rotary(nn.Module):
    """Frequencies, and positions as whole numbers; counts how often it is built."""

    built = 0

    def __init__(self, dim, base=10000.0, *, scale=None, device=None):
        super().__init__()
        type(self).built += 1
        self.dim, self.base, self.scale = dim, base, scale or {"factor": 1}
        frequencies = base ** -(torch.arange(0, dim, 2, device=device) / dim)
        self.register_buffer("inv_freq", frequencies / self.scale["factor"], persistent=False)
        self.register_buffer("index", torch.arange(dim, device=device))
        self.scale["factor"] += 100  # a constructor that changes what it is given


class Layer(nn.Module):
    """A mask beside parameters and children that draw."""

    def __init__(self, width, bias=True, **kwargs):
        super().__init__()
        self.width = width
        self.fc = nn.Linear(width, width, bias)
        self.bias = nn.Parameter(torch.randn(width)) if bias else None
        self.register_buffer("mask", torch.ones(width, width).tril())


class Handing(Rotary):
    def __init__(self, shift, **kwargs):
        super().__init__(**kwargs)
        self.shift = shift
        self.inv_freq += shift


def on_meta(kind, *args, **kwargs):
    with torch.device("meta"):
        return kind(*args, **kwargs)


@given(
    half=st.integers(0, 8),
    base=st.floats(2, 1e6),
    factor=st.integers(1, 9),
    names=st.sets(st.sampled_from(["inv_freq", "index"])),
)
def test_a_meta_module_gets_what_a_real_one_has(half, base, factor, names):
    given_scale = {"factor": factor}
    real = Rotary(2 * half, base, scale={"factor": factor})
    meta = on_meta(Rotary, 2 * half, base, scale=given_scale)
    # What the constructor did to its argument is part of the attribute.
    meta.scale["factor"] = real.scale["factor"] = factor
    found = recomputed(meta, names)
    assert set(found) == names
    for name in names:
        assert torch.equal(found[name], getattr(real, name))
        assert found[name].dtype == getattr(real, name).dtype
    assert meta.scale == {"factor": factor}


def test_two_buffers_are_built_once():
    module = on_meta(Rotary, 8)
    module.scale["factor"] = 1
    before = Rotary.built
    recomputed(module, ["inv_freq", "index"])
    assert Rotary.built == before + 1


def test_defaults_and_arguments_that_are_handed_on():
    module = on_meta(Handing, 0.5, dim=6, base=3.0)
    assert constructor_arguments(module) == {
        "shift": 0.5,
        "dim": 6,
        "base": 3.0,
        "scale": module.scale,
        "device": torch.device("cpu"),
    }
    module.scale["factor"] = 1
    expected = Handing(0.5, dim=6, base=3.0).inv_freq
    assert torch.equal(recomputed(module, ["inv_freq"])["inv_freq"], expected)


def test_what_a_module_made_under_an_arguments_name_is_no_argument():
    assert constructor_arguments(Layer(3)) == {"width": 3}
    assert constructor_arguments(nn.Linear(2, 3)) == {
        "in_features": 2,
        "out_features": 3,
        "device": torch.device("cpu"),
    }


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_types_are_the_float32_values_rounded_once(dtype):
    exact = Rotary(64).inv_freq
    module = on_meta(Rotary, 64).to(dtype)
    module.scale["factor"] = 1
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        found = recomputed(module, ["inv_freq"])["inv_freq"]
    finally:
        torch.set_default_dtype(before)
    assert found.dtype == dtype
    assert torch.equal(found, exact.to(dtype))


def test_nothing_around_is_touched():
    module = Layer(4)
    weights = {name: value.clone() for name, value in module.state_dict().items()}
    torch.manual_seed(7)
    random.seed(7)
    np.random.seed(7)
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()
    try:
        torch.set_default_device("meta")
        again = rebuilt(module)
        found = recomputed(module, ["mask"])
        assert torch.get_default_device().type == "meta"
    finally:
        torch.set_default_device(None)
    assert found["mask"].device.type == again.mask.device.type == "cpu"
    assert torch.equal(found["mask"], module.mask)
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1] == random.getstate()
    assert states[2][2] == np.random.get_state()[2]
    assert (states[2][1] == np.random.get_state()[1]).all()
    assert torch.get_default_dtype() == torch.float32
    for name, value in module.state_dict().items():
        assert torch.equal(value, weights[name])
    assert nn.Linear(2, 2).weight.device.type == "cpu"  # parameters have memory again


def test_parameters_get_no_memory():
    class Wide(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.width = width
            self.fc = nn.Linear(width, width)
            self.register_buffer("index", torch.arange(4))

    again = rebuilt(on_meta(Wide, 10))
    assert again.fc.weight.is_meta
    assert not again.index.is_meta


def test_a_buffer_that_follows_from_a_parameter_has_memory():
    class Doubled(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.width = width
            self.weight = nn.Parameter(torch.full((width,), 3.0))
            self.register_buffer("twice", 2 * self.weight.detach())

    assert recomputed(on_meta(Doubled, 2), ["twice"])["twice"].tolist() == [6, 6]


def test_parametrized_modules_are_rebuilt_as_what_they_were():
    module = nn.utils.parametrizations.weight_norm(nn.BatchNorm1d(3), "weight")
    again = rebuilt(module)
    assert type(again) is nn.BatchNorm1d
    assert recomputed(module, ["running_var"])["running_var"].tolist() == [1, 1, 1]


class NoWidth(nn.Module):
    def __init__(self, dim, width, *, bias):
        super().__init__()
        self.dim = dim
        self.register_buffer("x", torch.zeros(dim))


class Halving(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.dim = dim // 2
        self.register_buffer("x", torch.zeros(dim))


class Failing(nn.Module):
    def __init__(self, dim):
        super().__init__()
        if dim < 0:
            raise ValueError("dim is negative")
        self.dim = -dim
        self.register_buffer("x", torch.zeros(dim))


class Random(nn.Module):
    def __init__(self, draw):
        super().__init__()
        self.draw = draw
        self.register_buffer("x", draw(5))
        self.register_buffer("y", torch.arange(5))


class Growing(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.dim = dim
        self.register_buffer("x", torch.zeros(dim))

    def grow(self):
        self.register_buffer("x", torch.zeros(9, dtype=torch.int64))
        self.register_buffer("y", torch.zeros(9))
        return self


WAYS = 'write a `formula` or an initializer for the buffer, or "keep"'


@pytest.mark.parametrize(
    ("module", "names", "told"),
    [
        (
            NoWidth(2, 3, bias=1),
            ["x"],
            "NoWidth cannot be built again: its constructor asks for `width`, `bias`, and the "
            "module keeps no attribute of those names",
        ),
        (
            Halving(4),
            ["x"],
            "Halving cannot be built again: given `dim` as 2, it keeps 1, so the attribute is not "
            "the argument",
        ),
        (
            Failing(4),
            ["x"],
            "Failing cannot be built again from its attributes (dim): ValueError: dim is negative",
        ),
        (
            Growing(2).grow(),
            ["x", "y"],
            "Growing, built again from its attributes: `x` comes out as (2,), not (9,); "
            "it makes no buffer `y`",
        ),
        (
            Growing(9).grow(),
            ["x"],
            "Growing, built again from its attributes: `x` comes out as torch.float32, not "
            "torch.int64",
        ),
    ],
)
def test_what_cannot_be_rebuilt(module, names, told):
    with pytest.raises(ModelError) as caught:
        recomputed(module, names)
    assert (caught.value.message, caught.value.hint) == (told, WAYS)


@pytest.mark.parametrize(
    "draw",
    [
        torch.randn,
        lambda n: torch.tensor([random.random() for _ in range(n)]),
        lambda n: torch.from_numpy(np.random.rand(n)),
    ],
)
def test_what_is_drawn_is_not_recomputed(draw):
    module = Random(draw)
    with pytest.raises(ModelError) as caught:
        recomputed(module, ["x", "y"])
    assert caught.value.message == "the constructor of Random draws `x` at random"
    assert caught.value.hint == "write an initializer for it, so that it follows from the seed"
    assert recomputed(module, ["y"])["y"].tolist() == [0, 1, 2, 3, 4]
