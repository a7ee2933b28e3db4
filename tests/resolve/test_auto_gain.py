"""Gains that follow from what follows a layer: their values, their texts, and what has none."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from typer.testing import CliRunner

import initpolicy
from initpolicy.cli.app import app
from initpolicy.initializers.preserving import preserving_gain
from initpolicy.lockfile import differences, lock, write
from initpolicy.lockfile import parse as read_lock
from initpolicy.plans import Plan
from initpolicy.policy import parse
from initpolicy.problems import InitPolicyError
from initpolicy.resolve.gains import Gain, as_written, told

AUTO = '{ fn = "xavier_normal", gain = "auto" }'
KAIMING = '{ fn = "kaiming_normal", nonlinearity = "auto" }'
FORMULA = '{ fn = "normal", std = "auto_gain / sqrt(fan_in)" }'


def policy(value: str, others: str = "0", more: str = "") -> initpolicy.Policy:
    return parse(
        f'format = 1\n[[rule]]\ninit."*" = {others}\nbuffer."*" = 0\noptional = true\n'
        f'[[rule]]\ntype = ["Linear", "Conv*d"]\ninit.weight = {value}\n{more}'
    )


def planned(model: nn.Module, value: str = AUTO, **options) -> Plan:
    return initpolicy.plan(model, policy(value), **options)


def gains(plan: Plan) -> dict[str, float]:
    """The gains of the weights, from the law of N(0, gain / sqrt(fan_in))."""
    return {
        decision.name.removesuffix(".weight"): decision.law.std * math.sqrt(decision.shape[1])
        for decision in plan
        if decision.law.is_drawn
    }


def chain(*activations: nn.Module, width: int = 8) -> nn.Sequential:
    layers: list[nn.Module] = []
    for one in activations:
        layers += [nn.Linear(width, width), one]
    return nn.Sequential(*layers, nn.Linear(width, width))


MODULES = st.one_of(
    st.builds(nn.LeakyReLU, st.floats(0, 2)),
    st.builds(nn.ELU, st.floats(0.1, 3)),
    st.builds(nn.CELU, st.floats(0.1, 3)),
    st.builds(nn.Hardtanh, st.floats(-3, -0.1), st.floats(0.1, 3)),
    st.builds(nn.Softplus, st.floats(0.5, 4)),
    st.builds(nn.Threshold, st.floats(-1, 1), st.floats(-2, 2)),
    st.builds(nn.GELU, st.sampled_from(["none", "tanh"])),
    st.sampled_from([nn.ReLU(), nn.Tanh(), nn.Sigmoid(), nn.SiLU(), nn.Mish(), nn.SELU()]),
)


@settings(max_examples=30)
@given(st.lists(MODULES, min_size=1, max_size=3), st.booleans())
def test_the_module_itself_is_integrated(modules, meta) -> None:
    model = chain(*modules)
    if meta:
        model = model.to("meta")
    found = gains(planned(model, FORMULA))
    expected = [preserving_gain(one) for one in modules] + [1.0]
    assert list(found.values()) == pytest.approx(expected, rel=1e-15)


def test_every_way_to_ask_gives_the_same_number_and_its_text() -> None:
    model = chain(nn.ReLU(), nn.GELU())
    for value, fan, text in [
        (FORMULA, 8, "normal(std=auto_gain / sqrt(fan_in)); auto_gain is 1.41421 for relu"),
        (KAIMING, 8, "kaiming_normal(nonlinearity=auto: 1.41421 for relu)"),
        (AUTO, 8, "xavier_normal(gain=auto: 1.41421 for relu)"),
        (
            '{ fn = "orthogonal", gain = "auto", scale = 2 }',
            None,
            "orthogonal(gain=auto: 1.41421 for relu, scale=2)",
        ),
        (
            '{ chunks = [{ fn = "xavier_normal", gain = "auto" }, 0] }',
            None,
            "xavier_normal(gain=auto: 1.41421 for relu) | constant(val=0)",
        ),
    ]:
        plan = planned(model, value)
        assert plan["0.weight"].winner.initializer == text
        assert as_written(text) == str(policy(value).rules[1].entries[0].value)
        if fan:
            assert gains(plan)["0"] == pytest.approx(math.sqrt(2), rel=1e-15)
            assert gains(plan)["2"] == pytest.approx(1.5335304411960, rel=1e-12)
    assert planned(model)["4.weight"].winner.initializer == (
        "xavier_normal(gain=auto: 1 for the end of the model)"
    )


@given(st.floats(0.01, 100), st.sampled_from(["relu", "relu then mul", "a layer"]))
def test_a_text_is_found_again_without_its_gain(value, name) -> None:
    for written in (
        "xavier_normal(gain=auto)",
        "kaiming_normal(mode=fan_in, nonlinearity=auto, scale=2)",
        "normal(std=auto_gain * 2)",
        "constant(val=0) | orthogonal(gain=auto)",
    ):
        assert as_written(told(written, Gain(value, name))) == written


def test_named_and_found_gains_are_the_same_bits() -> None:
    model = chain(nn.ReLU(), nn.LeakyReLU(0.2))
    auto = planned(model, KAIMING)
    relu = planned(model, '{ fn = "kaiming_normal", nonlinearity = "relu" }')
    leaky = planned(model, '{ fn = "kaiming_normal", a = 0.2 }')
    assert auto["0.weight"].law == relu["0.weight"].law
    assert auto["2.weight"].law == leaky["2.weight"].law


def test_a_plan_is_the_same_in_another_process_on_the_meta_device_and_from_json() -> None:
    program = (
        "import json, torch, initpolicy\nfrom torch import nn\n"
        "from initpolicy.policy import parse\n"
        "with torch.device('meta'):\n"
        "    model = nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 8), nn.Mish())\n"
        f"plan = initpolicy.plan(model, parse({FORMULA_POLICY!r}))\n"
        "print(json.dumps(plan.to_json()))"
    )
    there = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    model = nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 8), nn.Mish())
    here = initpolicy.plan(model, parse(FORMULA_POLICY))
    assert Plan.from_json(there) == here


FORMULA_POLICY = f'format = 1\n[[rule]]\ninit.weight = {FORMULA}\ninit.bias = "zeros"\n'


def test_a_plan_that_asks_for_no_gain_traces_nothing(monkeypatch) -> None:
    def fail(*_):
        raise AssertionError("the model was traced")

    monkeypatch.setattr(torch.fx.Tracer, "trace", fail)
    planned(chain(nn.ReLU()), '{ fn = "xavier_normal", gain = 2 }')


def test_a_model_is_traced_once(monkeypatch) -> None:
    calls = []
    trace = torch.fx.Tracer.trace

    def count(*given, **options):
        calls.append(1)
        return trace(*given, **options)

    monkeypatch.setattr(torch.fx.Tracer, "trace", count)
    planned(chain(nn.ReLU(), nn.GELU(), nn.Tanh()))
    assert calls == [1]


# The second moment of what enters an activation, over thirty layers: how far it may go from 1. Of
# the last ones 1 is a fixed point from which deviations grow, as docs/gain.md says.
FACTORS = {
    nn.ReLU: 3,
    nn.LeakyReLU: 3,
    nn.Tanh: 1.1,
    nn.Sigmoid: 1.3,
    nn.Softplus: 1.3,
    nn.Softsign: 1.1,
    nn.Hardtanh: 1.1,
    nn.ELU: 1.3,
    nn.SELU: 1.1,
    nn.Mish: 5,
    nn.GELU: 20,
    nn.SiLU: 500,
}
FIRST = '[[rule]]\nname = "0"\ninit.weight = { fn = "normal", std = "1 / sqrt(fan_in)" }\n'


@pytest.mark.parametrize("kind", FACTORS)
def test_the_second_moment_stays_over_thirty_layers(kind) -> None:
    width, factor = 512, FACTORS[kind]
    model = chain(*[kind() for _ in range(30)], width=width)
    initpolicy.apply(model, policy(FORMULA, more=FIRST), seed=0)
    x = torch.randn(64, width, generator=torch.Generator().manual_seed(0))
    moments = []
    with torch.no_grad():
        for module in model[:-1]:
            x = module(x)
            if isinstance(module, nn.Linear):
                moments.append(float(x.square().mean()))
    assert len(moments) == 30
    assert 1 / factor < min(moments)
    assert max(moments) < factor


def test_without_gains_the_same_chain_loses_its_signal() -> None:
    model = chain(*[nn.ReLU() for _ in range(30)], width=256)
    initpolicy.apply(model, policy('{ fn = "normal", std = "1 / sqrt(fan_in)" }'), seed=0)
    x = torch.randn(256, 256, generator=torch.Generator().manual_seed(0))
    assert float(model(x).detach().square().mean()) < 1e-6


# Activations with parameters begin as the policy says, not as the model at hand has them.


@given(st.floats(-2, 2), st.sampled_from([1, 8]), st.booleans())
def test_the_slope_of_a_prelu_is_that_of_the_policy(slope, channels, meta) -> None:
    model = chain(nn.PReLU(channels))
    rule = f'[[rule]]\ntype = "PReLU"\ninit.weight = {slope!r}\n'
    plan = initpolicy.plan(model.to("meta") if meta else model, policy(FORMULA, more=rule))
    assert gains(plan)["0"] == pytest.approx(math.sqrt(2 / (1 + slope**2)), rel=1e-12)


def test_slopes_that_are_drawn_count_by_their_second_moment() -> None:
    model = chain(nn.PReLU(8))
    rule = '[[rule]]\ntype = "PReLU"\ninit.weight = { fn = "uniform", a = 0, b = 1 }\n'
    plan = initpolicy.plan(model, policy(FORMULA, more=rule))
    assert gains({d for d in plan if d.name == "0.weight"})["0"] == pytest.approx(
        math.sqrt(2 / (1 + 1 / 3))
    )


@pytest.mark.parametrize("meta", [False, True])
def test_a_slope_that_is_kept_is_that_of_the_constructor(meta) -> None:
    model = chain(nn.PReLU(8, init=0.5))
    rule = '[[rule]]\ntype = "PReLU"\ninit.weight = "keep"\n'
    plan = initpolicy.plan(model.to("meta") if meta else model, policy(FORMULA, more=rule))
    found = plan["0.weight"].law.std * math.sqrt(8)
    assert found == pytest.approx(math.sqrt(2 / 1.25))


class Swish(nn.Module):
    """A user's own activation, with a parameter for each channel."""

    def __init__(self) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.full((8,), 7.0))

    def forward(self, x):
        return x * torch.sigmoid(self.beta * x)


