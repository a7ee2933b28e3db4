"""Libraries of models, imported beside a torch that was built without their operators."""

from __future__ import annotations

import sys
from types import ModuleType

import torch

_LIBRARIES: list[torch.library.Library] = []  # what they define ends with them


def torchvision_models() -> ModuleType:
    """Import `torchvision.models`, of which only the Python part is needed."""
    if "torchvision" not in sys.modules:
        _declare_missing_operators()
    from torchvision import models

    return models


def timm() -> ModuleType:
    """Import timm, which imports torchvision."""
    torchvision_models()
    import timm

    return timm


def transformers() -> ModuleType:
    """Import transformers, of which some models import torchvision."""
    torchvision_models()
    import transformers

    transformers.logging.set_verbosity_error()  # of what small configurations lack
    return transformers


def diffusers() -> ModuleType:
    """Import diffusers, which imports torchvision and transformers where it finds them."""
    torchvision_models()
    import diffusers

    return diffusers


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
