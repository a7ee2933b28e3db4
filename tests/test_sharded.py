"""Models on the meta device that are shared out: the values, digests and steps of one process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from distributed import run
from sharded_models import LAYOUTS, POLICY, build, held, parallel, square, train
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard

import initpolicy
from initpolicy.policy import parse


def whole() -> nn.Module:
    model = build()
    initpolicy.apply(model, POLICY, seed=5)
    return model


def stepping(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1)


def applied(layout: str) -> dict[str, Any]:
    """Share out a model without memory, apply, and train; and share out one that has values."""
    wanted = held(LAYOUTS[layout](whole()))
    model = LAYOUTS[layout](build("meta"))
    optimizer = stepping(model)  # before there is memory
    model.embed.weight.no_weight_decay = True
    initpolicy.apply(model, POLICY, seed=5, device="cpu")
    found = held(model)
    return {
        "differ": [n for n in wanted if not torch.equal(found.get(n, torch.empty(0)), wanted[n])],
        "names": list(found) == list(wanted),
        "tied": model.head.weight is model.embed.weight,
        "marked": getattr(model.embed.weight, "no_weight_decay", False),
        "digest": initpolicy.digest(model),
        "losses": train(model, optimizer),
        "empty": sum(tensor.numel() == 0 for tensor in found.values()),
    }


def every_layout(rank: int) -> dict[str, dict[str, Any]]:
    return {layout: applied(layout) for layout in LAYOUTS}


def test_every_layout_has_the_values_of_one_process() -> None:
    model = whole()
    digest = initpolicy.digest(model)
    losses = train(model, stepping(model))
    assert losses[1] < losses[0]
    for rank, by_layout in enumerate(run(every_layout, 4)):
        for layout, found in by_layout.items():
            where = f"rank {rank}, {layout}: {found}"
            assert found["differ"] == [], where
            assert found["names"], where
            assert found["tied"], where
            assert found["marked"], where
            assert found["digest"] == digest, where
            assert found["losses"] == pytest.approx(losses, rel=1e-4), where
    assert by_layout["FSDP2"]["empty"] > 0


def told(rank: int, call: Callable[[int, nn.Module], object]) -> str:
    """What an application says in a process; empty if it was carried out, or changed anything."""
    model = LAYOUTS["FSDP2 over TP"](build())
    before = held(model)
    try:
        call(rank, model)
    except Exception as error:
        after = held(model)
        same = all(new.is_meta or torch.equal(before[name], new) for name, new in after.items())
        return f"{type(error).__name__} {error}" if same else ""
    return ""


def seeds(rank: int, model: nn.Module) -> None:
    initpolicy.apply(model, POLICY, seed=5 + (rank == 3))


def policies(rank: int, model: nn.Module) -> None:
    other = parse('format = 1\nextends = ["torch"]\n[[rule]]\nname = "blocks.1.up"\ninit.bias = 7')
    initpolicy.apply(model, other if rank == 2 else "torch", seed=0)


def lost_file(rank: int, model: nn.Module) -> None:
    initpolicy.apply(model, "lost.toml" if rank == 1 else "torch", seed=0)


def lost_files(rank: int, model: nn.Module) -> None:
    initpolicy.apply(model, f"lost{rank}.toml" if rank > 1 else "torch", seed=0)


def other_plan(rank: int, model: nn.Module) -> None:
    plan = initpolicy.plan(build(), POLICY, seed=0)
    other = initpolicy.plan(nn.Linear(2, 2), "torch", seed=0)
    initpolicy.apply(model, other if rank == 2 else plan)


def empty_on_one(rank: int, model: nn.Module) -> None:
    if rank == 1:
        meta = torch.empty_like(model.last.weight, device="meta")
        model.last.weight = nn.Parameter(meta)
    initpolicy.apply(model, POLICY, seed=5)


def defect(rank: int, model: nn.Module) -> None:
    class Broken(dict[str, str]):
        def __iter__(self) -> Any:
            raise KeyError("broken")

    initpolicy.apply(model, POLICY, seed=5, rename=Broken(a="b") if rank == 2 else {})


def out_of_memory(rank: int, model: nn.Module) -> None:
    allocate = torch.empty_like

    def fails(tensor: Tensor, **options: Any) -> Tensor:
        if options.get("device") == torch.device("cpu"):
            raise MemoryError("there is no more")
        return allocate(tensor, **options)

    empty = LAYOUTS["FSDP2 over TP"](build("meta"))
    with pytest.MonkeyPatch.context() as patch:
        if rank == 3:
            patch.setattr(torch, "empty_like", fails)
        try:
            initpolicy.apply(empty, POLICY, seed=5, device="cpu")
        finally:
            assert all(tensor.is_meta for tensor in held(empty).values())


def crossing(rank: int, model: nn.Module) -> None:
    """Rank 1 shares one mesh with rank 0 and another with rank 3, and none with rank 2."""
    initpolicy.apply(crossed(), POLICY, seed=5 + (rank == 1))


def crossing_back(rank: int, model: nn.Module) -> None:
    """Only what rank 1 shares with rank 3 differs, on the mesh that is compared last."""
    other = parse('format = 1\nextends = ["torch"]\n[[rule]]\nname = "small"\ninit.bias = 7')
    initpolicy.apply(crossed(), other if rank == 1 else "torch", seed=0)


def crossed() -> nn.Module:
    mesh = square("dp", "tp")
    model = parallel(build(), mesh["tp"])
    fully_shard(model.small, mesh=mesh["dp"])
    return model


CASES = [
    seeds,
    crossing,
    crossing_back,
    policies,
    lost_file,
    lost_files,
    other_plan,
    empty_on_one,
    defect,
    out_of_memory,
]


def every_case(rank: int) -> dict[str, str]:
    return {case.__name__: told(rank, case) for case in CASES}


def different(one: int, other: int, here: str, there: str) -> str:
    return (
        f"InitPolicyError IP307 ranks {one} and {other} have different plans, so no rank went on: "
        f"first {here} on rank {one}, {there} on rank {other}; "
        "give every rank the same policy, seed and variables"
    )


def elsewhere(rank: int, why: str) -> str:
    return (
        f"InitPolicyError IP307 rank {rank} could not go on, so no rank did: {why}; "
        "set this right there, or give every rank the same model and policy"
    )


def test_what_goes_wrong_on_one_rank_stops_all_and_is_told_on_all() -> None:
    by_rank = run(every_case, 4)
    said = {case.__name__: [found[case.__name__] for found in by_rank] for case in CASES}
    assert said["seeds"] == [different(0, 3, "seed 5", "seed 6")] * 4
    assert said["crossing"] == [different(0, 1, "seed 5", "seed 6")] * 4
    uniform = '"uniform", "low": -0.3779644730092272, "high": 0.3779644730092272}]'
    small = '["small.bias", [1], "float32", "small.bias", {"kind": '
    changed = different(1, 3, f'{small}"constant", "value": 7.0}}]', f"{small}{uniform}")
    assert said["crossing_back"] == [changed] * 4
    bias = '["blocks.1.up.bias", [10], "float32", "blocks.1.up.bias", {"kind": '
    changed = different(0, 2, f"{bias}{uniform}", f'{bias}"constant", "value": 7.0}}]')
    assert said["policies"] == [changed] * 4

    for case, rank, own in (
        ("lost_file", 1, "InitPolicyError IP110 there is no policy `lost.toml`, "),
        ("other_plan", 2, "InitPolicyError IP301 the plan has 2 tensors that the model lacks: "),
        ("empty_on_one", 1, "InitPolicyError IP303 1 tensor is on the meta device and has no "),
        ("defect", 2, "KeyError 'broken'"),
        ("out_of_memory", 3, "MemoryError there is no more"),
    ):
        found = said[case].pop(rank)
        assert found.startswith(own)
        kind, _, text = found.partition(" ")
        why = text if kind == "InitPolicyError" else f"{kind}: {text}"
        assert said[case] == [elsewhere(rank, why.replace("\n", "; "))] * 3

    first, second, third, fourth = said["lost_files"]
    assert first == second
    for rank, own in ((2, third), (3, fourth)):  # each says its own, and all to the others
        told = own.removeprefix("InitPolicyError ")
        assert told.startswith(f"IP110 there is no policy `lost{rank}.toml`")
        assert f"rank {rank} could not go on, so no rank did: {told}" in first
