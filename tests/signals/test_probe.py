"""Probes of whole models, against theory and against hooks that these tests hang up themselves."""

from __future__ import annotations

import json
import math
import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

import initpolicy
from initpolicy.problems import InitPolicyError
from initpolicy.signals import Limits


def chain(activation: type[nn.Module], depth: int = 20, width: int = 200) -> nn.Sequential:
    layers = [(nn.Linear(width, width), activation()) for _ in range(depth)]
    return nn.Sequential(*(module for pair in layers for module in pair))


def codes(found: initpolicy.signals.Probe) -> set[str]:
    return {finding.code for finding in found.findings}


def test_kaiming_keeps_the_second_moment_of_relu_and_half_of_it_is_zero(policy) -> None:
    found = initpolicy.probe(chain(nn.ReLU), policy('"kaiming_normal"'), input=(64, 200), draws=4)
    assert found.ok
    # Each layer's factor has a standard deviation of about sqrt(5 / (4 * 200)) here.
    assert found.forwards.low < 1.02
    assert found.forwards.high > 0.98
    assert found.forwards.factor == pytest.approx(1, abs=0.05)
    assert found["0"].rms == pytest.approx(math.sqrt(2), rel=0.05)
    assert found["1"].zeros == pytest.approx(0.5, abs=0.05)
    assert found["1"].saturated == pytest.approx(found["1"].zeros, abs=1e-6)
    assert found["1"].mean == pytest.approx(math.sqrt(2) / math.sqrt(2 * math.pi), rel=0.05)


def test_xavier_halves_the_variance_of_each_layer_of_relu(policy) -> None:
    model = chain(nn.ReLU, depth=32)
    found = initpolicy.probe(model, policy('"xavier_normal"'), input=(64, 200), draws=4)
    assert found.forwards.factor**2 == pytest.approx(0.5, rel=0.06)
    assert found.backwards.factor**2 == pytest.approx(0.5, rel=0.06)
    assert codes(found) == {"IP762"}  # 2 ** -16 of the first layer's
    assert found.findings[-1].name == "63 (relu)"


def test_parameters_of_0_0042_die(policy) -> None:
    model = chain(nn.ReLU, depth=10, width=40)  # each layer multiplies by 40 * 0.0042
    found = initpolicy.probe(model, policy("0.0042"), input=(64, 40), draws=1)
    assert "IP762" in codes(found)
    assert found["4"].rms / found["2"].rms == pytest.approx(40 * 0.0042, rel=1e-4)


def test_large_weights_saturate_tanh(policy) -> None:
    found = initpolicy.probe(
        chain(nn.Tanh, depth=3), policy('{ fn = "normal", std = 1 }'), input=(64, 200), draws=1
    )
    assert "IP761" in codes(found)
    # |tanh'| < 0.05 outside of 2.178; what comes in is normal with variance 200.
    outside = math.erfc(math.atanh(math.sqrt(0.95)) / math.sqrt(200) / math.sqrt(2))
    assert found["1"].saturated == pytest.approx(outside, abs=0.02)


def test_dead_units(policy) -> None:
    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 3)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            shift = torch.tensor([-100.0] * 2 + [0.0] * 6).view(8, 1, 1)
            return F.relu(self.conv(images) + shift)

    found = initpolicy.probe(Shifted(), policy('"kaiming_normal"'), input=(4, 3, 9, 9), draws=2)
    (relu,) = [layer for layer in found.layers if layer.function == "relu"]
    assert relu.dead == pytest.approx(0.25)
    assert found["conv"].dead is None


