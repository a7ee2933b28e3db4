"""What holds for every step: order, state that is left alone, failures, and odd models."""

from __future__ import annotations

import copy
import pickle
import random
from collections.abc import Callable
from importlib.metadata import EntryPoint
from typing import Any

import numpy as np
import pytest
import torch
from distributed import run
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import chain, digits, layers_of, normalized, orthogonal, outputs, randomly, same, values
from torch import nn
from torch.nn.utils import parametrizations

from initpolicy.batches import Batch
from initpolicy.calibration import (
    Calibration,
    CalibrationError,
    Done,
    Layer,
    calibrate,
    changes,
    check,
    get,
    names,
    registry,
    rehearse,
)
from initpolicy.problems import InitPolicyError

STEPS: dict[str, dict[str, Any]] = {
    "lsuv": {},
    "weight_norm_data": {},
    "autoencoder": {"epochs": 1, "batch_size": 200, "corruption": 0.2},
}
EVERY = pytest.mark.parametrize("fn", STEPS)


def states() -> tuple[Any, ...]:
    return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()


class Net(nn.Module):
    """Convolutions, batch norm with statistics, dropout of three kinds, and a mode of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1)
        self.conv = nn.Conv2d(1, 4, 3)
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(144, 20)
        self.last = nn.Linear(20, 10)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        self.norm.running_mean = self.norm.running_mean + 1  # another tensor in its place
        random.random()
        np.random.random()
        hidden = torch.tanh(self.drop(self.conv(self.norm(images))))
        noise = torch.rand(()) + random.random() * 0 + np.random.random() * 0
        hidden = torch.relu(self.fc(hidden.flatten(1) * noise))
        return self.last(hidden)


def fail(*_: object) -> None:
    raise RuntimeError("no more")


def net() -> Net:
    model = Net()
    randomly(model, 0, lambda fan_in: 0.7 * fan_in**-0.5)
    model.train()
    model.norm.eval()
    return model


IMAGES = Batch((digits()[0][:400].view(-1, 1, 8, 8),))
LAYERS = ("conv", "fc", "last")


def test_names() -> None:
    assert names() == ("autoencoder", "lsuv", "weight_norm_data")
    for name in names():
        step = get(name)
        assert (step.name, step.summary[-1:]) == (name, ".")
    assert [(one.name, one.type, one.default) for one in get("autoencoder").parameters] == [
        ("epochs", int, 10),
        ("batch_size", int, 32),
        ("rate", float, 0.01),
        ("corruption", float, 0.0),
        ("loss", str, "mse"),
    ]


def test_a_wrong_name() -> None:
    with pytest.raises(CalibrationError) as raised:
        get("lsvu")
    assert (raised.value.message, raised.value.hint) == (
        "there is no step `lsvu`",
        "did you mean `lsuv`?",
    )
    with pytest.raises(CalibrationError) as raised:
        get("zca")
    assert raised.value.hint == "the steps are autoencoder, lsuv, weight_norm_data"


@pytest.mark.parametrize(
    ("fn", "arguments", "told"),
    [
        ("lsuv", {"tolerance": 0}, "`tolerance` must be greater than 0, not 0"),
        ("lsuv", {"tolerance": float("nan")}, "`tolerance` must be greater than 0, not nan"),
        (
            "lsuv",
            {"iterations": 1.5},
            "`iterations` must be a whole number or an expression, not 1.5",
        ),
        ("lsuv", {"iterations": -1}, "`iterations` must be 1 or more, not -1"),
        ("lsuv", {"rate": 1}, "lsuv has no argument `rate`; it accepts tolerance, iterations"),
        (
            "weight_norm_data",
            {"rate": 1},
            "weight_norm_data has no argument `rate`; it accepts no arguments",
        ),
        (
            "autoencoder",
            {"corruption": 1.0},
            "`corruption` must be 0 or more and less than 1, not 1.0",
        ),
        ("autoencoder", {"loss": "mae"}, '`loss` must be one of "mse", "bernoulli", not "mae"'),
        ("autoencoder", {"rate": float("inf")}, "`rate` must be greater than 0, not inf"),
    ],
)
def test_wrong_arguments(fn: str, arguments: dict[str, object], told: str) -> None:
    assert [one.message for one in get(fn).check_arguments(arguments)] == [told]
    model = chain([64, 4], nn.Tanh)
    before = values(model)
    for call in (
        lambda: check(model, fn, arguments, ["0"]),
        lambda: calibrate(model, fn, arguments, ["0"], Batch((normalized(),)), seed=0),
    ):
        with pytest.raises(CalibrationError) as raised:
            call()
        assert (raised.value.code, raised.value.message) == ("IP771", told)
    assert same(values(model), before)


def test_an_expression_is_for_the_caller_to_evaluate() -> None:
    assert get("lsuv").check_arguments({"tolerance": "1 / 10"}) == []
    model = chain([64, 4], nn.Tanh)
    with pytest.raises(CalibrationError, match="`tolerance` is still the expression '1 / 10'"):
        check(model, "lsuv", {"tolerance": "1 / 10"}, ["0"])


def test_the_error_is_a_problem_that_can_be_pickled() -> None:
    error = CalibrationError("one", hint="two", code="IP774")
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, InitPolicyError)
    assert str(again) == str(error) == "IP774 one; two"
    assert (again.message, again.hint, again.code) == ("one", "two", "IP774")


def test_what_each_step_changes() -> None:
    both, weight, none = ("weight", "bias"), ("weight",), ()
    found = {
        type(module).__name__: tuple(changes(fn, module) for fn in STEPS)
        for module in (
            nn.Linear(3, 2, device="meta"),
            nn.Conv2d(3, 2, 3, bias=False),
            nn.ConvTranspose1d(3, 2, 3),
            nn.Bilinear(3, 3, 2),
            nn.Embedding(3, 2),
            nn.LayerNorm((3, 2)),
            nn.BatchNorm1d(3),
            nn.PReLU(),
            nn.LSTM(3, 2),
            nn.MultiheadAttention(4, 2),
            nn.LazyLinear(3),
            nn.Sequential(nn.Linear(3, 2)),
        )
    }
    assert found == {
        "Linear": (weight, both, both),
        "Conv2d": (weight, weight, weight),
        "ConvTranspose1d": (weight, both, none),
        "Bilinear": (weight, both, none),
        **dict.fromkeys(
            ("Embedding", "LayerNorm", "BatchNorm1d", "PReLU", "LSTM", "MultiheadAttention"),
            (none, none, none),
        ),
        "LazyLinear": (none, none, none),
        "Sequential": (none, none, none),
    }
    for wrapped in (
        parametrizations.weight_norm(nn.Linear(3, 2, device="meta")),
        parametrizations.spectral_norm(nn.Linear(3, 2)),
    ):
        assert [changes(fn, wrapped) for fn in STEPS] == [weight, both, both]


@EVERY
def test_only_the_layers_change(fn: str) -> None:
    model, given_to = net(), IMAGES.args[0].clone()
    before, modes, state = values(model), [one.training for one in model.modules()], states()
    mean = model.norm.running_mean
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    chosen = ["conv", "fc"] if fn == "autoencoder" else ["conv", "last"]
    done = calibrate(model, fn, STEPS[fn], chosen, IMAGES, seed=0)
    after = values(model)
    changed = {f"{one.layer}.{name}" for one in done for name in one.tensors}
    assert {name for name in before if not torch.equal(before[name], after[name])} == changed
    assert len(changed) == (2 if fn == "lsuv" else 4)
    assert [one.training for one in model.modules()] == modes
    assert states() == state
    assert model.norm.running_mean is mean
    assert all((parameter.grad == 1).all() for parameter in model.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert torch.equal(IMAGES.args[0], given_to)
    assert not any(module._forward_hooks for module in model.modules())


@EVERY
def test_the_same_values_whatever_the_order_the_modes_and_the_generators(fn: str) -> None:
    begin = net()
    found: list[dict[str, torch.Tensor]] = []
    results: list[object] = []
    for number, chosen in enumerate((LAYERS, LAYERS, LAYERS[::-1], ("fc", "last", "fc", "conv"))):
        model = copy.deepcopy(begin)
        model.train(number % 2 == 0)
        torch.manual_seed(number)
        random.seed(number)
        np.random.seed(number)
        results.append(calibrate(model, fn, STEPS[fn], chosen, IMAGES, seed=5))
        found.append(values(model))
    assert all(same(found[0], other) for other in found[1:])
    assert all(results[0] == other for other in results[1:])
    assert [one.layer for one in results[0]] == list(LAYERS)


@EVERY
@pytest.mark.parametrize("wrap", [lambda x: x, parametrizations.weight_norm])
def test_a_failure_midway_gives_everything_back(
    fn: str, wrap: Callable[[nn.Module], nn.Module]
) -> None:
    model = net()
    wrap(model.conv)
    model.last.register_forward_pre_hook(fail)
    before, modes, state = values(model), [one.training for one in model.modules()], states()
    told: list[int] = []
    with pytest.raises(CalibrationError) as raised:
        calibrate(model, fn, STEPS[fn], ["conv", "fc"], IMAGES, seed=0, progress=told.append)
    assert told == [1, 1]  # both were changed
    assert raised.value.message == ("the model cannot be run on the data: RuntimeError: no more")
    assert same(values(model), before)
    assert [one.training for one in model.modules()] == modes
    assert states() == state
    assert not any(module._forward_hooks for module in model.modules())


@EVERY
def test_a_check_changes_nothing(fn: str) -> None:
    model = net()
    before, modes, state = values(model), [one.training for one in model.modules()], states()
    check(model, fn, STEPS[fn], LAYERS)
    assert same(values(model), before)
    assert [one.training for one in model.modules()] == modes
    assert states() == state


def test_an_interruption_gives_everything_back() -> None:
    model = net()
    before = values(model)

    def stop(count: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        calibrate(model, "lsuv", {}, LAYERS, IMAGES, seed=0, progress=stop)
    assert same(values(model), before)


def test_the_older_weight_norm_is_renewed_or_given_back() -> None:
    model = chain([64, 8, 4], nn.Tanh)
    with pytest.warns(FutureWarning):
        nn.utils.weight_norm(model[0])
    shown = model[0].weight
    before = values(model)
    nn.init.zeros_(model[2].weight)
    nn.init.zeros_(model[2].bias)
    with pytest.raises(CalibrationError, match="no variance"):
        calibrate(model, "lsuv", {}, ["0", "2"], Batch((normalized(),)), seed=0)
    assert model[0].weight is shown
    assert torch.equal(model[0].weight_g, before["0.weight_g"])
    calibrate(model, "lsuv", {}, ["0"], Batch((normalized(),)), seed=0)
    expected = torch._weight_norm(model[0].weight_v, model[0].weight_g, 0)
    assert torch.equal(model[0].weight, expected)


@given(st.lists(st.sampled_from(LAYERS), min_size=1))
@settings(max_examples=10)
def test_a_rehearsal_changes_nothing(chosen: list[str]) -> None:
    model = net()
    before, modes, state = values(model), [one.training for one in model.modules()], states()
    mean = model.norm.running_mean
    rehearse(model, chosen, IMAGES)
    assert same(values(model), before)
    assert model.norm.running_mean is mean
    assert [one.training for one in model.modules()] == modes
    assert states() == state
    assert not any(module._forward_hooks for module in model.modules())


class Attending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(64, 4, batch_first=True)
        self.unused = nn.Linear(64, 64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.attention(x, x, x)[0]


def test_a_layer_that_is_not_reached() -> None:
    model = Attending()
    for call in (rehearse, lambda *args: calibrate(args[0], "lsuv", {}, *args[1:], seed=0)):
        with pytest.raises(CalibrationError) as raised:
            call(model, ["attention.out_proj", "unused"], Batch((torch.randn(2, 3, 64),)))
        assert raised.value.message == ("the forward pass does not call attention.out_proj, unused")
        assert raised.value.hint == (
            "a module whose weight another one uses is not called itself; leave it out"
        )


def test_a_batch_that_does_not_fit() -> None:
    with pytest.raises(CalibrationError) as raised:
        rehearse(chain([64, 4], nn.Tanh), ["0"], Batch((torch.ones(3, 65),)))
    assert raised.value.code == "IP773"
    assert raised.value.message.startswith(
        "the model cannot be run on the data: RuntimeError: mat1"
    )


def test_layers_that_there_are_not() -> None:
    model = nn.Sequential(nn.Linear(64, 4), nn.ReLU())
    for call in (
        lambda name: check(model, "lsuv", {}, [name]),
        lambda name: calibrate(model, "lsuv", {}, [name], Batch((normalized(),)), seed=0),
    ):
        with pytest.raises(CalibrationError) as raised:
            call("00")
        assert (raised.value.message, raised.value.hint) == (
            "the model has no module `00`",
            "did you mean `0`?",
        )
        with pytest.raises(CalibrationError) as raised:
            call("1")
        assert raised.value.message == "1: lsuv cannot take a ReLU"


def test_named_inputs_and_a_model_that_writes_into_them() -> None:
    class Writing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(64, 8)

        def forward(self, given: dict[str, torch.Tensor], by: float) -> torch.Tensor:
            return self.fc(given["images"].mul_(by))

    model, images = Writing(), normalized()
    batch = Batch((), {"given": {"images": images}, "by": 2.0})
    rehearse(model, ["fc"], batch)
    calibrate(model, "lsuv", {}, ["fc"], batch, seed=0)
    assert torch.equal(images, normalized())
    assert model.fc(images * 2).var(correction=0).item() == pytest.approx(1, abs=0.1)


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.Linear(64, 64)
        self.other = nn.Linear(64, 64)
        self.other.weight = self.cell.weight
        self.last = nn.Linear(64, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.tanh(self.cell(x))
        return self.last(torch.tanh(self.other(torch.tanh(self.cell(x)))))


@EVERY
def test_a_second_call_and_a_tied_weight_are_told_of(fn: str) -> None:
    model = orthogonal(Twice())
    found = calibrate(model, fn, STEPS[fn], layers_of(model), Batch((digits()[0],)), seed=0)
    assert [one.layer for one in found] == ["cell", "other", "last"]
    assert found[0].text.endswith("; shared with other.weight; at the first of 2 calls")
    assert (found[1].tensors, found[1].text) == (
        (),
        "left as it is: it shares its values with cell, which comes before it",
    )
    assert not found[2].text.endswith("calls")
    assert model.other.weight is model.cell.weight
    if fn == "lsuv":
        first = outputs(model, ["cell"], Batch((digits()[0],)))["cell"]
        assert np.var(first) == pytest.approx(1, abs=0.1)


class Tied(nn.Module):
    """A table of embeddings whose transpose makes the logits, before or after another use."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(10, 8)
        self.fc = nn.Linear(8, 8)
        self.head = nn.Linear(8, 10, bias=False)
        self.head.weight = self.table.weight

    def forward(self, ids: torch.Tensor, turned: bool) -> torch.Tensor:
        if turned:
            return self.table(self.head(self.fc(torch.ones(1, 8).cumsum(1))).argmax(1))
        return self.head(self.fc(self.table(ids)))


