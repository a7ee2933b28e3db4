"""Sharded models, on two processes: each judges what it holds."""

from __future__ import annotations

import torch
from distributed import run
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

import initpolicy
from initpolicy.policy import parse

POLICY = """
format = 1
[[rule]]
init.weight = { fn = "normal", std = 0.02, zero_index = 0 }
[[rule]]
name = "1"
init.weight = "xavier_uniform"
"""


def sharded() -> nn.Module:
    mesh = init_device_mesh("cpu", (2,))
    model = nn.Sequential(nn.Linear(30, 21, bias=False), nn.Linear(40, 30, bias=False))
    for dim, layer in enumerate(model):
        layer.weight = nn.Parameter(distribute_tensor(layer.weight.detach(), mesh, [Shard(dim)]))
    return model


def verdicts(rank: int) -> list[tuple[bool, list[tuple[str, str]]]]:
    policy = parse(POLICY)
    model = sharded()
    initpolicy.apply(model, policy)
    judged = [initpolicy.verify(model, policy, exact=exact) for exact in (True, False)]
    with torch.no_grad():
        weight = model[1].weight
        assert isinstance(weight, DTensor)
        torch.manual_seed(0)  # on both, as DTensor's own draws on CPU meshes do
        bound = (6 / 70) ** 0.5
        weight.to_local().uniform_(-bound, bound)
    judged += [initpolicy.verify(model, policy, exact=exact) for exact in (True, False)]
    return [(one.ok, [(f.name, f.code) for f in one.findings]) for one in judged]


def test_each_process_judges_what_it_holds_and_repeated_draws_are_found():
    for exact, law, wrong, repeated in run(verdicts, 2):
        assert exact == law == (True, [])
        assert wrong == (False, [("1.weight", "IP604")])
        assert repeated == (False, [("1.weight", "IP612")])
