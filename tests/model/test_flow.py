"""What takes what a layer makes: two ways of finding it must say what the model was built to do."""

from __future__ import annotations

import random
from typing import NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from initpolicy.model.flow import Flow, FollowingError, flow_of, following, plain, running

SIZE = 4
BENDING = [nn.ReLU, nn.Tanh, nn.GELU, nn.SiLU, nn.ELU, nn.Hardswish, nn.Softplus]


class Scaled(nn.Module):
    """A learnt factor, as LayerScale."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(SIZE))

    def forward(self, x):
        return x * self.factor


class Transposed(nn.Module):
    def forward(self, x):
        return x.transpose(0, 1).contiguous().transpose(0, 1)


class Doubled(nn.Module):
    def forward(self, x):
        return 2 * x


HANDED_ON = [nn.Dropout, nn.Identity, lambda: nn.LayerNorm(SIZE), Scaled, Transposed, Doubled]


def settled(module: nn.Module):
    """The function of a module whose parameters are ones."""
    ones = {name: torch.ones(1, dtype=torch.float64) for name, _ in module.named_parameters()}
    return lambda x: torch.func.functional_call(module, ones, (x,))


def ways(flow: Flow, module: nn.Module) -> list[str]:
    return [after.name for after in following(flow, module, settled)]


def both(model: nn.Module, *inputs: torch.Tensor) -> list[Flow]:
    """The flow of a trace, of a run without memory, and of a run with values."""
    flows = [flow_of(model), flow_of(model, call=(inputs, {}))]
    assert all(flow.traced for flow in flows), [flow.reason for flow in flows]
    return flows


@settings(max_examples=30)
@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from(HANDED_ON), max_size=3),
            st.none() | st.sampled_from(BENDING),
            st.lists(st.sampled_from([nn.Dropout, nn.Identity, Transposed]), max_size=1),
        ),
        min_size=1,
        max_size=4,
    ),
    st.booleans(),
)
def test_a_chain_is_what_it_was_built_to_be(parts, nested) -> None:
    layers: list[nn.Module] = []
    chain: list[nn.Module] = []
    expected: list[str] = []
    for before, bend, behind in parts:
        layers.append(nn.Linear(SIZE, SIZE))
        inner = [kind() for kind in before] + ([bend()] if bend else []) + [one() for one in behind]
        chain += [layers[-1], nn.Sequential(*inner)] if nested else [layers[-1], *inner]
        expected.append(plain(bend.__name__) if bend else "a layer")
    if expected[-1] == "a layer":
        expected[-1] = "the end of the model"
    model = nn.Sequential(*chain)
    for flow in both(model, torch.zeros(3, SIZE)):
        assert [ways(flow, layer) for layer in layers] == [[name] for name in expected]


class Net(nn.Module):
    """Two layers, and whatever a function does with them."""

    def __init__(self, act) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(SIZE, SIZE), nn.Linear(SIZE, SIZE)
        self.weight = nn.Parameter(torch.zeros(SIZE, SIZE))
        self.factor = nn.Parameter(torch.ones(1))
        self.register_buffer("mask", torch.ones(SIZE))
        self.act = act

    def forward(self, x):
        return self.act(self, x)


def relu_six_by_hand(net, x):
    y = net.first(x)
    return net.second(y * F.relu6(y + 3) / 6)


def new_gelu(net, x):
    y = net.first(x)
    inner = torch.tanh(0.7978845608028654 * (y + 0.044715 * torch.pow(y, 3.0)))
    return net.second(0.5 * y * (1.0 + inner))


def normalized_by_hand(net, x):
    y = net.first(x)
    y = (y - y.mean(-1, keepdim=True)) / torch.sqrt(y.var(-1, keepdim=True) + 1e-5)
    return net.second(torch.relu(y))


def rotated(net, x):
    y = net.first(x)
    left, right = y.chunk(2, -1)
    turned = torch.cat([-right, left], -1)
    return net.second(y * torch.cos(net.mask) + turned * torch.sin(net.mask))


def squeezed(net, x):
    y = torch.relu(net.first(x))
    return y * torch.sigmoid(net.second(y))


CASES = {
    "an addition": lambda net, x: net.second(x) + net.first(x),
    "a function": lambda net, x: net.second(F.relu(net.first(x), inplace=True)),
    "a method": lambda net, x: net.second(net.first(x).relu_()),
    "a residual": lambda net, x: x + net.first(x),
    "a bias": lambda net, x: net.second(torch.relu(net.first(x) + net.factor)),
    "a learnt factor": lambda net, x: net.second(torch.relu(net.first(x) * net.factor.exp())),
    "a mask": lambda net, x: net.second(torch.tanh(net.first(x) * net.mask)),
    "a choice": lambda net, x: torch.tanh(net.first(x).masked_fill(net.mask > 0, 0.0)),
    "a shape": lambda net, x: torch.tanh(net.first(x).view(x.shape[0], -1) / x.shape[-1] ** 0.5),
    "a softmax": lambda net, x: torch.softmax(net.first(x), -1),
    "attention": lambda net, x: torch.softmax(net.first(x) @ net.second(x).T, -1),
    "a matrix": lambda net, x: torch.relu(F.linear(net.first(x), net.weight)),
    "a square": lambda net, x: net.second(torch.square(torch.relu(net.first(x)))),
    "by hand": relu_six_by_hand,
    "in parts": new_gelu,
    "a norm by hand": normalized_by_hand,
    "a rotation": rotated,
    "what is made of it": squeezed,
    "two ways that are one": lambda net, x: (
        torch.tanh(net.first(x)) * 2 + torch.tanh(net.second(x))
    ),
    "two norms": lambda net, x: F.layer_norm(
        torch.tanh(F.layer_norm(torch.relu(F.layer_norm(net.first(x), (SIZE,))), (SIZE,))), (SIZE,)
    ),
    "concatenated": lambda net, x: torch.relu(torch.cat([net.first(x), net.second(x)], -1)),
}
EXPECTED = {
    "an addition": ["an addition"],
    "a function": ["relu"],
    "a method": ["relu"],
    "a residual": ["an addition"],
    "a bias": ["relu"],
    "a learnt factor": ["relu"],
    "a mask": ["tanh"],
    "a choice": ["tanh"],
    "a shape": ["tanh"],
    "a softmax": ["a softmax"],
    "attention": ["a matrix product"],
    "a matrix": ["a matrix product"],
    "a square": ["relu then square"],
    "by hand": ["relu6 then mul"],
    "in parts": ["pow then add then tanh then mul"],
    "a norm by hand": ["relu"],
    "a rotation": ["an addition"],
    "what is made of it": ["relu"],
    "two ways that are one": ["tanh"],
    "two norms": ["relu"],
    "concatenated": ["relu"],
}


@pytest.mark.parametrize("case", CASES)
def test_functions_are_put_together_up_to_the_next_layer(case) -> None:
    model = Net(CASES[case])
    for flow in both(model, torch.ones(SIZE, SIZE)):
        assert ways(flow, model.first) == EXPECTED[case]


@pytest.mark.parametrize(
    ("case", "function"),
    [
        ("by hand", F.hardswish),
        ("in parts", lambda x: F.gelu(x, approximate="tanh")),
        ("a square", lambda x: torch.relu(x) ** 2),
    ],
)
def test_what_is_put_together_is_the_function(case, function) -> None:
    model = Net(CASES[case])
    points = torch.linspace(-5, 5, 101, dtype=torch.float64)
    for flow in both(model, torch.ones(SIZE, SIZE)):
        (after,) = following(flow, model.first, settled)
        assert after.function is not None
        torch.testing.assert_close(after.function(points), function(points), rtol=1e-12, atol=1e-12)


class Outputs(NamedTuple):
    logits: torch.Tensor
    hidden: torch.Tensor


def test_outputs_with_names_are_the_end() -> None:
    def act(net, x):
        y = net.second(x)
        return Outputs(net.first(y), y)

    model = Net(act)
    for flow in both(model, torch.ones(2, SIZE)):
        assert ways(flow, model.first) == ["the end of the model"]
        assert set(ways(flow, model.second)) == {"a layer", "the end of the model"}


def test_an_empty_container_is_no_step() -> None:
    model = nn.Sequential(nn.Linear(SIZE, SIZE), nn.Sequential(), nn.ReLU())
    for flow in both(model, torch.ones(2, SIZE)):
        assert [step.name for step in flow.after(model[0])] == ["relu"]


def gated(net, x):
    left, right = net.first(x).chunk(2, -1)
    return left * F.silu(right)


FAILING = {
    "gate": lambda net, x: net.first(x) * torch.sigmoid(net.second(x)),
    "gated": gated,
    "glu": lambda net, x: F.glu(net.first(x), -1),
    "sliced": lambda net, x: net.first(x)[:, :2] * torch.tanh(net.first(x)[:, 2:]),
    "maxout": lambda net, x: torch.maximum(net.first(x)[:2], net.first(x)[2:]),
    "cumulated": lambda net, x: torch.cumsum(net.first(x), -1),
    "not called": lambda net, x: net.second(x),
}
KINDS = {"gate": "gate", "gated": "gate", "glu": "gate", "sliced": "gate", "not called": "unseen"}


@pytest.mark.parametrize("case", FAILING)
def test_what_has_no_function_is_told_apart(case) -> None:
    model = Net(FAILING[case])
    for flow in both(model, torch.ones(SIZE, SIZE)):
        with pytest.raises(FollowingError) as caught:
            ways(flow, model.first)
        assert caught.value.kind == KINDS.get(case, "unknown")


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN, nn.LSTMCell])
def test_recurrent_layers_are_not_looked_into(kind) -> None:
    model = nn.ModuleDict({"layer": kind(3, 4)})
    with pytest.raises(FollowingError, match=f"the functions inside {kind.__name__} are not"):
        ways(flow_of(model), model["layer"])


def test_attention_is_looked_through_to_what_takes_its_output() -> None:
    class Attending(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(SIZE, 2, batch_first=True)

        def forward(self, x):
            return torch.tanh(self.attention(x, x, x)[0])

    model = Attending()
    for flow in both(model, torch.ones(2, 3, SIZE)):
        assert ways(flow, model.attention) == ["attention"]
        assert ways(flow, model.attention.out_proj) == ["tanh"]


def test_layers_of_torch_that_are_made_of_layers_are_looked_into_by_a_run() -> None:
    model = nn.TransformerEncoderLayer(SIZE, 2, 8, activation="gelu", batch_first=True)
    flow = flow_of(nn.Sequential(model), call=((torch.ones(2, 3, SIZE),), {}))
    assert ways(flow, model.linear1) == ["gelu"]
    assert ways(flow, model.linear2) == ["an addition"]


class Branching(nn.Module):
    """Branches on a value, counts in a buffer, and draws."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(SIZE, SIZE)
        self.register_buffer("count", torch.zeros(()))
        self.seen = 0

    def forward(self, x, *, positive):
        self.count += 1
        self.seen += 1
        y = self.layer(x) + torch.rand(SIZE) + random.random() + np.random.rand()
        return torch.relu(y) if float(positive.sum()) > 0 else torch.tanh(y)