class Functional(nn.Module):
    """Activations as functions, methods and operators, some in place and some twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(12, 16)
        self.second = nn.Linear(16, 16)
        self.table = nn.Embedding(30, 16)
        self.scale = nn.Parameter(torch.ones(16, 16))
        self.drop = nn.Dropout(0.5)

    def forward(self, values: torch.Tensor, ids: torch.Tensor) -> dict[str, torch.Tensor]:
        x = F.relu_(self.first(values)) + self.table(ids)
        x = F.gelu(self.second(x), approximate="tanh")
        x = torch.sigmoid(self.drop(x)).tanh()
        x = F.relu(x @ self.scale.t())
        return {"out": F.silu(x), "count": ids}


def test_functions_are_seen_in_the_module_that_calls_them() -> None:
    given = ["values=9,12", "ids=9:int64"]
    found = initpolicy.probe(Functional(), _uniform(), input=given, draws=1)
    seen = [(layer.name, layer.function, layer.kind) for layer in found.layers]
    assert seen == [
        ("first", "linear", "weights"),
        ("", "relu", "activation"),
        ("table", "embedding", "weights"),
        ("second", "linear", "weights"),
        ("", "gelu", "activation"),
        ("", "sigmoid", "activation"),
        ("", "tanh", "activation"),
        ("", "matmul", "weights"),
        (" #2", "relu", "activation"),
        ("", "silu", "activation"),
    ]


def _uniform() -> initpolicy.Policy:
    from initpolicy.policy import parse

    return parse('format = 1\n[[rule]]\ninit."*" = { fn = "uniform", a = -0.3, b = 0.3 }\n')


def test_what_is_measured_is_what_hooks_see() -> None:
    model = nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 4), nn.ReLU(inplace=True))
    batch = torch.randn(50, 6)
    found = initpolicy.probe(
        model, _uniform(), input=batch, seed=5, draws=1, loss="mean square", rate=0.01
    )
    initpolicy.apply(model, _uniform(), seed=5)
    outputs = [batch]
    for module in model:
        outputs.append(module(outputs[-1].clone()))
        outputs[-1].retain_grad()
    (outputs[-1].square().mean() / 2).backward()
    for layer, output in zip(found.layers, outputs[1:], strict=True):
        assert layer.mean == pytest.approx(output.mean().item(), rel=1e-4, abs=1e-6)
        assert layer.std == pytest.approx(output.std(correction=0).item(), rel=1e-4)
        assert layer.zeros == pytest.approx(float((output == 0).float().mean()))
        assert layer.gradient == pytest.approx(float(output.grad.square().mean().sqrt()), rel=1e-4)
    for found_one, (name, parameter) in zip(
        found.parameters, model.named_parameters(), strict=True
    ):
        assert found_one.name == name
        gradient = float(parameter.grad.square().mean().sqrt())
        size = float(parameter.detach().square().mean().sqrt())
        assert found_one.gradient == pytest.approx(gradient, rel=1e-4)
        assert found_one.update == pytest.approx(0.01 * gradient / size, rel=1e-4)


def test_numbers_are_means_over_the_seeds() -> None:
    model = nn.Sequential(nn.Linear(6, 9), nn.Tanh())
    one, two, three = (
        initpolicy.probe(model, _uniform(), input=(8, 6), seed=seed, draws=1) for seed in (3, 4, 5)
    )
    found = initpolicy.probe(model, _uniform(), input=(8, 6), seed=3, draws=3)
    assert found.seeds == (3, 4, 5)
    for layers in zip(found.layers, one.layers, two.layers, three.layers, strict=True):
        average, *each = (layer.std for layer in layers)
        assert average == pytest.approx(sum(each) / 3)
        assert layers[0].stds == tuple(each)
        assert layers[0].gradients == tuple(layer.gradient for layer in layers[1:])


def test_a_plan_is_probed_from_its_seed_on() -> None:
    model = nn.Sequential(nn.Linear(6, 9), nn.Tanh())
    plan = initpolicy.plan(model, _uniform(), seed=7)
    found = initpolicy.probe(model, plan, input=(8, 6), draws=2)
    assert found == initpolicy.probe(model, _uniform(), input=(8, 6), seed=7, draws=2)
    for option in ({"seed": 1}, {"vars": {}}):
        with pytest.raises(InitPolicyError) as caught:
            initpolicy.probe(model, plan, input=(8, 6), **option)
        assert str(caught.value) == (
            "IP753 a plan has its seed and its variables; give the policy instead"
        )


def test_draws_end_with_the_seeds() -> None:
    model = nn.Linear(6, 9)
    last = initpolicy.plan(model, _uniform(), seed=2**64 - 1)
    assert initpolicy.probe(model, last, input=(8, 6), draws=1).seeds == (2**64 - 1,)
    before = model.weight.detach().clone()
    for given in ({"policy": last}, {"policy": _uniform(), "seed": 2**64 - 1}):
        with pytest.raises(InitPolicyError) as caught:
            initpolicy.probe(model, **given, input=(8, 6), draws=2)
        assert str(caught.value) == (
            "IP753 there are no 2 seeds from 18446744073709551615 on, which are below 2**64; "
            "ask for fewer draws, or from another seed"
        )
    assert torch.equal(before, model.weight)


def test_a_finding_tells_from_which_parameter_the_signal_follows(policy) -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(9, 8)
            self.first = nn.utils.parametrizations.weight_norm(nn.Linear(8, 8))
            self.attention = nn.MultiheadAttention(8, 2)
            self.scale = nn.Parameter(torch.ones(8, 8))
            self.lstm = nn.LSTM(8, 8)
            self.last = nn.Linear(8, 9, bias=False)
            self.last.weight = self.table.weight

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            x = torch.tanh(self.first(self.table(ids)))
            x = self.attention(x, x, x, need_weights=False)[0] @ self.scale.t()
            return self.last(F.relu(self.lstm(x)[0]))

    file = policy('{ fn = "uniform", a = -1, b = 1 }')
    file.write_text(file.read_text() + 'init.scale = 1\ninit."*_l0" = 0.1\n')
    strict = Limits(saturated=0, zeros=0, dead=0, signal=1)
    found = initpolicy.probe(Model(), file, input="5,2:int64", draws=1, limits=strict)
    weights = {layer.name: layer.weight for layer in found.layers if layer.kind == "weights"}
    assert weights == {
        "table": "table.weight",
        "first": "first.weight",
        "attention": "attention.in_proj_weight",
        "": "scale",
        "attention #2": "attention.out_proj.weight",
        "lstm": "lstm.weight_ih_l0",
        "last": "last.weight",
    }
    because = {finding.name: finding.weight for finding in found.findings}
    assert because["the model (relu)"] == "lstm.weight_ih_l0"
    assert because["attention (linear)"] == "attention.in_proj_weight"


class Attending(nn.Module):
    def __init__(self, eager: bool) -> None:
        super().__init__()
        self.eager = eager
        self.qkv = nn.Linear(16, 48)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x).view(*x.shape[:2], 3, 4, 4).permute(2, 0, 3, 1, 4)
        if self.eager:
            return (F.softmax(q @ k.transpose(-2, -1) / 2, dim=-1) @ v).flatten(1)
        return F.scaled_dot_product_attention(q, k, v, dropout_p=0.3).flatten(1)


def test_both_ways_of_attention_say_the_same() -> None:
    eager, fused = (
        initpolicy.probe(Attending(way), _uniform(), input=(3, 5, 16), draws=1)
        for way in (True, False)
    )
    one, two = (
        next(layer for layer in found.layers if layer.kind == "attention")
        for found in (eager, fused)
    )
    assert (one.function, two.function) == ("softmax", "scaled_dot_product_attention")
    assert one.logit_std == pytest.approx(two.logit_std, rel=1e-4)
    assert one.entropy == pytest.approx(two.entropy, rel=1e-4)
    assert 0 < one.entropy < math.log(5)


@pytest.mark.parametrize("weights", [False, True])
def test_attention_inside_of_torchs_own_module_is_seen(weights: bool) -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(16, 4, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.attention(x, x, x, need_weights=weights)[0]

    found = initpolicy.probe(Model(), "torch", input=(3, 5, 16), draws=1)
    kinds = [layer.kind for layer in found.layers if layer.name.startswith("attention")]
    assert kinds == ["weights", "attention", "weights"]


def state(model: nn.Module) -> list[torch.Tensor]:
    return [value.clone() for value in model.state_dict().values()]


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_and_the_generators_are_left_as_they_were(fails: bool) -> None:
    model = nn.Sequential(nn.Linear(6, 9), nn.BatchNorm1d(9), nn.Dropout(), nn.Linear(9, 2))
    model[0].weight.grad = torch.ones(9, 6)
    model.train()
    model[1].eval()
    before, gradient = state(model), model[0].weight.grad
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    if fails:
        with pytest.raises(InitPolicyError):
            initpolicy.probe(model, "torch", input=(8, 7))
    else:
        initpolicy.probe(model, "torch", input=(8, 6))
    assert all(map(torch.equal, before, state(model)))
    assert model[0].weight.grad is gradient
    assert torch.equal(gradient, torch.ones(9, 6))
    assert model[3].weight.grad is None
    assert [module.training for module in model] == [True, False, True, True]
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1] == random.getstate()
    assert np.array_equal(states[2], np.random.get_state()[1])
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_branch_that_begins_at_zero_is_fine(policy) -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down = nn.Linear(20, 40), nn.Linear(40, 20)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.down(torch.tanh(self.up(x)))

    file = policy('"xavier_normal"')
    file.write_text(file.read_text() + '[[rule]]\nname = "**.down"\ninit.weight = 0\n')
    model = nn.Sequential(Block(), Block(), nn.Linear(20, 2))
    found = initpolicy.probe(model, file, input=(16, 20))
    assert found.ok
    assert found["0.down"].rms == 0


def test_a_gradient_that_is_lost_in_rounding_has_vanished_too(policy) -> None:
    # Each layer multiplies by about 1e-6 * sqrt(40): float32 has nothing left after eight.
    normal = policy('{ fn = "normal", std = 1e-6 }')
    found = initpolicy.probe(chain(nn.Tanh, 12, 40), normal, input=(8, 40), draws=1)
    gradients = {layer: layer.gradient for layer in found.layers}
    assert found["0"].gradient == 0
    vanished = {one.name for one in found.findings if one.code == "IP763"}
    assert vanished == {
        str(one) for one, size in gradients.items() if size < 1e-6 * found["22"].gradient
    }


def test_limits_decide() -> None:
    model = nn.Sequential(nn.Linear(6, 200), nn.ReLU())
    assert initpolicy.probe(model, "torch", input=(8, 6)).ok
    strict = initpolicy.probe(model, "torch", input=(8, 6), limits=Limits(zeros=0.3))
    assert codes(strict) == {"IP762"}
    with pytest.raises(InitPolicyError, match="IP753 the limit zeros=2 does not lie between"):
        Limits(zeros=2)


def test_a_probe_is_json_even_when_it_overflows(policy) -> None:
    found = initpolicy.probe(
        chain(nn.Identity, 3), policy('{ fn = "normal", std = 1e30 }'), input=(4, 200), draws=2
    )
    assert codes(found) == {"IP764"}
    document = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert document["ok"] is False
    assert len(document["layers"]) == 3
    assert (
        document["conditions"][3]["findings"][0]["name"] == "1 (linear)"
        or document["conditions"][3]["findings"]
    )


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"input": "4 x 3"}, "IP751 there is no input '4 x 3'; write a shape such as"),
        ({"input": "4,6:int33"}, "IP751 input '4,6:int33': there is no type 'int33'"),
        ({"input": "4,6:int64"}, "IP751 the model has no embedding that says how many"),
        ({"input": "nowhere.py:batch"}, "IP751 nowhere.py is not a file"),
        ({"input": lambda: 1 / 0}, "IP751 the input cannot be made: ZeroDivisionError"),
        (
            {"input": (4, 7)},
            "IP752 the model cannot be run on this input: RuntimeError: mat1 and mat2 shapes "
            "cannot be multiplied (4x7 and 6x2); it was called with 4 x 7 float32",
        ),
        ({"input": (4, 6), "draws": 0}, "IP753 there cannot be 0 draws; ask for one or more"),
        ({"input": (4, 6), "loss": "x"}, "IP753 there is no loss 'x'"),
        ({"input": (4, 6), "rate": 0}, "IP753 the rate 0 is not a positive number"),
    ],
)
def test_mistakes(options: dict[str, object], told: str) -> None:
    with pytest.raises(InitPolicyError) as caught:
        initpolicy.probe(nn.Linear(6, 2), "torch", **options)
    assert str(caught.value).startswith(told)


def test_a_batch_of_one_is_too_small_for_batch_norm() -> None:
    model = nn.Sequential(nn.Linear(6, 2), nn.BatchNorm1d(2))
    with pytest.raises(InitPolicyError) as caught:
        initpolicy.probe(model, "torch", input=(1, 6))
    assert str(caught.value) == (
        "IP752 the model cannot be run on this input: ValueError: Expected more than 1 value per "
        "channel when training, got input size torch.Size([1, 2]); a norm needs more than one "
        "value of each channel; give more examples, or larger ones"
    )


def test_models_without_values_or_gradients() -> None:
    with pytest.raises(InitPolicyError, match="IP754 weight, bias is on the meta device"):
        initpolicy.probe(nn.Linear(6, 2, device="meta"), "torch", input=(4, 6))
    sums = nn.Identity()
    sums.shift = nn.Parameter(torch.ones(6))
    sums.forward = lambda values: values + sums.shift
    with pytest.raises(InitPolicyError, match="IP754 the model calls no function"):
        initpolicy.probe(sums, _uniform(), input=(4, 6))
    frozen = nn.Linear(6, 2).requires_grad_(False)
    with pytest.raises(InitPolicyError, match="IP754 no output depends on a parameter"):
        initpolicy.probe(frozen, "torch", input=(4, 6))


def test_inputs_of_every_form() -> None:
    model, first = nn.Linear(6, 2), None
    values = torch.randn(4, 6)
    same = [values, [values], {"input": values}, lambda: values, lambda: (values,)]
    for given in (*same, lambda: {"input": values}):
        found = initpolicy.probe(model, "torch", input=given, draws=1)
        first = first or found
        assert found == first
    drawn = [(4, 6), [4, 6], "4,6", "4,6:float32", ["4,6"], [(4, 6)]]
    assert len({initpolicy.probe(model, "torch", input=one, draws=1).layers for one in drawn}) == 1


def test_the_projection_gives_each_sample_a_gradient_of_one_over_the_batch() -> None:
    found = initpolicy.probe(nn.Linear(6, 50), _uniform(), input=(200, 6), draws=1)
    # 10,000 standard normal values: their size is 1 to within 3 / sqrt(2 * 10,000).
    assert found[""].gradient == pytest.approx(1 / (200 * math.sqrt(50)), rel=0.022)
