"""`[[calibrate]]` of modules and tensors with several names, or computed from one another."""

from __future__ import annotations

import json
import threading

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

import initpolicy
from initpolicy import InitPolicyError
from initpolicy.plans import Plan
from initpolicy.policy import parse

DRAWS = """
format = 1
[[rule]]
init.weight = { fn = "normal", std = 0.02 }
init.bias = 0
"""

STEPS = ["lsuv", "weight_norm_data"]


def policy(fn: str, name: str):
    return parse(f'{DRAWS}[[calibrate]]\nfn = "{fn}"\nname = "{name}"\n', "x.toml")


def data() -> torch.Tensor:
    return torch.randn(256, 8, generator=torch.Generator().manual_seed(0))


class Two(nn.Module):
    """Two layers, one after the other."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.a, self.b = first, second

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(torch.tanh(self.a(x)))


def shared() -> Two:
    layer = nn.Linear(8, 8)
    return Two(layer, layer)


def shared_with_weight_norm() -> Two:
    layer = weight_norm(nn.Linear(8, 8))
    return Two(layer, layer)


def tied() -> Two:
    model = Two(nn.Linear(8, 8), nn.Linear(8, 8))
    model.b.weight = model.a.weight
    return model


def tied_originals(*names: str) -> Two:
    model = Two(weight_norm(nn.Linear(8, 8)), weight_norm(nn.Linear(8, 8)))
    for name in names:
        own = model.a.parametrizations.weight
        setattr(model.b.parametrizations.weight, name, getattr(own, name))
    return model


MODELS = {
    "a module": shared,
    "a module with weight norm": shared_with_weight_norm,
    "a weight": tied,
    "what weights are computed from": lambda: tied_originals("original0", "original1"),
}


@pytest.mark.parametrize("fn", STEPS)
@pytest.mark.parametrize("build", MODELS.values(), ids=MODELS)
def test_what_is_changed_under_any_name_is_in_the_step(build, fn: str) -> None:
    drawn, model = build(), build()
    initpolicy.apply(drawn, parse(DRAWS, "x.toml"))
    plan = initpolicy.apply(model, policy(fn, "a"), data=data())
    (step,) = plan.steps
    assert all(plan[name].name == name for name in step.tensors)
    assert len(set(step.tensors)) == len(step.tensors)
    drawn_values = {name: getattr_path(drawn, name) for name in plan.by_name}
    changed = {
        plan[name].name
        for name, before in drawn_values.items()
        if not torch.equal(before, getattr_path(model, name))
        and plan[name].law is not None  # others are left as they were built
    }
    assert changed
    assert changed <= set(step.tensors)
    assert initpolicy.verify(model, plan).ok
    assert initpolicy.verify(model, plan, exact=False).ok
    assert Plan.from_json(json.dumps(plan.to_json())) == plan


def getattr_path(model: nn.Module, name: str) -> torch.Tensor:
    for part in name.split("."):
        model = getattr(model, part)
    return model.detach().clone()


@pytest.mark.parametrize("fn", STEPS)
@pytest.mark.parametrize("build", MODELS.values(), ids=MODELS)
def test_with_the_data_all_names_are_verified(build, fn: str) -> None:
    model = build()
    plan = initpolicy.apply(model, policy(fn, "a"), data=data())
    verdict = initpolicy.verify(model, plan, data=data())
    assert verdict.ok, str(verdict)
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.mul_(1.5)
    assert not initpolicy.verify(model, plan, data=data()).ok


@pytest.mark.parametrize("name", ["original0", "original1"])
def test_a_part_of_another_weight_alone(name: str) -> None:
    """The weight of `b` is not what was drawn, once half of what it is computed from is changed."""
    step = initpolicy.plan(tied_originals(name), policy("lsuv", "a")).steps[0]
    assert step.tensors == (
        "a.weight",
        "a.parametrizations.weight.original0",
        "a.parametrizations.weight.original1",
        "b.weight",
    )


def test_results_name_layers_as_the_step_does() -> None:
    (step,) = initpolicy.apply(shared(), policy("lsuv", "**"), data=data()).steps
    assert step.layers == ("a",)
    (told,) = step.results
    assert told.startswith("a: ")


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_model_that_was_run_is_verified_with_the_data() -> None:
    """The older weight norm keeps what it computed, with its graph, which torch does not copy."""
    model = Two(nn.utils.weight_norm(nn.Linear(8, 8)), nn.Linear(8, 8))
    plan = initpolicy.apply(model, policy("weight_norm_data", "a"), data=data())
    model(data())
    graph = model.a.weight.grad_fn
    verdict = initpolicy.verify(model, plan, data=data())
    assert verdict.ok, str(verdict)
    assert model.a.weight.grad_fn is graph
    with torch.no_grad():
        model.a.weight_g.mul_(1.5)
    model(data())
    assert not initpolicy.verify(model, plan, data=data()).ok


def test_a_model_that_cannot_be_copied_says_so() -> None:
    model = tied()
    plan = initpolicy.apply(model, policy("lsuv", "a"), data=data())
    model.lock = threading.Lock()
    with pytest.raises(InitPolicyError) as caught:
        initpolicy.verify(model, plan, data=data())
    assert str(caught.value) == (
        "IP601 a copy of the model is to be calibrated, and it cannot be copied: cannot pickle "
        "'_thread.lock' object; leave out `data`; what the steps changed is then not judged"
    )


def test_a_model_made_in_inference_mode_is_refused_before_anything_is_written() -> None:
    with torch.inference_mode():
        model = tied()
    before = [tensor.clone() for tensor in model.parameters()]
    with pytest.raises(InitPolicyError, match=r"IP775 step lsuv, .*made in inference mode"):
        initpolicy.apply(model, policy("lsuv", "a"), data=data())
    assert all(map(torch.equal, model.parameters(), before))


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_apply_and_verify_are_called_in_any_mode_of_autograd(mode) -> None:
    model, other = tied_originals(), tied_originals()
    initpolicy.apply(other, policy("weight_norm_data", "a"), data=data())
    with mode():
        plan = initpolicy.apply(model, policy("weight_norm_data", "a"), data=data())
        assert initpolicy.verify(model, plan, data=data()).ok
    assert torch.equal(model.a.weight, other.a.weight)


class Mixed(Two):
    """Calculates in bfloat16."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return super().forward(x)


