"""Stages of a pipeline: the values of the whole model, whatever their layers are called."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import initpolicy
from initpolicy import InitPolicyError
from initpolicy.policy import parse

POLICY = parse(
    """
format = 1
[vars]
n_layer = { count = "**.layers.<i>" }
first = { count = "**.layers.0", default = 0 }

[[rule]]
type = "Embedding"
init.weight = { fn = "normal", std = 1 }

[[rule]]
type = "Linear"
name = "**.layers.<i>.**"
init.weight = { fn = "normal", std = "0.02 / sqrt(2 * n_layer) + i" }
init.bias = { fn = "uniform", a = "-i - 1", b = 0 }

[[rule]]
name = "model.norm"
init."*" = { fn = "uniform", a = 1, b = 2 }
""",
    "x.toml",
)


def whole(layers: int = 4) -> nn.Module:
    blocks = [nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3)) for _ in range(layers)]
    parts = {"embed": nn.Embedding(5, 3), "layers": nn.ModuleList(blocks), "norm": nn.LayerNorm(3)}
    return nn.ModuleDict({"model": nn.ModuleDict(parts)})


@given(
    layers=st.integers(1, 5),
    cut=st.tuples(st.integers(0, 5), st.integers(0, 5)).map(sorted),
    given_index=st.booleans(),
    outer=st.booleans(),
)
def test_a_stage_draws_what_the_whole_model_draws(layers, cut, given_index, outer):
    start, stop = (min(one, layers) for one in cut)
    model = whole(layers)
    initpolicy.apply(model, POLICY, seed=3)
    expected = model.state_dict()
    blocks = [copy.deepcopy(block) for block in model.model.layers[start:stop]]
    kept = nn.ModuleDict({str(start + k): block for k, block in enumerate(blocks)})
    stage = nn.ModuleDict({"layers": nn.ModuleList(blocks) if given_index else kept})
    if start == 0:
        stage["embed"] = nn.Embedding(5, 3)
    if stop == layers:
        stage["norm"] = nn.LayerNorm(3)
    names = {"": "model"}
    if not outer:
        stage, names = nn.ModuleDict({"model": stage}), {}
    inside = "layers" if outer else "model.layers"
    if given_index:
        names |= {f"{inside}.{k}": f"model.layers.{start + k}" for k in range(len(blocks))}
    with torch.no_grad():
        for parameter in stage.parameters():
            parameter.fill_(torch.nan)
    plan = initpolicy.apply(stage, POLICY, seed=3, vars={"n_layer": layers}, rename=names)
    assert {name: plan.by_name[name].law for name in plan.by_name} == {
        name: decision.law
        for name, decision in initpolicy.plan(model, POLICY, seed=3).by_name.items()
        if name in plan.by_name
    }
    for decision, tensor in zip(plan, stage.parameters(), strict=True):
        assert torch.equal(tensor, expected[decision.name]), decision


def test_a_count_on_a_part_asks_for_the_number():
    stage = whole(2)
    with pytest.raises(InitPolicyError) as caught:
        initpolicy.plan(stage, POLICY, rename={"model.layers.0": "model.layers.2"})
    assert (
        "IP205 rule type Linear, name **.layers.<i>.**: `init.weight`, for "
        "model.layers.2.0.weight, model.layers.2.2.weight, model.layers.1.0.weight and 1 more: "
        "variable `n_layer` counts modules of the whole model, and this is a part of it; "
        "pass the number, such as "
        '`vars={"n_layer": 32}`'
    ) in str(caught.value)
    initpolicy.plan(stage, POLICY, rename={}, vars={"n_layer": 2})


def test_a_stage_that_kept_its_numbers_is_noticed():
    stage = whole(4)
    layers = stage.model.layers
    stage.model.layers = nn.ModuleDict({str(k): layers[k] for k in (2, 3)})
    with pytest.raises(InitPolicyError) as caught:
        initpolicy.plan(stage, POLICY)
    assert (
        "variable `n_layer`: `**.layers.<i>` matches 2 modules, and there is no model.layers.0, "
        "so this seems to be a part of a model; pass the number of the whole, such as "
        '`vars={"n_layer": 32}`'
    ) in str(caught.value)
    initpolicy.plan(stage, POLICY, vars={"n_layer": 4})


def test_lists_with_other_modules_between_are_whole():
    policy = parse(
        'format = 1\n[vars]\nn = { count = "layers.<i>.attn" }\n[[rule]]\n'
        'init."*" = { fn = "constant", val = "n" }'
    )
    blocks = [nn.ModuleDict({kind: nn.Linear(1, 1)}) for kind in ("mlp", "attn", "mlp", "attn")]
    model = nn.ModuleDict({"layers": nn.ModuleList(blocks)})
    assert initpolicy.plan(model, policy).variables == {"n": 2}


def test_rules_that_a_part_has_no_use_for_are_warnings():
    stage = nn.ModuleDict({"layers": nn.ModuleList([nn.Linear(2, 2)])})
    options = {"rename": {"": "model"}, "vars": {"n_layer": 1}}
    plan = initpolicy.plan(stage, POLICY, **options)
    assert [(warning.code, warning.severity) for warning in plan.warnings] == [
        ("IP202", "warning"),
        ("IP202", "warning"),
    ]
    with pytest.raises(InitPolicyError, match="IP202"):
        initpolicy.plan(nn.ModuleDict({"model": stage}), POLICY)


def test_rules_see_the_class_of_a_module_that_shares_its_name():
    """A wrapper that is renamed away leaves its name to what it wraps."""

    class Wrapper(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.zeros(2))
            self.model = nn.Linear(2, 2)

    policy = parse(
        'format = 1\n[[rule]]\ntype = "Wrapper"\nname = ""\ninit."*" = 1\n'
        '[[rule]]\ntype = "Linear"\nname = ""\ninit."*" = 2\n'
        '[[rule]]\nwithin = "Wrapper"\noptional = true\ninit."*" = 3'
    )
    plan = initpolicy.plan(Wrapper(), policy, rename={"model": ""})
    assert [str(decision) for decision in plan] == [
        "scale [2] float32: 1",
        "weight [2, 2] float32: 2",
        "bias [2] float32: 2",
    ]


def test_every_error_of_a_renaming_is_told():
    with pytest.raises(InitPolicyError) as caught:
        initpolicy.apply(nn.Linear(2, 2), "torch", rename={"x": "y", "weight": "z"})
    assert str(caught.value) == (
        "IP219 `rename`: nothing in the model is called `x`; write dotted names of modules or "
        "tensors, of this model and of the whole one\n"
        "IP219 `rename`: the tensor `weight` cannot become `z`; the last part of a tensor's name "
        "stays, since rules go by it"
    )
