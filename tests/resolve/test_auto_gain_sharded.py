"""Gains that follow from what follows a layer, in several processes."""

from __future__ import annotations

import torch
from distributed import run
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

import initpolicy
from initpolicy.policy import parse
from initpolicy.problems import InitPolicyError

POLICY = (
    'format = 1\n[[rule]]\ninit.weight = { fn = "xavier_normal", gain = "auto" }\ninit.bias = 0\n'
)


def model() -> nn.Sequential:
    with torch.device("meta"):
        return nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 8))


def planned(rank: int) -> tuple[str, str, str]:
    """The digest of a model that was planned and then sharded, and why it is not planned after."""
    net = model()
    plan = initpolicy.plan(net, parse(POLICY), seed=0)
    fully_shard(net, mesh=init_device_mesh("cpu", (2,)))
    try:
        initpolicy.plan(net, parse(POLICY))
    except InitPolicyError as error:
        told = error.problems[0].code, error.problems[0].message
    initpolicy.apply(net, plan, device="cpu")
    return initpolicy.digest(net), *told


def test_a_model_is_planned_before_it_is_sharded() -> None:
    (first, code, message), second = run(planned, 2)
    assert (first, code, message) == second
    assert code == "IP231"
    assert "plan the model before it is sharded" in message
    whole = nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 8))
    initpolicy.apply(whole, parse(POLICY), seed=0)
    assert initpolicy.digest(whole) == first
