"""Policies on models of timm, which decide on their own initialization when they are built."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest
import torch
from scipy import stats
from torch import nn

import initpolicy

Spoil = Callable[[nn.Module], nn.Module]


@pytest.fixture(scope="module")
def timm(zoo: ModuleType) -> ModuleType:
    return pytest.importorskip("timm")  # `zoo` has imported torchvision, which timm needs


@pytest.mark.parametrize(
    ("name", "arguments", "policy"),
    [
        ("resnet18", {"zero_init_last": False}, "resnet"),
        ("resnet26", {"zero_init_last": True}, "resnet"),
        ("vit_tiny_patch16_224", {"depth": 2}, "vit"),
        ("vit_tiny_patch16_224", {"depth": 2, "reg_tokens": 2, "qkv_bias": False}, "vit"),
    ],
)
def test_the_policy_says_what_timm_does(
    name: str, arguments: dict[str, bool], policy: str, timm: ModuleType, poison: Spoil
) -> None:
    torch.manual_seed(0)
    expected = timm.create_model(name, num_classes=10, **arguments)
    found = poison(timm.create_model(name, num_classes=10, **arguments))
    scale = {"branch_scale": 0.0} if arguments.get("zero_init_last") else {}
    plan = initpolicy.apply(found, policy, seed=0, vars=scale)
    assert plan.warnings == ()
    theirs = {**dict(expected.named_parameters()), **dict(expected.named_buffers())}
    for decision in plan:
        ours, other = decision_tensors(found, decision.name, theirs)
        if other.unique().numel() == 1:
            assert torch.equal(ours, other), decision.name
        else:
            assert stats.ks_2samp(ours, other).pvalue > 1e-5, decision.name
            if other.numel() > 1000:
                ratio = float(ours.std() / other.std())
                assert ratio == pytest.approx(1, abs=0.1), decision.name


def decision_tensors(
    model: nn.Module, name: str, theirs: dict[str, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    ours = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return tuple(tensor.detach().flatten()[:20_000] for tensor in (ours[name], theirs[name]))