@pytest.mark.parametrize("fn", STEPS)
@pytest.mark.parametrize("kind", [Two, Mixed])
def test_weights_that_autocast_has_converted_are_converted_again(kind, fn: str) -> None:
    model = kind(nn.Linear(8, 64), nn.Linear(64, 8))
    with torch.autocast("cpu", torch.bfloat16):
        initpolicy.apply(model, policy(fn, "*"), data=data())
        assert torch.is_autocast_cache_enabled()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        outputs = model.a(data()), model(data())
    for output in outputs:
        assert abs(output.float().var(correction=0).item() - 1) < 0.1


def test_a_step_that_fails_leaves_the_steps_before_it() -> None:
    """The second step finds the outputs of `b` constant: they do not depend on `a`."""
    text = """
format = 1
[[rule]]
init."*" = 0
[[rule]]
name = "a"
init.weight = "orthogonal"
[[calibrate]]
fn = "lsuv"
name = "a"
[[calibrate]]
fn = "lsuv"
name = "b"
"""
    one, two = (Two(nn.Linear(8, 8), nn.Linear(8, 8)) for _ in range(2))
    first, _, _ = text.rpartition("[[calibrate]]")
    initpolicy.apply(one, parse(first, "x.toml"), data=data())
    with pytest.raises(InitPolicyError, match="IP774 step lsuv, name b"):
        initpolicy.apply(two, parse(text, "x.toml"), data=data())
    assert initpolicy.digest(one) == initpolicy.digest(two)
