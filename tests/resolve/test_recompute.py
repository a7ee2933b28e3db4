"""Buffers that policies leave to constructors: what is planned, what comes out, what is said."""

import pytest
import torch
from torch import nn

import initpolicy
from initpolicy import InitPolicyError
from initpolicy.policy import parse
from initpolicy.resolve import read_model, recompute

POLICY = parse(
    'format = 1\n[[rule]]\ntype = "Rotary"\n'
    'buffer."*" = { recompute = "constructor" }\n'
    '[[rule]]\noptional = true\nwhere = "numel == 6"\nbuffer.index = 0',
    "x.toml",
)


class Rotary(nn.Module):
    built = 0

    def __init__(self, dim, base=10000.0):
        super().__init__()
        type(self).built += 1
        self.dim, self.base = dim, base
        self.register_buffer("inv_freq", base ** -(torch.arange(0, dim, 2) / dim))
        self.register_buffer("index", torch.arange(dim))


def test_each_module_has_its_own_values_and_is_built_once():
    with torch.device("meta"):
        model = nn.Sequential(Rotary(8), nn.Sequential(Rotary(6, 3.0)))
    shared = model[1][0]
    model.append(shared)
    plan = initpolicy.plan(model, POLICY)
    assert [(d.name, d.recompute) for d in plan] == [
        ("0.inv_freq", "constructor"),
        ("0.index", "constructor"),
        ("1.0.inv_freq", "constructor"),
        ("1.0.index", ""),  # the later rule wins
    ]
    before = Rotary.built
    values = recompute(plan, read_model(model))
    assert Rotary.built == before + 2
    assert {name: value.tolist() for name, value in values.items()} == {
        "0.inv_freq": Rotary(8).inv_freq.tolist(),
        "0.index": list(range(8)),
        "1.0.inv_freq": Rotary(6, 3.0).inv_freq.tolist(),
    }
    assert all(tensor.is_meta for tensor in model.buffers())


def test_a_module_that_does_not_keep_its_arguments_is_an_error_of_the_plan():
    model = nn.Sequential(Rotary(8), Rotary(4))
    del model[0].dim
    with pytest.raises(InitPolicyError) as caught:
        initpolicy.plan(model, POLICY)
    assert str(caught.value) == (
        "x.toml:4: IP218 rule type Rotary: `buffer.*`, for 0.inv_freq, 0.index: Rotary cannot be "
        "built again: its constructor asks for `dim`, and the module keeps no attribute of that "
        'name; write a `formula` or an initializer for the buffer, or "keep"'
    )


def test_every_module_that_comes_out_otherwise_is_told():
    model = nn.Sequential(Rotary(8), Rotary(4), nn.Linear(1, 1))
    plan = initpolicy.plan(model[:2], POLICY)
    model[0].dim, model[1].base = 6, "x"
    with pytest.raises(InitPolicyError) as caught:
        recompute(plan, read_model(model[:2]))
    first, second = caught.value.problems
    assert (first.code, first.message) == (
        "IP218",
        "0: Rotary, built again from its attributes: `inv_freq` comes out as (3,), not (4,); "
        "`index` comes out as (6,), not (8,)",
    )
    assert second.message.startswith(
        "1: Rotary cannot be built again from its attributes (dim, base): TypeError: "
    )


def test_a_buffer_that_is_computed_is_no_buffer_of_the_constructor():
    model = Rotary(4)
    nn.utils.parametrize.register_parametrization(model, "inv_freq", nn.Identity())
    with pytest.raises(InitPolicyError) as caught:
        initpolicy.plan(model, POLICY)
    assert str(caught.value) == (
        "x.toml:4: IP218 rule type Rotary: `buffer.*`, for inv_freq: it is computed by Identity, "
        "and is no buffer of its own"
    )
