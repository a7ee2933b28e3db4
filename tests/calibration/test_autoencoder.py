"""Greedy layer-wise pretraining, against its formulas and the claims of its papers."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import chain, digits, layers_of, loss_after, normalized, randomly, same, values
from torch import nn
from torch.nn.utils import parametrizations

from initpolicy.batches import Batch
from initpolicy.calibration import CalibrationError, Changed, calibrate, changes, check
from initpolicy.calibration.autoencoder import _convolution, _corrupt, _order
from initpolicy.field import stream


def pretrain(
    model: nn.Module, inputs: torch.Tensor, seed: int = 0, **arguments: Any
) -> tuple[Changed, ...]:
    return calibrate(model, "autoencoder", arguments, layers_of(model), Batch((inputs,)), seed=seed)


def xavier(model: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight, generator=generator)
            nn.init.zeros_(module.bias)
    return model


class Coder(nn.Module):
    """An autoencoder as a textbook has it; torch finds its gradients."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.weight = nn.Parameter(layer.weight.detach().clone())
        self.bias = nn.Parameter(layer.bias.detach().clone())
        self.back = nn.Parameter(torch.zeros(layer.in_features, dtype=layer.weight.dtype))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        hidden = torch.sigmoid(inputs @ self.weight.T + self.bias)
        return hidden @ self.weight + self.back


@pytest.mark.parametrize("loss", ["mse", "bernoulli"])
def test_the_steps_are_those_of_gradient_descent(loss: str) -> None:
    """With one batch an epoch the order of examples does not matter."""
    model = xavier(chain([64, 12, 5], nn.Sigmoid)).double()
    images = digits()[0][:50].double()
    coder = Coder(model[0])
    optimizer = torch.optim.SGD(coder.parameters(), 0.05)
    for _ in range(4):
        guess = coder(images)
        if loss == "mse":
            error = ((guess - images) ** 2).sum() / 50
        else:
            p = torch.sigmoid(guess)
            error = -(images * p.log() + (1 - images) * (1 - p).log()).sum() / 50
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
    calibrate(
        model,
        "autoencoder",
        {"loss": loss, "epochs": 4, "batch_size": 50, "rate": 0.05},
        ["0"],
        Batch((images,)),
        seed=3,
    )
    torch.testing.assert_close(model[0].weight.detach(), coder.weight.detach())
    torch.testing.assert_close(model[0].bias.detach(), coder.bias.detach())


def test_corrupted_inputs_are_to_give_the_whole_ones_in_an_order_of_each_epoch() -> None:
    model = xavier(chain([64, 12, 5], nn.Sigmoid)).double()
    images = digits()[0][:50].double()
    coder = Coder(model[0])
    optimizer = torch.optim.SGD(coder.parameters(), 0.05)
    own = stream(3, "0", "calibrate autoencoder")
    for epoch in range(3):
        order = _order(own.part(f"order {epoch}"), (50,))
        for number in range(2):
            examples = images[order[25 * number : 25 * number + 25]]
            lossy = _corrupt(examples, 0.4, own.part(f"corrupt {epoch} {number}"))
            optimizer.zero_grad()
            (((coder(lossy) - examples) ** 2).sum() / 25).backward()
            optimizer.step()
    arguments = {"corruption": 0.4, "epochs": 3, "batch_size": 25, "rate": 0.05}
    calibrate(model, "autoencoder", arguments, ["0"], Batch((images,)), seed=3)
    torch.testing.assert_close(model[0].weight.detach(), coder.weight.detach())


