"""What engines do with shards: several placements at once, offloading, checkpoints, stages."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from distributed import run
from sharded_models import LAYOUTS, POLICY, build, held, sharded, square, train
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    set_model_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy
from torch.distributed.tensor import Replicate, Shard, distribute_tensor

import initpolicy
from initpolicy.policy import parse

RULES = {
    "normal": '"normal"',
    "truncated": '{ fn = "trunc_normal", std = 2, a = -1, b = 3 }',
    "orthogonal": '"orthogonal"',
    "stacked": '{ fn = "orthogonal", chunks = 2 }',
    "padded": '{ fn = "orthogonal", zero_index = 1 }',
    "formula": '{ fn = "formula", value = "u + 10 * i0 + numel" }',
}
MANY = parse(
    "format = 1\nseed = 4\n"
    + "".join(f'[[rule]]\nname = "{name}"\ninit."*" = {rule}\n' for name, rule in RULES.items())
)
SHAPES = [(2, 5), (10, 7)]
LINE = [[Shard(0)], [Shard(1)], [Replicate()]]
SQUARE = [list(pair) for pair in itertools.product([Shard(0), Shard(1), Replicate()], repeat=2)]


def whole_tensors() -> nn.ModuleDict:
    """A module of each rule, each with a tensor of each shape for each layout."""
    module = nn.ModuleDict()
    for name in RULES:
        module[name] = nn.Module()
        for layout, shape in itertools.product(range(len(LINE) + len(SQUARE)), SHAPES):
            tensor = nn.Parameter(torch.zeros(shape))
            module[name].register_parameter(f"l{layout}_{shape[0]}", tensor)
    return module


def cut(module: nn.ModuleDict) -> nn.ModuleDict:
    """Share out every tensor in its layout."""
    line, both = init_device_mesh("cpu", (4,)), square("a", "b")
    layouts = [(line, places) for places in LINE] + [(both, places) for places in SQUARE]
    for part in module.values():
        for name, tensor in list(part.named_parameters()):
            mesh, places = layouts[int(name[1:].partition("_")[0])]
            data = distribute_tensor(tensor.detach(), mesh, places, src_data_rank=None)
            part.register_parameter(name, nn.Parameter(data))
    return module


def many(rank: int, values: dict[str, Tensor]) -> tuple[list[str], str]:
    wanted = whole_tensors()
    wanted.load_state_dict(values)
    wanted = held(cut(wanted))
    model = cut(whole_tensors().to("meta"))
    initpolicy.apply(model, MANY, device="cpu")
    found = held(model)
    differing = [name for name in wanted if not torch.equal(wanted[name], found[name])]
    return differing, initpolicy.digest(model)


def test_every_law_on_every_placement_has_the_values_of_one_process() -> None:
    model = whole_tensors()
    initpolicy.apply(model, MANY)
    assert run(many, 4, model.state_dict()) == [([], initpolicy.digest(model))] * 4


def differing(wanted: dict[str, Tensor], model: nn.Module) -> list[str]:
    found = held(model)
    return [name for name in wanted if not torch.equal(wanted[name], found[name])]


def whole(seed: int) -> nn.Module:
    model = build()
    initpolicy.apply(model, POLICY, seed=seed)
    return model


HALF = MixedPrecisionPolicy(torch.bfloat16, torch.float32, output_dtype=torch.float32)
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "precision": {"blocks": {"mp_policy": HALF}},
    "offload": {"offload_policy": CPUOffloadPolicy(pin_memory=False)},
    "kept": {"reshard_after_forward": False},
}


def around_forward_passes(rank: int) -> dict[str, Any]:
    """Apply before the first forward pass, after one without a backward one, and after steps."""
    mesh = init_device_mesh("cpu", (2,))
    found: dict[str, Any] = {}
    for name, options in OPTIONS.items():
        model = sharded(build("meta"), mesh, **options)
        wanted = [held(sharded(whole(seed), mesh, **options)) for seed in range(3)]
        initpolicy.apply(model, POLICY, seed=0, device="cpu")
        found[name] = [differing(wanted[0], model)]
        tokens = torch.zeros(2, 2, dtype=torch.int64)
        model.eval()  # or the statistics of the last layer would change
        with torch.no_grad():
            model(tokens)
        initpolicy.apply(model, POLICY, seed=1)
        found[name].append(differing(wanted[1], model))
        with torch.no_grad():
            one = model(tokens)
            initpolicy.apply(model, POLICY, seed=0)
            initpolicy.apply(model, POLICY, seed=1)
            found[name].append(torch.equal(one, model(tokens)))
        train(model, torch.optim.SGD(model.parameters(), 0.1))
        initpolicy.apply(model, POLICY, seed=2)
        found[name].append(differing(wanted[2], model))
        found[name].append(initpolicy.digest(model))
    return found


def test_values_are_kept_before_and_after_forward_passes() -> None:
    found = run(around_forward_passes, 2)
    digest = initpolicy.digest(whole(2))
    for by_options in found:
        for name, steps in by_options.items():
            assert steps == [[], [], True, [], digest], name


def save(rank: int, folder: str) -> None:
    for name in ("FSDP2 over TP", "HSDP"):
        model = LAYOUTS[name](build("meta"))
        initpolicy.apply(model, POLICY, seed=5, device="cpu")
        dcp.save(get_model_state_dict(model), checkpoint_id=f"{folder}/{name}")


def load(rank: int, folder: str) -> list[tuple[bool, str]]:
    """Load what four ranks saved, into two in another layout that has other values."""
    mesh = init_device_mesh("cpu", (2,))
    wanted = held(sharded(whole(5), mesh))
    found: list[tuple[bool, str]] = []
    for name in ("FSDP2 over TP", "HSDP"):
        model = sharded(build("meta"), mesh)
        initpolicy.apply(model, POLICY, seed=6, device="cpu")
        state = get_model_state_dict(model)
        dcp.load(state, checkpoint_id=f"{folder}/{name}")
        set_model_state_dict(model, state, options=StateDictOptions(strict=True))
        found.append((differing(wanted, model) == [], initpolicy.digest(model)))
    return found


def test_a_distributed_checkpoint_goes_from_one_layout_to_another(tmp_path: Path) -> None:
    run(save, 4, str(tmp_path))
    model = whole(5)
    assert run(load, 2, str(tmp_path)) == [[(True, initpolicy.digest(model))] * 2] * 2
    alone = whole(6)
    state = alone.state_dict()
    dcp.load(state, checkpoint_id=str(tmp_path / "HSDP"), no_dist=True)
    assert initpolicy.digest(state) == initpolicy.digest(model)
