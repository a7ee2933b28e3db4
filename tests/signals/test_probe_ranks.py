"""Probes of models that several processes share out or copy: those of one process."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest
import torch
from distributed import run
from hypothesis import given
from hypothesis import strategies as st
from sharded_models import LAYOUTS, POLICY, build, held
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.parallel import ColwiseParallel, parallelize_module
from torch.nn.parallel import DistributedDataParallel

import initpolicy
from initpolicy.problems import InitPolicyError
from initpolicy.signals import Limits, Probe
from initpolicy.signals.ranks import Measured, joined_parameters, joined_signals
from initpolicy.signals.record import Signal

IDS = "4,6:int64:13"


def rows(found: Probe) -> list[dict[str, Any]]:
    return [asdict(row) for row in (*found.layers, *found.parameters)]


def near(value: Any) -> Any:
    numbers = isinstance(value, float | tuple)
    return pytest.approx(value, rel=1e-3, abs=1e-7) if numbers else value


def close(found: Probe, expected: Probe) -> None:
    """To rounding; what is smaller than 1e-7 is rounding itself."""
    for one, other in zip(rows(found), rows(expected), strict=True):
        assert one == {key: near(value) for key, value in other.items()}, one["name"]
    assert [str(one.name) for one in found.findings] == [one.name for one in expected.findings]


def every_layout(rank: int) -> dict[str, Probe]:
    found: dict[str, Probe] = {}
    for layout, share_out in LAYOUTS.items():
        model = share_out(build())
        before = held(model)
        found[layout] = initpolicy.probe(model, POLICY, input=IDS, draws=2)
        after = held(model)
        assert all(torch.equal(before[name], after[name]) for name in before)
        assert all(parameter.grad is None for parameter in model.parameters())
    return found


def test_every_layout_has_the_probe_of_one_process(four: list[dict[str, Any]]) -> None:
    expected = initpolicy.probe(build(), POLICY, input=IDS, draws=2)
    assert len(expected.layers) == 10
    first, *others = (found["layouts"] for found in four)
    for layout in LAYOUTS:
        close(first[layout], expected)
        assert all(other[layout] == first[layout] for other in others), layout


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(6, 7), nn.Linear(7, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(torch.relu(self.up(x)))


def batch() -> torch.Tensor:
    return torch.randn(8, 6, generator=torch.Generator().manual_seed(1))


def in_copies(rank: int) -> Probe:
    model = DistributedDataParallel(Net())
    return initpolicy.probe(model, "torch", input=lambda: batch()[4 * rank :][:4], draws=2)


def test_copies_that_see_parts_of_a_batch_have_the_probe_of_all_of_it(
    two: list[dict[str, Any]],
) -> None:
    expected = initpolicy.probe(Net(), "torch", input=batch(), draws=2)
    first, second = (found["copies"] for found in two)
    assert first == second
    for one, other in zip(first.layers, expected.layers, strict=True):
        for name in ("mean", "std", "rms", "zeros", "saturated"):
            assert getattr(one, name) == near(getattr(other, name)), name
        # Each process has a batch of half the size, of which the loss is the mean.
        assert one.name == other.name
    for one, other in zip(first.parameters, expected.parameters, strict=True):
        assert (one.name, one.rms) == (other.name, pytest.approx(other.rms, rel=1e-5))


def outputs_in_parts(rank: int) -> Probe:
    model = Net()
    mesh = init_device_mesh("cpu", (2,))
    from torch.distributed.tensor import Replicate, Shard

    style = ColwiseParallel(output_layouts=Shard(-1), use_local_output=False)
    rowwise = ColwiseParallel(
        input_layouts=Shard(-1), output_layouts=Replicate(), use_local_output=False
    )
    parallelize_module(model, mesh, {"up": style, "down": rowwise})
    assert isinstance(model(batch()), DTensor)
    return initpolicy.probe(model, "torch", input=batch(), draws=2)


def test_activations_and_outputs_that_are_shared_out_too(two: list[dict[str, Any]]) -> None:
    expected = initpolicy.probe(Net(), "torch", input=batch(), draws=2)
    first, second = (found["outputs"] for found in two)
    assert first == second
    close(first, expected)


def shapes(rank: int) -> dict[str, Any]:
    return {"input": (4 + rank, 6)}


def broken_batch(rank: int) -> dict[str, Any]:
    return {"input": batch if rank == 0 else lambda: 1 / 0}


def policies(rank: int) -> dict[str, Any]:
    return {"policy": "mlp" if rank else "torch"}


def options(rank: int) -> dict[str, Any]:
    return {"limits": Limits(zeros=0.5 + 0.1 * rank)}


def draws(rank: int) -> dict[str, Any]:
    return {"draws": rank}


def everywhere(rank: int) -> dict[str, Any]:
    return {"input": "4,6:int33"}


def missing(rank: int) -> dict[str, Any]:
    return {"policy": "torch" if rank == 0 else "nowhere.toml"}


CALLS = {
    shapes: "IP755 ranks 0 and 1 probe differently, so no rank went on: 4 x 6 float32, ",
    broken_batch: "IP755 rank 1 could not go on, so no rank did: IP751 the input cannot be made",
    policies: "IP755 ranks 0 and 1 probe differently, so no rank went on: policies/torch.toml ",
    options: "IP755 ranks 0 and 1 probe differently, so no rank went on: 4 x 6 float32, 3 draws",
    draws: "IP755 rank 0 could not go on, so no rank did: IP753 there cannot be 0 draws",
    everywhere: "IP751 input '4,6:int33': there is no type 'int33'",
    missing: "IP755 rank 1 could not go on, so no rank did: IP110 ",
}


def told(rank: int) -> list[str]:
    found: list[str] = []
    for call in CALLS:
        given: dict[str, Any] = {"policy": "torch", "input": (4, 6), **call(rank)}
        model = DistributedDataParallel(Net())
        before = copy.deepcopy(model.state_dict())
        try:
            initpolicy.probe(model, given.pop("policy"), **given)
            found.append("")
        except InitPolicyError as error:
            found.append(str(error))
        assert all(torch.equal(before[name], now) for name, now in model.state_dict().items())
    return found


def test_what_goes_wrong_on_one_rank_is_told_by_all_and_none_waits(
    two: list[dict[str, Any]],
) -> None:
    first, second = (found["told"] for found in two)
    assert first == second
    for said, expected in zip(first, CALLS.values(), strict=True):
        assert said.startswith(expected), said


def wrapped(rank: int) -> str:
    model = FullyShardedDataParallel(Net(), device_id=torch.device("cpu"), use_orig_params=True)
    with pytest.raises(InitPolicyError) as caught:
        initpolicy.probe(model, "torch", input=(4, 6))
    return str(caught.value)


def test_the_first_fsdp_is_an_error_before_anything_runs(two: list[dict[str, Any]]) -> None:
    first, second = (found["wrapped"] for found in two)
    assert first == second
    assert first.startswith("IP754 the model is wrapped in FullyShardedDataParallel, which moves")


def sharded_mistakes(rank: int) -> list[Any]:
    """A policy that differs, and a batch that the model cannot take; then one that it can."""
    found: list[Any] = []
    model = LAYOUTS["FSDP2 over TP"](build())
    for seed, ids in ((rank, IDS), (0, "4,6,2:int64:13"), (0, IDS)):
        try:
            found.append(initpolicy.probe(model, POLICY, input=ids, seed=seed, draws=1))
        except InitPolicyError as error:
            found.append(str(error))
    return found


def test_after_a_mistake_a_sharded_model_can_be_probed(four: list[dict[str, Any]]) -> None:
    first, *others = (found["mistakes"] for found in four)
    assert all(other == first for other in others)
    assert first[0].startswith("IP307 ranks 0 and 1 have different plans")
    assert first[1].startswith("IP752 the model cannot be run on this input")
    close(first[2], initpolicy.probe(build(), POLICY, input=IDS, seed=0, draws=1))


def on_four(rank: int) -> dict[str, Any]:
    return {"layouts": every_layout(rank), "mistakes": sharded_mistakes(rank)}


def on_two(rank: int) -> dict[str, Any]:
    return {
        "copies": in_copies(rank),
        "outputs": outputs_in_parts(rank),
        "told": told(rank),
        "wrapped": wrapped(rank),
    }


@pytest.fixture(scope="module")
def four() -> list[dict[str, Any]]:
    """What each of four processes found, which are started once."""
    return run(on_four, 4)


@pytest.fixture(scope="module")
def two() -> list[dict[str, Any]]:
    return run(on_two, 2)


class Backend:
    """Compiles to what was written, and counts how often."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, graph: torch.fx.GraphModule, _: list[Any]) -> Callable[..., Any]:
        self.calls += 1
        return graph.forward