def test_the_errors_are_those_of_the_formulas() -> None:
    model = xavier(chain([64, 12], nn.Sigmoid).append(nn.Sigmoid())).double()
    images = digits()[0].double()
    before = copy.deepcopy(model[0])
    (done,) = pretrain(model, images, epochs=2, batch_size=100)
    with torch.no_grad():
        error = ((Coder(before)(images) - images) ** 2).sum(1).mean()
    assert done.numbers["error_before"] == pytest.approx(float(error))
    assert done.numbers["error_of_constant"] == pytest.approx(images.numpy().var(0).sum())
    assert done.numbers["error"] < done.numbers["error_before"]
    assert done.text == (
        f"error of reconstruction {done.numbers['error_before']:.4g} -> "
        f"{done.numbers['error']:.4g} in 2 epochs, where a constant has 4.693"
    )
    inside = images.clamp(1e-9, 1 - 1e-9).mean(0)
    entropy = -(inside * inside.log() + (1 - inside) * (1 - inside).log()).sum()
    (done,) = pretrain(model, images, epochs=1, loss="bernoulli")
    assert done.numbers["error_of_constant"] == pytest.approx(float(entropy), rel=1e-4)
    assert done.text.endswith(" in 1 epoch, where a constant has 27.11")


@pytest.mark.parametrize("activation", [nn.Sigmoid, nn.Tanh, nn.ReLU])
def test_every_layer_learns_to_reconstruct(activation: type[nn.Module]) -> None:
    model = xavier(chain([64] * 5 + [10], activation))
    bernoulli = activation is nn.Sigmoid
    done = pretrain(
        model,
        digits()[0],
        loss="bernoulli" if bernoulli else "mse",
        rate=0.1 if bernoulli else 0.01,
        epochs=5,
    )
    assert [one.layer for one in done] == layers_of(model)
    for one in done[:-1]:
        assert one.numbers["error"] < 0.9 * one.numbers["error_of_constant"]
        assert one.numbers["error"] < one.numbers["error_before"]


def test_a_deep_sigmoid_net_learns_from_it_and_not_without() -> None:
    """The claim of Bengio et al. 2007, and that of Vincent et al. 2008 with corruption."""
    images = digits()[0]
    plain = xavier(chain([64] * 6 + [10], nn.Sigmoid))
    hidden = layers_of(plain)[:-1]
    for corruption in (0.0, 0.25):
        begun = copy.deepcopy(plain)
        arguments = {"loss": "bernoulli", "rate": 0.1, "corruption": corruption}
        calibrate(begun, "autoencoder", arguments, hidden, Batch((images,)), seed=0)
        assert loss_after(begun, images, 400, 0.05) < 0.5
    assert loss_after(plain, images, 400, 0.05) > 2.2  # chance is log 10 = 2.303


def test_layers_are_given_what_those_before_them_have_learned() -> None:
    whole, step_by_step = (xavier(chain([64, 20, 20, 20], nn.Tanh)) for _ in range(2))
    pretrain(whole, digits()[0], epochs=2)
    for name in layers_of(step_by_step):
        calibrate(step_by_step, "autoencoder", {"epochs": 2}, [name], Batch((digits()[0],)), seed=0)
    assert same(values(whole), values(step_by_step))


def test_seeds_decide_and_nothing_else_does() -> None:
    begin = xavier(chain([64, 16, 8], nn.Tanh))
    found: list[dict[str, torch.Tensor]] = []
    for seed in (0, 0, 1):
        model = copy.deepcopy(begin)
        torch.manual_seed(len(found))
        pretrain(model, digits()[0], seed, epochs=1, corruption=0.3)
        found.append(values(model))
    assert same(found[0], found[1])
    assert not same(found[0], found[2])
    model = copy.deepcopy(begin)
    pretrain(model, digits()[0], 0, epochs=1)
    assert not same(found[0], values(model))


@given(st.integers(1, 20), st.integers(1, 30), st.floats(0, 0.99), st.integers(0, 2**64 - 1))
def test_corruption_sets_the_same_share_of_each_example_to_0(
    examples: int, size: int, share: float, seed: int
) -> None:
    inputs = torch.arange(1.0, examples * size + 1).view(examples, size)
    given = _corrupt(inputs, share, stream(seed, "layer"))
    assert ((given == 0).sum(1) == round(share * size + 1e-12)).all() or (share * size) % 1 == 0.5
    assert torch.equal(given[given != 0], inputs[given != 0])