@pytest.mark.parametrize(("sign", "name"), [(1, "relu"), (-1, "tanh")])
def test_a_branch_is_followed_as_the_input_has_it_and_nothing_changes(sign, name) -> None:
    model = Branching()
    assert not flow_of(model).traced
    before = {key: value.clone() for key, value in model.state_dict().items()}
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    flow = flow_of(model, call=((torch.ones(2, SIZE),), {"positive": sign * torch.ones(1)}))
    assert ways(flow, model.layer) == [name]
    assert (model.seen, model.training) == (0, True)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert (np.random.get_state()[1] == states[2]).all()


def test_a_model_without_values_is_run_with_zeros_unless_they_are_many(monkeypatch) -> None:
    model = Branching().to("meta")
    call = ((torch.ones(2, SIZE),), {"positive": torch.ones(1)})
    assert ways(flow_of(model, call=call), model.layer) == ["relu"]
    assert all(one.is_meta for one in (*model.parameters(), *model.buffers()))
    monkeypatch.setattr(running, "MOST_ZEROS", 1)
    flow = flow_of(model, call=call)
    assert not flow.traced
    assert "meta" in flow.reason


def test_a_run_on_the_meta_device_takes_no_memory() -> None:
    wide = 1 << 18
    model = nn.Sequential(nn.Linear(wide, wide, device="meta"), nn.ReLU())  # 256 GB
    flow = flow_of(model, call=((torch.ones(1, wide),), {}))
    assert ways(flow, model[0]) == ["relu"]
