"""Wrapped models have the names, laws and values of the bare one, and flattened ones say so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from distributed import run
from torch import Tensor, nn
from torch.distributed._composable import replicate
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import (
    apply_activation_checkpointing,
    checkpoint_wrapper,
)
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DataParallel, DistributedDataParallel

import initpolicy
from initpolicy import InitPolicyError
from initpolicy.policy import parse

POLICY = parse(
    """
format = 1
[vars]
n_layer = { count = "layers.<i>" }

[[rule]]
type = "=Embedding"
init.weight = { fn = "normal", std = 2 }

[[rule]]
type = "=Linear"
within = "Block"
name = "layers.<i>.**"
init.weight = { fn = "trunc_normal", std = "1 / sqrt(n_layer) + i" }
init.bias = { fn = "uniform", a = "-1 - i", b = 0 }

[[rule]]
type = "BatchNorm1d"
init."*" = { fn = "normal", mean = 1 }
buffer."*" = 0

[[rule]]
name = "head"
init.bias = { fn = "uniform", a = 3, b = 4 }
"""
)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 6)
        self.norm = nn.BatchNorm1d(6)


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(9, 6)
        self.layers = nn.ModuleList(Block() for _ in range(3))
        self.head = nn.Linear(6, 9)
        self.head.weight = self.embed.weight


def checkpointed(model: nn.Module) -> nn.Module:
    apply_activation_checkpointing(model, checkpoint_wrapper, lambda m: isinstance(m, Block))
    return model


def compiled_blocks(model: Any) -> nn.Module:
    for index, layer in enumerate(model.layers):
        model.layers[index] = torch.compile(layer)
    return model


def compiled_in_place(model: nn.Module) -> nn.Module:
    model.compile()
    return model


def sharded(model: Any) -> nn.Module:
    for layer in model.layers:
        fully_shard(layer)
    return fully_shard(model)


def flattened(model: Any, *, originals: bool = True) -> nn.Module:
    options = {"use_orig_params": originals, "device_id": torch.device("cpu")}
    for index, layer in enumerate(model.layers):
        model.layers[index] = FullyShardedDataParallel(layer, **options)
    return FullyShardedDataParallel(model, **options)


DDP = DistributedDataParallel
WAYS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "DataParallel": DataParallel,
    "DDP": DDP,
    "replicate": lambda model: replicate(model) or model,
    "compile": lambda model: torch.compile(model),
    "compile in place": compiled_in_place,
    "compiled blocks": compiled_blocks,
    "checkpointing": checkpointed,
    "DDP of compiled checkpointing": lambda model: DDP(torch.compile(checkpointed(model))),
    "compiled DDP of compiled blocks": lambda model: torch.compile(DDP(compiled_blocks(model))),
    "FSDP2": sharded,
    "FSDP2 of checkpointing": lambda model: sharded(checkpointed(model)),
    "FSDP2 of compiled blocks": lambda model: sharded(compiled_blocks(model)),
    "compiled FSDP2 of both": lambda m: torch.compile(sharded(compiled_blocks(checkpointed(m)))),
    "FSDP1": lambda model: flattened(model, originals=False),
    "FSDP1 with originals": flattened,
    "FSDP1 of checkpointing": lambda model: flattened(checkpointed(model)),
    "compiled FSDP1": lambda model: torch.compile(flattened(model, originals=False)),
    "FSDP1 of compiled blocks": lambda model: flattened(compiled_blocks(model)),
}


@contextmanager
def whole(model: nn.Module) -> Iterator[None]:
    with FullyShardedDataParallel.summon_full_params(model):
        yield


def values(model: nn.Module) -> list[Tensor]:
    found = [*model.parameters(), *model.buffers()]
    return [t.full_tensor() if isinstance(t, DTensor) else t.detach().clone() for t in found]


def everything(rank: int) -> dict[str, list[str]]:
    """Tell what is different under each way of wrapping."""
    bare = Model()
    plan = initpolicy.apply(bare, POLICY, seed=11)
    expected = values(bare)
    told: dict[str, list[str]] = {}
    for way, wrap in WAYS.items():
        torch.manual_seed(5)
        model = wrap(Model())
        context = whole if way.startswith(("FSDP1", "compiled FSDP1")) else nullcontext
        wrong: list[str] = []
        with context(model) if context is whole else nullcontext():
            other = initpolicy.plan(model, POLICY, seed=11)
            carried_out = initpolicy.apply(model, POLICY, seed=11)
        if not other.decisions == carried_out.decisions == plan.decisions:
            wrong.append("\n".join(map(str, (other, carried_out))))
        with context(model) if context is whole else nullcontext():
            found = values(model)
        pairs = zip(expected, found, strict=True)
        wrong += [f"tensor {k}" for k, (a, b) in enumerate(pairs) if not torch.equal(a, b)]
        told[way] = wrong
    return told


def test_every_wrapper_leaves_names_laws_and_values() -> None:
    for told in run(everything, 2):
        assert {way: wrong for way, wrong in told.items() if wrong} == {}
        assert set(told) == set(WAYS)


def outside(rank: int) -> list[str]:
    told: list[str] = []
    for originals in (False, True):
        model = flattened(Model(), originals=originals)
        before = [parameter.detach().clone() for parameter in model.parameters()]
        for call in (initpolicy.plan, initpolicy.apply):
            try:
                call(model, POLICY)
            except InitPolicyError as error:
                told.append(str(error))
        with FullyShardedDataParallel.summon_full_params(model, recurse=False):
            try:
                initpolicy.plan(model, POLICY)
            except InitPolicyError as error:
                told.append(str(error))
        after = list(model.parameters())
        told += [] if all(map(torch.equal, before, after)) else ["something was written"]
    return told


def test_flattened_parameters_are_an_error_that_says_what_to_write() -> None:
    hint = (
        "write `with FullyShardedDataParallel.summon_full_params(model):` around it, or use "
        "`fully_shard`, which leaves parameters their shapes"
    )
    everywhere = (
        "IP213 14 parameters are flattened by FullyShardedDataParallel: embed.weight, head.bias, "
        "layers.0.fc.weight, layers.0.fc.bias, layers.0.norm.weight, layers.0.norm.bias, "
        f"layers.1.fc.weight, layers.1.fc.bias and 6 more; {hint}"
    )
    for told in run(outside, 2):
        assert told[0] == told[1] == told[3] == told[4] == everywhere
        assert len(told) == 6
        assert told[2] == told[5]
        assert told[2].startswith("IP213 12 parameters are flattened")


def unsharded(rank: int) -> bool:
    """One process has nothing to shard, and keeps the originals as they are."""
    bare = Model()
    plan = initpolicy.apply(bare, POLICY)
    model = flattened(Model())
    return initpolicy.apply(model, POLICY).decisions == plan.decisions and all(
        map(torch.equal, values(bare), values(model))
    )


def test_fsdp_of_one_process_needs_no_context() -> None:
    assert run(unsharded, 1) == [True]


def test_the_class_is_that_of_the_module_whatever_was_put_before_it() -> None:
    assert run(classes, 1) == [["Linear", "Linear", "Linear", "Linear", "Linear"]]


def classes(rank: int) -> list[str]:
    from initpolicy.model import class_of

    def normed() -> nn.Module:
        return nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))

    after = fully_shard(nn.Linear(2, 2))
    nn.utils.parametrizations.weight_norm(after, "bias", dim=None)
    ways = [nn.Linear(2, 2), fully_shard(nn.Linear(2, 2)), replicate(nn.Linear(2, 2))]
    return [class_of(one).__name__ for one in [*ways, fully_shard(normed()), after]]
