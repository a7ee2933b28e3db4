"""Models that were written elsewhere, and the examples."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

from initpolicy.model import load_model

sys.path.insert(0, str(Path(__file__).parents[1] / "zoo"))

from libraries import torchvision_models

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="session")
def zoo() -> ModuleType:
    """`torchvision.models`, of which only the Python part is needed."""
    return torchvision_models()


@pytest.fixture(scope="session")
def example() -> Callable[..., nn.Module]:
    """Build a model of the examples: `example("densenet.py:densenet121")`."""

    def build(spec: str, **kwargs: int) -> nn.Module:
        return load_model(f"{EXAMPLES}/{spec}", kwargs)

    return build


@pytest.fixture(scope="session")
def poison() -> Callable[[nn.Module], nn.Module]:
    """Fill every tensor with what no initializer gives, so that one left out is seen."""

    def spoil(model: nn.Module) -> nn.Module:
        with torch.no_grad():
            for tensor in [*model.parameters(), *model.buffers()]:
                tensor.fill_(-7)
        return model

    return spoil


@pytest.fixture(scope="session")
def assert_same() -> Callable[[nn.Module, nn.Module], None]:
    """Assert that two models have the same tensors, bit for bit."""

    def check(found: nn.Module, expected: nn.Module) -> None:
        for kind in ("named_parameters", "named_buffers"):
            ours = dict(getattr(found, kind)())
            theirs = dict(getattr(expected, kind)())
            assert ours.keys() == theirs.keys()
            different = [name for name in ours if not torch.equal(ours[name], theirs[name])]
            assert not different

    return check