def test_corruption_and_order_are_uniform() -> None:
    """A chi-squared test of 100 cells; 160 is exceeded with a probability of 1e-4."""
    given = _corrupt(torch.ones(20000, 100), 0.5, stream(0, "layer"))
    lost = (given == 0).sum(0).double()
    assert float(((lost - 10000) ** 2 / 5000).sum()) < 160
    order = _order(stream(0, "layer"), (20000, 100))
    assert torch.equal(order.sort(1).values, torch.arange(100).expand(20000, 100))
    counts = torch.bincount(order[:, 0], minlength=100).double()
    assert float(((counts - 200) ** 2 / 200).sum()) < 160


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[nn.Module, tuple[int, ...]]:
    spatial = draw(st.integers(1, 3))
    groups = draw(st.sampled_from([1, 2]))
    sizes = st.tuples(*[st.integers(1, 3)] * spatial)
    kernel, dilation = draw(sizes), draw(sizes)
    padding: Any = draw(st.one_of(st.tuples(*[st.integers(0, 2)] * spatial), st.just("valid")))
    stride = draw(sizes)
    if all(d * (k - 1) % 2 == 0 for d, k in zip(dilation, kernel, strict=True)):
        padding = draw(st.sampled_from([padding, "same"]))
        stride = (1,) * spatial if padding == "same" else stride
    make = getattr(nn, f"Conv{spatial}d")
    layer = make(
        2, 4, kernel, stride, padding, dilation, groups, padding_mode="zeros", dtype=torch.float64
    )
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    return layer, (2, 2, *[draw(st.integers(one, one + 4)) for one in reach])


@given(convolutions(), st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_the_decoder_is_the_transposed_encoder(
    case: tuple[nn.Module, tuple[int, ...]], seed: int
) -> None:
    """<encode(x), h> = <x, decode(h)> for all x and h."""
    layer, shape = case
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(shape, generator=generator, dtype=torch.float64)
    encode, decode = _convolution(layer, len(shape) - 2, inputs)
    forwards = encode(inputs, layer.weight, layer.bias)
    torch.testing.assert_close(forwards, layer(inputs))
    hidden = torch.randn(forwards.shape, generator=generator, dtype=torch.float64)
    backwards = decode(hidden, layer.weight, torch.zeros(2, dtype=torch.float64))
    bias = (hidden * layer.bias.view(-1, *[1] * (len(shape) - 2))).sum()
    torch.testing.assert_close((forwards * hidden).sum() - bias, (inputs * backwards).sum())


def test_convolutions_learn() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding="same"), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False), nn.LeakyReLU(0.1),
        nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip
    done = pretrain(model, digits()[0][:500].view(-1, 1, 8, 8), epochs=3, rate=0.02)
    assert [one.layer for one in done] == ["0", "3", "6"]
    assert [one.tensors for one in done] == [("weight", "bias"), ("weight",), ("weight", "bias")]
    for one in done[:2]:
        assert one.numbers["error"] < one.numbers["error_of_constant"]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_types_and_parametrized_weights(dtype: torch.dtype) -> None:
    model = xavier(chain([64, 32, 10], nn.Tanh))
    parametrizations.weight_norm(model[0])
    model.to(dtype)
    done = pretrain(model, digits()[0].to(dtype), epochs=1)
    assert [one.tensors for one in done] == [("weight", "bias")] * 2
    assert all(parameter.dtype == dtype for parameter in model.parameters())
    reference = xavier(chain([64, 32, 10], nn.Tanh)).double()
    pretrain(reference, digits()[0].double(), epochs=1)
    room = 0.02 if dtype == torch.bfloat16 else 1e-6
    for name in ("0", "2"):
        own, other = model.get_submodule(name), reference.get_submodule(name)
        np.testing.assert_allclose(
            own.weight.detach().double(), other.weight.detach(), atol=room, rtol=room
        )


class Functional(nn.Module):
    def __init__(self, then: Any) -> None:
        super().__init__()
        self.fc = nn.Linear(64, 16)
        self.then = then

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.then(F.dropout(self.fc(inputs), training=self.training))