class Squared(nn.Module):
    """A user's own activation, made of functions."""

    def forward(self, x):
        return torch.relu(x) ** 2


def test_a_module_of_the_user_is_integrated_like_any_other() -> None:
    rule = '[[rule]]\ntype = "Swish"\ninit.beta = 1\n'
    plan = initpolicy.plan(chain(Swish(), Squared()), policy(FORMULA, more=rule))
    silu = planned(chain(nn.SiLU()), FORMULA)
    assert gains(plan)["0"] == pytest.approx(gains(silu)["0"], rel=1e-12)
    assert gains(plan)["2"] == pytest.approx(1 / math.sqrt(3 / 2), rel=1e-12)  # E[z^4; z > 0]
    assert plan["2.weight"].winner.initializer.endswith("for squared")


def test_tied_convolutions_and_their_norms() -> None:
    model = nn.Sequential(
        nn.Conv2d(4, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 4, 3), nn.Dropout(), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(4, 2), nn.LogSoftmax(-1),
    )  # fmt: skip
    texts = [planned(model)[f"{name}.weight"].winner.initializer for name in (0, 4, 9)]
    assert texts == [
        "xavier_normal(gain=auto: 1.41421 for relu)",
        "xavier_normal(gain=auto: 1.67653 for silu)",
        "xavier_normal(gain=auto: 1 for a softmax)",
    ]


