"""What each check tells of, and what it lets be; what follows a layer is not ours to say twice."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

import initpolicy
from initpolicy.linting import CHECKS, Advice
from initpolicy.linting.bounds import spacing
from initpolicy.problems import page

quietly = settings(
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
ACTIVATIONS = [nn.ReLU, nn.ReLU6, nn.Tanh, nn.Sigmoid, nn.GELU, nn.SiLU, nn.SELU, nn.Identity]


def advice(folder: Path, model: nn.Module, *rules: str) -> Advice:
    policy = folder / "policy.toml"
    policy.write_text("format = 1\n" + "".join(f"[[rule]]\n{rule}\n" for rule in rules))
    return initpolicy.lint(model, policy)


def told(folder: Path, model: nn.Module, *rules: str) -> dict[str, list[str]]:
    """The names of the tensors, by the code that is told of them."""
    found: dict[str, list[str]] = {}
    for one in advice(folder, model, *rules).findings:
        found.setdefault(one.code, []).extend(one.names)
    return found


def weights(value: str) -> str:
    return f'optional = true\ninit."*weight" = {value}\ninit."*bias" = 0\nbuffer."*" = 0'


RANDOM = weights('{ fn = "normal", std = 0.02 }')


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.code)
def test_a_page_begins_with_the_docstring_of_its_check(check) -> None:
    assert page(check.code).startswith(f"{check.page}\n## Bad\n")


def test_every_page_of_lint_has_a_check() -> None:
    codes = [check.code for check in CHECKS]
    assert codes == sorted(set(codes))
    assert all("IP701" <= code <= "IP729" for code in codes)


class Residual(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.inner(x)


class Untraceable(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self.inner(x) if x.sum() > 0 else x


def mlp(*activations: type[nn.Module]) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Linear(8, 8)]
    for kind in activations:
        layers += [kind(), nn.Linear(8, 8)]
    return nn.Sequential(*layers)


@quietly
@given(
    st.lists(st.sampled_from([nn.ReLU, nn.Tanh, nn.GELU, nn.SiLU]), min_size=1, max_size=4),
    st.data(),
    st.sampled_from(["0", "0.5"]),
)
def test_constant_layers_are_told_of_unless_they_are_zero_and_last(
    tmp_path, activations, data, value
) -> None:
    model = mlp(*activations)
    place = data.draw(st.integers(0, len(activations))) * 2
    found = told(tmp_path, model, RANDOM, f'name = "{place}"\ninit.weight = {value}')
    last = place == 2 * len(activations)
    expected = {} if value == "0" and last else {"IP701": [f"{place}.weight"]}
    assert found == expected


@pytest.mark.parametrize(
    ("model", "zero", "expected"),
    [
        (Residual(mlp(nn.ReLU)), "inner.2", []),
        (Residual(mlp(nn.ReLU)), "inner.0", ["inner.0.weight"]),
        (nn.Sequential(Residual(mlp(nn.ReLU)), nn.Linear(8, 8)), "0.inner.2", []),
        (nn.Sequential(nn.Linear(8, 2), nn.Linear(2, 8)), "0", []),  # LoRA, the other way round
        (nn.Sequential(nn.Linear(8, 2), nn.Linear(2, 8)), "*", ["0.weight"]),
        (nn.Sequential(nn.Linear(8, 1), nn.ReLU(), nn.Linear(1, 8)), "0", []),  # one unit
        (Untraceable(mlp(nn.ReLU)), "inner.0", ["inner.0.weight"]),
        (Untraceable(mlp(nn.ReLU)), "inner.2", []),
        (nn.Sequential(nn.Conv2d(4, 4, 1, groups=4), nn.ReLU(), nn.Conv2d(4, 4, 1)), "0", []),
    ],
)
def test_zeros_are_fine_at_the_end_of_a_branch(tmp_path, model, zero, expected) -> None:
    found = told(tmp_path, model, RANDOM, f'name = "{zero}"\ninit.weight = 0')
    assert found == ({"IP701": expected} if expected else {})


def test_what_does_not_learn_may_be_constant(tmp_path) -> None:
    model = mlp(nn.ReLU)
    model[0].weight.requires_grad_(False)
    assert told(tmp_path, model, RANDOM, 'name = "0"\ninit.weight = 0.125') == {}


@quietly
@given(st.floats(0.001, 2), st.floats(9, 11), st.floats(9, 11) | st.floats(1, 200))
def test_bounds_are_told_of_from_ten_standard_deviations(tmp_path, std, low, high) -> None:
    value = f'{{ fn = "trunc_normal", std = {std!r}, a = {-low * std!r}, b = {high * std!r} }}'
    found = told(tmp_path, nn.Linear(2, 2), weights(value))
    if abs(min(low, high) - 10) > 1e-6:
        assert ("IP702" in found) == (min(low, high) > 10)


@pytest.mark.parametrize(
    "value",
    [
        '{ fn = "normal", std = 0 }',
        '{ fn = "uniform", a = 0.5, b = 0.5 }',
        '{ fn = "orthogonal", gain = 0 }',
        '{ fn = "xavier_normal", gain = 0 }',
        '{ fn = "kaiming_uniform", scale = 0 }',
    ],
)
def test_random_values_without_spread_are_told_of(tmp_path, value) -> None:
    assert told(tmp_path, nn.Linear(2, 2), weights(value)) == {"IP703": ["weight"]}


# Which initializers fit in front of which activation, by the papers that the pages name.
RECTIFIED = ['"kaiming_normal"', '{ fn = "orthogonal", gain = "sqrt(2)" }']
PLAIN = ['"xavier_uniform"', '"lecun_normal"', '"orthogonal"', '{ fn = "kaiming_normal", a = 2 }']
WRONG = {
    nn.ReLU: dict.fromkeys(PLAIN, "IP704"),
    nn.ReLU6: dict.fromkeys(PLAIN, "IP704"),
    nn.Tanh: {'"kaiming_normal"': "IP705"},
    nn.Sigmoid: {'"kaiming_normal"': "IP705"},
    nn.SELU: {'"kaiming_normal"': "IP706", '{ fn = "kaiming_normal", a = 2 }': "IP706"},
}


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("value", [*RECTIFIED, *PLAIN])
@pytest.mark.parametrize("between", [nn.Identity, nn.Dropout, nn.LayerNorm])
def test_the_activation_is_held_against_the_initializer(
    tmp_path, activation, value, between
) -> None:
    middle = nn.LayerNorm(8) if between is nn.LayerNorm else between()
    model = nn.Sequential(nn.Linear(8, 8), middle, activation(), nn.Linear(8, 8))
    rule = f'type = "Linear"\ninit.weight = {value}\ninit.bias = 0'
    found = told(tmp_path, model, RANDOM, rule)
    code = WRONG.get(activation, {}).get(value)
    if between is nn.LayerNorm or code is None:
        assert found == {}
    else:
        assert found == {code: ["0.weight"]}


def test_functions_are_seen_like_modules(tmp_path) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x):
            return self.second(torch.tanh(self.first(x))) + nn.functional.relu(self.second(x))

    assert told(tmp_path, Net(), weights('"kaiming_normal"')) == {"IP705": ["first.weight"]}
    assert told(tmp_path, Net(), weights('"xavier_normal"')) == {}  # of two uses, one is no ReLU


def test_a_gate_is_no_hidden_layer(tmp_path) -> None:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate = nn.Linear(8, 8)

        def forward(self, x):
            return x * torch.sigmoid(self.gate(x))

    model = nn.Sequential(Gated(), nn.Linear(8, 8), nn.Sigmoid())
    assert told(tmp_path, model, weights('"kaiming_normal"')) == {}


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize(
    ("value", "wrong"),
    [
        ('"kaiming_normal"', False),
        ('{ fn = "kaiming_normal", mode = "fan_out" }', True),
        ('"xavier_normal"', True),
        ('{ fn = "xavier_normal", chunks = "module.groups" }', False),
        ('{ fn = "variance_scaling", mode = "fan_out" }', True),
        ('{ fn = "normal", std = 0.1 }', False),
    ],
)
def test_fans_of_groups(tmp_path, groups, value, wrong) -> None:
    model = nn.Sequential(nn.Conv2d(8, 8, 3, groups=groups), nn.GELU())
    found = told(tmp_path, model, weights(value))
    assert found == ({"IP707": ["0.weight"]} if wrong and groups > 1 else {})
    normalized = nn.Sequential(model[0], nn.BatchNorm2d(8), nn.GELU())
    assert told(tmp_path, normalized, RANDOM, f"name = '0'\ninit.weight = {value}") == {}


@pytest.mark.parametrize(
    ("value", "wrong"),
    [
        ('"kaiming_normal"', True),
        ('"lecun_normal"', True),
        ('"xavier_normal"', False),  # the mean of both fans is the same either way
        ('{ fn = "kaiming_normal", layout = "i o k*" }', False),
    ],
)
def test_fans_of_transposed_convolutions(tmp_path, value, wrong) -> None:
    found = told(tmp_path, nn.ConvTranspose1d(4, 6, 3), weights(value))
    assert found == ({"IP708": ["weight"]} if wrong else {})
    assert told(tmp_path, nn.ConvTranspose1d(4, 4, 3), weights(value)) == {}


def test_biases_that_a_batch_norm_takes_back(tmp_path) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 4), nn.LayerNorm(4))
    assert told(tmp_path, model, 'init."*" = 0.5', 'buffer."*" = 0') == {
        "IP701": ["0.weight", "2.weight"],
        "IP709": ["0.bias"],
    }


@quietly
@given(st.floats(0, 50), st.sampled_from(["float16", "bfloat16", "float32", "float64"]))
def test_spacing_is_the_distance_to_the_next_number(value, name) -> None:
    dtype = getattr(torch, name)
    number = torch.tensor(value, dtype=dtype)
    following = torch.nextafter(number, torch.tensor(math.inf, dtype=dtype))
    assert spacing(float(number), dtype) == float(following.double() - number.double())


def test_spreads_that_a_type_cannot_tell(tmp_path) -> None:
    rule = 'init."*" = { fn = "normal", mean = 1, std = 0.001 }'
    for dtype, expected in ((torch.bfloat16, {"IP710": ["bias"]}), (torch.float32, {})):
        model = nn.Linear(4, 4, dtype=dtype)
        bias = rule.replace('"*"', "bias")
        assert told(tmp_path, model, RANDOM, bias) == expected


@pytest.mark.parametrize("row", [0, 3, -1, None])
@pytest.mark.parametrize("kind", [nn.Embedding, nn.EmbeddingBag])
def test_padding_rows(tmp_path, row, kind) -> None:
    model = kind(7, 4, padding_idx=row)
    plain = '{ fn = "normal", std = 0.02 }'
    expected = {} if row is None else {"IP711": ["weight"]}
    assert told(tmp_path, model, f"init.weight = {plain}") == expected
    if row is not None:
        zeroed = '{ fn = "normal", zero_index = "module.padding_idx" }'
        assert told(tmp_path, model, f"init.weight = {zeroed}") == {}
        assert told(tmp_path, model, "init.weight = 0") == {}


def test_streams_that_repeat(tmp_path) -> None:
    model = mlp(nn.GELU)
    value = '{ fn = "normal", std = 0.1, stream = "one" }'
    assert told(tmp_path, model, weights(value)) == {"IP712": ["0.weight", "2.weight"]}
    one = f'name = "0"\ninit.weight = {value}'
    assert told(tmp_path, model, RANDOM, one) == {}
    named = '{ fn = "normal", std = 0.1, stream = "0.weight" }'
    assert told(tmp_path, model, RANDOM, f'name = "2"\ninit.weight = {named}') == {
        "IP712": ["2.weight"]
    }


def test_pretrained_values_that_are_drawn_anew(tmp_path) -> None:
    save_file({"0.weight": torch.ones(8, 8)}, tmp_path / "pretrained.safetensors")
    first = 'name = "0"\ninit.weight = { fn = "from_file", path = "pretrained.safetensors" }'
    assert told(tmp_path, mlp(nn.GELU), RANDOM, first) == {}
    assert told(tmp_path, mlp(nn.GELU), first, RANDOM) == {"IP713": ["0.weight"]}


class Conv1D(nn.Module):
    """A linear layer that stores its weight as (in, out), in the module of transformers."""

    def __init__(self, outputs: int, inputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(inputs, outputs))
        self.bias = nn.Parameter(torch.empty(outputs))

    def forward(self, x):
        return x @ self.weight + self.bias


Conv1D.__module__ = "transformers.pytorch_utils"


@pytest.mark.parametrize(
    ("activation", "value", "code"),
    [
        (nn.ReLU, '"xavier_normal"', "IP704"),
        (nn.ReLU, '"kaiming_normal"', None),
        (nn.Tanh, '"kaiming_normal"', "IP705"),
        (nn.SELU, '{ fn = "normal", std = "sqrt(1 / 4)" }', None),  # 4 inputs, and not 8
        (nn.SELU, '{ fn = "normal", std = "sqrt(1 / 8)" }', None),
        (nn.SELU, '{ fn = "normal", std = "sqrt(1 / 16)" }', "IP706"),
        (nn.GELU, "0.5", "IP701"),
    ],
)
def test_layers_that_are_stored_inputs_first_are_layers(tmp_path, activation, value, code) -> None:
    model = nn.Sequential(Conv1D(8, 4), activation(), Conv1D(4, 8))
    found = told(tmp_path, model, RANDOM, f'name = "0"\ninit.weight = {value}')
    assert found == ({code: ["0.weight"]} if code else {})
