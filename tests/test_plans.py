"""Plans as data, and what is said of data that is no plan."""

import dataclasses
import json

import pytest
from torch import nn

import initpolicy
from initpolicy import InitPolicyError, Plan
from initpolicy.policy import parse

POLICY = parse(
    'format = 1\ntitle = "T"\n[vars]\na = 2\n[[rule]]\nnote = "n"\n'
    'init.weight = { fn = "constant", val = "a" }\ninit.bias = "keep"',
    "x.toml",
)


def test_a_plan_prints_what_it_decided():
    plan = initpolicy.plan(nn.Linear(2, 3), POLICY, seed=5)
    assert str(plan) == (
        "T, seed 5: 1 tensors filled, 1 left as they are\n"
        "  weight [3, 2] float32: 2\n"
        "  bias [3] float32: left as it is"
    )
    assert [d.name for d in plan.filled] == ["weight"]
    assert len(plan) == 2
    with pytest.raises(KeyError):
        plan["nothing"]


def test_a_plan_says_what_a_constructor_recomputes():
    policy = parse(
        'format = 1\n[[rule]]\nbuffer.running_var = { recompute = "constructor" }\n'
        'init."*" = 1\nbuffer.running_mean = "keep"\nbuffer.num_batches_tracked = 0'
    )
    plan = initpolicy.plan(nn.BatchNorm1d(2, device="meta"), policy)
    assert str(plan) == (
        "<policy>, seed 0: 3 tensors filled, 1 recomputed, 1 left as they are\n"
        "  weight [2] float32: 1\n"
        "  bias [2] float32: 1\n"
        "  running_mean [2] float32: left as it is\n"
        "  running_var [2] float32: recomputed by the constructor of BatchNorm1d\n"
        "  num_batches_tracked [] int64: 0"
    )
    assert [d.name for d in plan.recomputed] == ["running_var"]
    assert [d.name for d in plan.filled] == ["weight", "bias", "num_batches_tracked"]
    assert [d.name for d in plan if not d.gives_values] == ["running_mean"]
    assert plan["running_var"].winner.initializer == 'recompute = "constructor"'
    assert Plan.from_json(json.dumps(plan.to_json())) == plan


def test_a_plan_in_json_is_readable():
    plan = initpolicy.plan(nn.Linear(2, 3), POLICY, seed=5)
    assert plan.to_json() == {
        "plan": 1,
        "draws": 1,
        "policy": "x.toml",
        "title": "T",
        "source": "",
        "seed": 5,
        "variables": {"a": 2.0},
        "decisions": [
            {
                "name": "weight",
                "kind": "parameter",
                "shape": [3, 2],
                "dtype": "float32",
                "module_type": "Linear",
                "law": {"kind": "constant", "value": 2.0},
                "winner": {
                    "rule": '"n"',
                    "initializer": "constant(val=a)",
                    "file": "x.toml",
                    "line": 7,
                },
                "losers": [],
                "aliases": [],
                "stream": "",
                "persistent": True,
                "recompute": "",
            },
            {
                "name": "bias",
                "kind": "parameter",
                "shape": [3],
                "dtype": "float32",
                "module_type": "Linear",
                "law": None,
                "winner": {"rule": '"n"', "initializer": "keep", "file": "x.toml", "line": 8},
                "losers": [],
                "aliases": [],
                "stream": "",
                "persistent": True,
                "recompute": "",
            },
        ],
        "steps": [],
        "warnings": [],
    }
    assert Plan.from_json(json.dumps(plan.to_json())) == plan


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda data: data | {"plan": 2}, "ValueError: it has version 2, and this program reads 1"),
        (lambda data: data | {"draws": 9}, "ValueError: it has draws 9, and this program makes 1"),
        (lambda data: data | {"seed": "0"}, "TypeError: '0' is no whole number"),
        (lambda data: {"plan": 1, "draws": 1}, "KeyError: 'decisions'"),
        (lambda data: [], "TypeError: list indices must be integers or slices, not str"),
        (
            lambda data: data | {"decisions": data["decisions"] * 2},
            "ValueError: two decisions are on tensors of one name",
        ),
        (
            lambda data: data | {"decisions": [data["decisions"][0] | {"kind": "layer"}]},
            "ValueError: a tensor is a parameter or a buffer, not 'layer'",
        ),
        (
            lambda data: data | {"decisions": [data["decisions"][1] | {"recompute": "me"}]},
            "ValueError: a constructor recomputes, not 'me'",
        ),
        (
            lambda data: (
                data | {"decisions": [data["decisions"][1] | {"recompute": "constructor"}]}
            ),
            "ValueError: what is recomputed is a buffer that follows no law",
        ),
    ],
)
def test_what_is_no_plan(change, told):
    data = change(initpolicy.plan(nn.Linear(2, 3), POLICY).to_json())
    with pytest.raises(InitPolicyError) as caught:
        Plan.from_json(data, file="plan.json")
    assert str(caught.value) == (
        f"plan.json: IP302 this is not a plan: {told}; "
        "write one with `initpolicy plan MODEL POLICY --output json`"
    )


def test_text_that_is_no_json():
    with pytest.raises(InitPolicyError, match="IP302 this is not a plan: JSONDecodeError"):
        Plan.from_json("{")
    with pytest.raises(InitPolicyError, match="IP302 this is not a plan: RecursionError"):
        Plan.from_json("[" * 100_000)


def test_a_changed_decision_is_a_decision_of_its_own():
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(5, 2))
    first, *_, last = initpolicy.plan(model, "torch")
    other = first.changed(name=last.name, shape=(7,))
    assert other == dataclasses.replace(first, name=last.name, shape=(7,))
    assert other.to_json() == {**first.to_json(), "name": last.name, "shape": [7]}
    assert (first.name, first.shape) == ("0.weight", (2, 3))
    with pytest.raises(dataclasses.FrozenInstanceError):
        other.name = "else"