def test_weights_that_are_computed_are_asked_about_like_others() -> None:
    model = nn.utils.parametrizations.weight_norm(nn.Linear(8, 8))
    model = nn.Sequential(model, nn.ReLU())
    plan = initpolicy.plan(
        model, parse(f"format = 1\n[[rule]]\ninit.weight = {AUTO}\ninit.bias = 0")
    )
    assert plan["0.weight"].winner.initializer == "xavier_normal(gain=auto: 1.41421 for relu)"


# What has no gain.


class Two(nn.Module):
    def __init__(self, act) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)
        self.act = act

    def forward(self, x):
        return self.act(self.first(x), self.second)


def branch(y, layer):
    return layer(torch.relu(y)) if y.sum() > 0 else layer(y)


WRONG = {
    "IP231": (
        branch,
        "what follows Linear is not known: the model cannot be traced (TraceError: symbolically "
        "traced variables cannot be used as inputs to control flow); give an input, as in "
        "`--input 8,3,224,224`, or name the gain",
    ),
    "IP232": (
        lambda y, layer: layer(y * 0 + 1) if False else y,
        "no call of Linear is seen in the model; ",
    ),
    "IP233": (
        lambda y, layer: F.silu(y) * layer(torch.ones(8)),
        "silu follows, and a product with something else that the model computes follows; ",
    ),
    "IP234": (
        lambda y, layer: layer(torch.relu(y)) + torch.tanh(y),
        "different gains are called for: 1.41421 for relu, 1.59254 for tanh; ",
    ),
    "IP235": (
        lambda y, layer: layer(y.cumsum(-1)),
        "cumsum follows, which is no function of each element alone; ",
    ),
}