def compiled(net: nn.Module, backend: Backend) -> nn.Module:
    return torch.compile(net, backend=backend)


def inside(net: nn.Module, backend: Backend) -> nn.Module:
    net.up = torch.compile(net.up, backend=backend)
    return net


def in_place(net: nn.Module, backend: Backend) -> nn.Module:
    net.compile(backend=backend)
    return net


@pytest.mark.parametrize("how", [compiled, inside, in_place])
def test_compiled_models_are_probed_as_they_are_written(
    how: Callable[[nn.Module, Backend], nn.Module],
) -> None:
    expected = initpolicy.probe(Net(), "torch", input=(4, 6), draws=1)
    backend = Backend()
    model = how(Net(), backend)
    model(torch.ones(4, 6))
    assert backend.calls == 1
    found = initpolicy.probe(model, "torch", input=(4, 6), draws=1)
    assert backend.calls == 1
    assert found.layers == expected.layers
    assert found.parameters == expected.parameters
    model(torch.ones(4, 6))
    assert backend.calls == 1


PARTS = st.lists(st.lists(st.floats(-1e3, 1e3), max_size=6), min_size=1, max_size=4)


def signal_of(values: list[float]) -> Signal:
    tensor = torch.tensor(values, dtype=torch.float64)
    if not values:
        return Signal(
            "m", "relu", 1, "activation", 0.0, 0.0, 0.0, 0.0, 0, saturated=0.0, gradient=0.0
        )
    rms = float(tensor.square().mean().sqrt())
    zeros = float((tensor == 0).double().mean())
    return Signal(
        "m", "relu", 1, "activation", float(tensor.mean()), float(tensor.std(correction=0)), rms,
        zeros, len(values), saturated=zeros, gradient=rms,
    )  # fmt: skip


@given(PARTS)
def test_parts_are_joined_to_what_all_of_the_values_have(parts: list[list[float]]) -> None:
    whole = signal_of([value for part in parts for value in part])
    found = joined_signals([signal_of(part) for part in parts])
    for name in ("mean", "std", "rms", "zeros", "saturated", "gradient", "count"):
        expected = pytest.approx(getattr(whole, name), rel=1e-9, abs=1e-9)
        assert getattr(found, name) == expected, name


def test_what_overflowed_in_one_part_has_overflowed() -> None:
    wild = Signal("m", "linear", 1, "weights", math.inf, math.inf, math.inf, 0.0, 3)
    found = joined_signals([signal_of([1.0, 2.0]), wild])
    assert (found.rms, found.std) == (math.inf, math.inf)
    joined = joined_parameters([Measured("w", 3, 2.0, None), Measured("w", 0, 0.0, None)])
    assert joined == Measured("w", 3, 2.0, None)
