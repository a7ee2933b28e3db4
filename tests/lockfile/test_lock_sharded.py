"""A sharded model against the lock of the whole one."""

from __future__ import annotations

from distributed import run
from torch import nn

POLICY = """
format = 1
seed = 4
[[rule]]
init.weight = { fn = "normal", std = 0.1 }
init.bias = 0
[[rule]]
name = "1"
init.weight = "orthogonal"
"""


def model() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 7))


def compared(rank: int, text: str) -> list[list[str]]:
    import torch
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import DTensor

    import initpolicy
    from initpolicy import lockfile
    from initpolicy.policy import parse

    whole = model()
    initpolicy.apply(whole, parse(POLICY))
    for layer in whole:
        fully_shard(layer)
    lock = lockfile.parse(text)
    found = [lockfile.check_values(lock, whole)]
    for layer in whole:
        assert isinstance(layer.weight, DTensor)
        if rank == 1:  # the other process holds what it should
            with torch.no_grad():
                layer.weight.to_local()[-1, -1] += 0.5
    found.append(lockfile.check_values(lock, whole))
    return [[one.name for one in each.differences] for each in found]


def test_every_process_finds_what_one_of_them_holds_wrong() -> None:
    import initpolicy
    from initpolicy import lockfile
    from initpolicy.policy import parse

    text = lockfile.write(lockfile.lock(initpolicy.plan(model(), parse(POLICY))))
    assert run(compared, 2, text) == [[[], ["0.weight", "1.weight"]]] * 2