def test_a_weight_that_was_used_before_is_an_error_that_a_rehearsal_finds() -> None:
    model = Tied()
    before = values(model)
    for call in (rehearse, lambda *args: calibrate(args[0], "lsuv", {}, *args[1:], seed=0)):
        with pytest.raises(CalibrationError) as raised:
            call(model, ["fc", "head"], Batch((torch.arange(10), False)))
        assert (raised.value.code, raised.value.message) == (
            "IP772",
            "head: its weight is also table.weight, which is used before it, so that to change it "
            "would change what the layer is given",
        )
        assert same(values(model), before)
    found = calibrate(model, "lsuv", {}, ["head"], Batch((torch.arange(10), True)), seed=0)
    assert found[0].text.endswith("; shared with table.weight")
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_a_module_under_two_names_is_one_layer() -> None:
    model = chain([64, 64], nn.Tanh)
    model.append(nn.Tanh()).append(model[0])
    found = calibrate(model, "lsuv", {}, ["2", "0"], Batch((normalized(),)), seed=0)
    assert [(one.layer, one.text.partition("; ")[2]) for one in found] == [
        ("2", "at the first of 2 calls")
    ]


def test_what_others_hang_on_a_layer_sees_the_new_output() -> None:
    model = orthogonal(chain([64, 32, 8], nn.Tanh))
    seen: list[float] = []
    model[0].register_forward_hook(lambda *given: seen.append(float(given[2].var())))
    model[0].register_forward_hook(lambda *given: given[2] * 100)
    calibrate(model, "lsuv", {"tolerance": 0.001}, ["0", "2"], Batch((normalized(),)), seed=0)
    assert seen == [pytest.approx(1, abs=0.002)]
    with torch.no_grad():  # the second layer was given a hundred times the first's output
        assert float(model(normalized()).var()) == pytest.approx(1, abs=0.002)


