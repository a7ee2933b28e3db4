"""Nothing is found in the models that the ready policies are for: what is meant, rules allow."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch
from torch import nn

import initpolicy

sys.path.insert(0, str(Path(__file__).parents[1] / "zoo"))
CATALOGUE = import_module("catalogue").CATALOGUE

ARCHITECTURES = [
    pytest.param(
        architecture,
        id=f"{library}-{architecture.name}".replace(" ", "-"),
        marks=() if architecture.quick else pytest.mark.zoo,
    )
    for library, architectures in CATALOGUE.items()
    for architecture in architectures
]


def on_meta(build) -> nn.Module:
    try:
        with torch.device("meta"):
            return build()
    except (NotImplementedError, RuntimeError):  # a rate that is computed with a tensor, and read
        return build()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_ready_policy_is_clean(architecture) -> None:
    model = on_meta(architecture.build)
    advice = initpolicy.lint(model, architecture.policy, vars=architecture.vars)
    assert advice.findings == ()