@pytest.mark.parametrize("code", WRONG)
def test_what_has_no_gain_is_told_with_the_layer_and_what_follows(code) -> None:
    act, message = WRONG[code]
    model = Two(act)
    name = "second" if code == "IP232" else "first"
    rule = parse(
        f'format = 1\n[[rule]]\ninit."*" = 0\n[[rule]]\nname = "{name}"\ninit.weight = {AUTO}\n'
    )
    with pytest.raises(InitPolicyError) as caught:
        initpolicy.plan(model, rule)
    (problem,) = caught.value.problems
    assert problem.code == code
    what = f"rule name {name}: `init.weight`, for {name}.weight: {message}"
    assert problem.message.startswith(what)
    assert problem.message.endswith("gain = \"gain('relu')\", in a rule for this layer")


@pytest.mark.parametrize("value", ['"auto_gain > 1"', '"auto > 1"'])
def test_no_condition_waits_for_a_gain(value) -> None:
    rule = parse(f"format = 1\n[[rule]]\nwhere = {value}\ninit.weight = 1\n")
    with pytest.raises(InitPolicyError, match="IP205"):
        initpolicy.plan(nn.Linear(2, 2), rule)


def test_auto_is_a_word_for_gains_alone() -> None:
    with pytest.raises(InitPolicyError, match='no name "auto"; did you mean "auto_gain"'):
        planned(chain(nn.ReLU()), '{ fn = "normal", std = "auto" }')
    with pytest.raises(InitPolicyError, match="IP103"):
        parse('format = 1\n[vars]\nauto = 1\n[[rule]]\ninit."*" = 0\n')


@pytest.mark.parametrize("gain", ["atuo", "auot", "autto", "autoo"])
def test_a_misspelt_auto_is_suggested(gain: str) -> None:
    with pytest.raises(InitPolicyError) as caught:
        planned(chain(nn.ReLU()), f'{{ fn = "xavier_normal", gain = "{gain}" }}')
    assert str(caught.value) == (
        "<policy>:8: IP205 rule type Linear or Conv*d: `init.weight`, for 0.weight, 2.weight: "
        f'{gain}: no name "{gain}". In scope: alias, auto_gain, depth, fan_in, fan_out, ndim, '
        "numel, receptive_field, shape; did you mean `auto`?"
    )


@pytest.mark.parametrize(
    "value",
    [
        '{ fn = "xavier_normal", gain = "width" }',
        '{ fn = "xavier_normal", gain = "atuo * 2" }',
        '{ fn = "xavier_normal", gain = "auto_gian" }',
        '{ fn = "xavier_normal", gain = "aut" }',  # for which auto_gain is, and does the same
        '{ fn = "xavier_normal", gain = "auto", scale = "atuo" }',
        '{ fn = "normal", std = "atuo" }',
    ],
)
def test_auto_is_suggested_for_gains_alone(value: str) -> None:
    with pytest.raises(InitPolicyError, match="IP205") as caught:
        planned(chain(nn.ReLU()), value)
    assert "did you mean `auto`" not in str(caught.value)


