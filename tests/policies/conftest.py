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

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="session")
def zoo() -> ModuleType:
    """`torchvision.models`, of which only the Python part is needed."""
    if "torchvision" not in sys.modules:
        _declare_missing_operators()
    from torchvision import models

    return models


def _declare_missing_operators() -> None:
    # The wheel's compiled operators do not load with a torch that was built otherwise, and
    # without them the import fails where it describes these two. No model here calls them.
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float threshold) -> Tensor")
        _LIBRARIES.append(library)


_LIBRARIES: list[torch.library.Library] = []  # what they define ends with them


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
