"""Architectures of torchvision."""

from __future__ import annotations

from typing import Any

from harness import Architecture
from libraries import torchvision_models
from torch import nn

TITLE = "torchvision"


def classifier(name: str, policy: str, **kwargs: Any) -> Architecture:
    quick = kwargs.pop("quick", False)
    named = kwargs.pop("named", name)
    copies = kwargs.pop("copies", 2)
    variables = kwargs.pop("vars", None)
    arguments = {"num_classes": 100, **kwargs}

    def build() -> nn.Module:
        return getattr(torchvision_models(), name)(weights=None, **arguments)

    return Architecture(named, build, policy, vars=variables, copies=copies, quick=quick)


ARCHITECTURES = [
    classifier("resnet18", "resnet", quick=True),
]