# Models that cannot be traced.


def test_an_input_tells_which_way_a_model_goes() -> None:
    model = Two(branch)
    nn.init.zeros_(model.first.weight)
    for bias, expected in ((1, math.sqrt(2)), (-1, 1)):
        nn.init.constant_(model.first.bias, bias)
        batch = torch.ones(4, 8)
        for inputs in ("4,8", (4, 8), batch, [batch], {"x": batch}, lambda given=batch: given):
            plan = planned(model, FORMULA, input=inputs)
            assert gains(plan) == pytest.approx({"first": expected, "second": 1})


@pytest.mark.parametrize("name", ["example_input_array", "dummy_inputs"])
def test_a_model_that_says_what_it_is_called_with_needs_no_input(name) -> None:
    model = Two(lambda y, layer: layer(torch.relu(y)) if len(y.shape) * y.numel() else y)
    model.act = lambda y, layer: layer(torch.relu(y)) if bool(y.shape[0] > 1) else layer(y)
    example = torch.ones(4, 8)
    setattr(model, name, {"x": example} if name == "dummy_inputs" else example)
    assert gains(planned(model, FORMULA))["first"] == pytest.approx(math.sqrt(2))


def test_an_input_that_does_not_fit_is_told() -> None:
    with pytest.raises(InitPolicyError, match="IP231") as caught:
        planned(Two(branch), input="4,9")
    told = str(caught.value)
    assert "the model cannot be run on the input (RuntimeError: mat1 and mat2 shapes" in told
    assert "; give one that it takes, or name the gain" in told


NET = """\
import torch
from torch import nn

class net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x):
        x = self.first(x)
        return self.second(torch.relu(x) if x.shape[0] > 1 else x)
"""


def test_commands_show_the_gain(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(NET)
    Path("chain.py").write_text(
        "from torch import nn\n\ndef net():\n    return nn.Sequential(nn.Linear(8, 8), nn.SiLU())\n"
    )
    Path("auto.toml").write_text(
        f"format = 1\n[[rule]]\ninit.weight = {AUTO}\ninit.bias = 0\n", encoding="utf-8"
    )
    shown = "xavier_normal(gain=auto: 1.67653 for silu)"
    for command in (["plan"], ["explain"]):
        names = ["0.weight"] if command == ["explain"] else []
        result = CliRunner().invoke(app, [*command, "chain.py:net", "auto.toml", *names])
        assert result.exit_code == 0
        assert shown in result.stdout
    result = CliRunner().invoke(app, ["plan", "net.py:net", "auto.toml"])
    assert (result.exit_code, "IP231" in result.stderr) == (2, True)
    for rows, gain in ((2, "1.41421 for relu"), (1, "1 for a layer")):
        given = ["--input", f"{rows},8", "--output", "json"]
        result = CliRunner().invoke(app, ["plan", "net.py:net", "auto.toml", *given])
        plan = Plan.from_json(result.stdout)
        assert plan["first.weight"].winner.initializer == f"xavier_normal(gain=auto: {gain})"


def test_a_lock_has_the_gain_and_the_law_that_it_gives() -> None:
    before, after = (
        lock(planned(chain(act), FORMULA), digests=False) for act in (nn.ReLU(), nn.GELU())
    )
    (change,) = differences(before, after).changes
    assert (change.name, change.fields) == ("0.weight", ("law", "gain"))
    assert [entry.gain for entry in (change.before, change.after)] == [
        "1.41421 for relu",
        "1.53353 for gelu",
    ]
    text = write(before)
    assert read_lock(text) == before
    assert '  gain "1.41421 for relu"  by ' in text


class Auxiliary(nn.Module):
    """A second head that is trained, and not used."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x):
        y = self.first(x)
        return (torch.tanh(y), torch.relu(self.second(x))) if self.training else y


@pytest.mark.parametrize("inputs", [None, (4, 8)])
def test_what_is_called_in_training_alone_is_seen_as_it_is_trained(inputs) -> None:
    model = Auxiliary()
    found = gains(planned(model, FORMULA, input=inputs))
    assert found == {"first": 1, "second": pytest.approx(math.sqrt(2))}
    assert model.training