def test_a_compiled_model_is_calibrated_as_what_it_was_compiled_from() -> None:
    plain = orthogonal(chain([64, 32, 8], nn.Tanh))
    begun = copy.deepcopy(plain)
    calibrate(plain, "lsuv", {}, ["0", "2"], Batch((normalized(),)), seed=0)
    compiled = torch.compile(begun, backend="eager")
    compiled(normalized())
    batch = Batch((normalized(),))
    done = calibrate(compiled, "lsuv", {}, ["_orig_mod.2", "0"], batch, seed=0)
    assert [one.layer for one in done] == ["0", "_orig_mod.2"]
    assert same(values(begun), values(plain))


def test_dropout_drops_nothing_and_batch_norm_takes_the_batch() -> None:
    model = nn.Sequential(
        nn.BatchNorm1d(64), nn.Dropout(0.9), nn.Linear(64, 8), nn.Dropout1d(0.5), nn.Linear(8, 3)
    )
    orthogonal(model).eval()
    images = (digits()[0] * 5 + 3).double()
    model.double()
    calibrate(model, "lsuv", {"tolerance": 0.001}, ["2"], Batch((images,)), seed=0)
    x = images.numpy()
    output = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5) @ model[2].weight.detach().numpy().T
    assert np.var(output) == pytest.approx(1, abs=0.01)