@pytest.mark.parametrize(
    ("function", "module"),
    [
        (F.relu, nn.ReLU()),
        (torch.tanh, nn.Tanh()),
        (lambda x: x.sigmoid(), nn.Sigmoid()),
        (lambda x: F.leaky_relu(x, 0.3), nn.LeakyReLU(0.3)),
        (lambda x: F.softplus(input=x, beta=2), nn.Softplus(2)),
        (lambda x: F.relu(x, inplace=True), nn.ReLU()),
        (F.gelu, nn.GELU()),
        (F.silu, nn.SiLU()),
        (lambda x: x, nn.Identity()),
    ],
)
def test_functions_are_the_activations_that_modules_are(function: Any, module: nn.Module) -> None:
    first, second = Functional(function), nn.Sequential(nn.Linear(64, 16), module)
    for model in (first, second):  # one batch, since the order depends on the name of the layer
        pretrain(xavier(model), digits()[0], epochs=3, batch_size=2000)
    torch.testing.assert_close(first.fc.weight, second[0].weight)


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (
            nn.Sequential(nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU()),
            "0: it is followed by batchnorm1d, and not by one activation that acts on each element "
            "by itself",
        ),
        (
            nn.Sequential(nn.Linear(64, 8), nn.Softmax(-1)),
            "0: it is followed by softmax, and not by one activation that acts on each element "
            "by itself",
        ),
        (
            nn.Sequential(nn.Linear(64, 8), nn.PReLU()),
            "0: it is followed by prelu, and not by one activation that acts on each element "
            "by itself",
        ),
        (
            Functional(lambda x: F.leaky_relu(x, 0.1) + F.leaky_relu(x, 0.2)),
            "fc: it is followed by leakyrelu, and not by one activation that acts on each element "
            "by itself",
        ),
        (
            Functional(lambda x: F.relu(x) + torch.tanh(x)),
            "fc: it is followed by relu and tanh, and not by one activation that acts on each "
            "element by itself",
        ),
        (Functional(lambda x: x if x.sum() > 0 else -x), "fc: what follows it cannot be found"),
    ],
)
def test_what_is_no_activation_is_an_error_that_needs_no_data(model: nn.Module, told: str) -> None:
    before = values(model)
    for call in (
        lambda: check(model, "autoencoder", {}, layers_of(model)),
        lambda: pretrain(model, normalized()),
    ):
        with pytest.raises(CalibrationError) as raised:
            call()
        assert (raised.value.code, raised.value.message) == ("IP776", told)
    assert same(values(model), before)


def test_inputs_that_cannot_be_reconstructed() -> None:
    model = xavier(chain([64, 8], nn.Sigmoid).append(nn.Sigmoid()))
    with pytest.raises(CalibrationError) as raised:
        pretrain(model, normalized(), loss="bernoulli")
    assert raised.value.message == (
        '0: its inputs lie between -0.8118 and 1.847, and loss "bernoulli" is for those from 0 to 1'
    )
    with pytest.raises(CalibrationError) as raised:
        pretrain(model, digits()[0][0])
    assert raised.value.message == (
        "0: its inputs of shape (64,) have no dimension that counts examples"
    )


def test_a_rate_that_is_too_high_is_an_error_and_changes_nothing() -> None:
    model = randomly(chain([64, 8, 4], nn.ReLU), 0, lambda fan_in: fan_in**-0.5)
    before = values(model)
    with pytest.raises(CalibrationError) as raised:
        pretrain(model, normalized(), rate=10.0)
    assert raised.value.code == "IP777"
    assert raised.value.message.startswith("0: the error of reconstruction does not fall but goes")
    assert raised.value.hint == "give a lower `rate` than 10, or more `epochs`"
    assert same(values(model), before)


class Doubled(nn.Linear):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(input)


def test_what_it_takes() -> None:
    taken = [nn.Linear(3, 2), nn.Conv1d(3, 2, 3), nn.Conv3d(3, 2, 3, padding="same")]
    assert {changes("autoencoder", module) for module in taken} == {("weight", "bias")}
    others = [
        nn.ConvTranspose1d(3, 2, 3),
        nn.Bilinear(3, 3, 2),
        Doubled(3, 2),
        nn.Conv2d(3, 2, 3, padding=1, padding_mode="circular"),
        nn.Conv1d(3, 2, 2, padding="same"),
        nn.Embedding(3, 2),
        nn.Tanh(),
    ]
    assert {changes("autoencoder", module) for module in others} == {()}