def test_no_values() -> None:
    model = chain([64, 4], nn.Tanh)
    model.append(nn.Linear(4, 2, device="meta"))
    check(model, "lsuv", {}, ["0", "1"])
    for call in (rehearse, lambda *args: calibrate(args[0], "lsuv", {}, *args[1:], seed=0)):
        with pytest.raises(CalibrationError) as raised:
            call(model, ["0"], Batch((normalized(),)))
        assert raised.value.code == "IP775"
        assert raised.value.message == (
            "1.weight, 1.bias is on the meta device, where tensors have no values"
        )


def on_a_mesh(rank: int) -> tuple[str, bool]:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    torch.manual_seed(0)
    model = chain([64, 4], nn.Tanh)
    fully_shard(model, mesh=init_device_mesh("cpu", (2,)))
    before = model[0].weight.to_local().clone()
    try:
        calibrate(model, "lsuv", {}, ["0"], Batch((torch.ones(3, 64),)), seed=0)
    except CalibrationError as error:
        return str(error), torch.equal(before, model[0].weight.to_local())
    return "", False


def test_sharded_parameters() -> None:
    told = (
        "IP775 0.weight, 0.bias is shared out between processes; calibrate the model in one "
        "process, and load its values into the sharded one"
    )
    assert run(on_a_mesh, 2) == [(told, True)] * 2


def halve(layer: Layer, *, by: float = 2.0) -> Done:
    """Divide the weight. Nobody 2026."""
    weight = layer.tensor("weight")
    assert weight is not None
    weight.write(weight.values() / by, layer.seed)
    layer.run()
    return Done(f"divided by {by:g}")


def test_steps_of_other_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = {
        "halve": EntryPoint("halve", f"{__name__}:halve", registry.GROUP),
        "lost": EntryPoint("lost", "no_such_module:step", registry.GROUP),
        "text": EntryPoint("text", "string:digits", registry.GROUP),
        "wild": EntryPoint("wild", "os:getcwd", registry.GROUP),
    }
    monkeypatch.setattr(EntryPoint, "load", lambda one: halve if one.name == "halve" else load(one))
    monkeypatch.setattr(registry, "installed", lambda group: entries)
    get.cache_clear()
    try:
        assert names() == (
            "autoencoder",
            "halve",
            "lost",
            "lsuv",
            "text",
            "weight_norm_data",
            "wild",
        )
        step = get("halve")
        assert isinstance(step, Calibration)
        assert (step.summary, step.parameters[0].default) == (
            "Divide the weight. Nobody 2026.",
            2.0,
        )
        assert changes("halve", nn.Linear(3, 2)) == ("weight", "bias")
        model = chain([64, 4], nn.Tanh)
        before = values(model)
        (done,) = calibrate(model, "halve", {"by": 4}, ["0"], Batch((normalized(),)), seed=0)
        assert (done.tensors, done.text) == (("weight",), "divided by 4")
        assert torch.equal(model[0].weight, before["0.weight"] / 4)
        for name, told in (
            ("lost", "the step `lost` cannot be loaded from no_such_module:step: No module named"),
            ("text", "the step `text`, string:digits, is no function"),
            ("wild", "the step wild must take a layer, then arguments by keyword only"),
        ):
            with pytest.raises(CalibrationError) as raised:
                get(name)
            assert raised.value.message.startswith(told)
    finally:
        get.cache_clear()


def load(entry: EntryPoint) -> object:
    import importlib

    return getattr(importlib.import_module(entry.module), entry.attr)
