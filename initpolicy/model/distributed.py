"""Which tensors are shared out over processes."""

from __future__ import annotations

import sys
from typing import Any, cast

import torch
from torch import nn
from torch.nn.parameter import Parameter

PLAIN = frozenset({torch.Tensor, Parameter})


def may_be_sharded() -> bool:
    """Whether there can be a tensor that is sharded: nobody has one without its module."""
    return "torch.distributed.tensor" in sys.modules


def is_sharded(tensor: torch.Tensor) -> bool:
    """Whether the tensor is a `DTensor`, of which each process holds a part.

    >>> is_sharded(torch.empty(2))
    False
    """
    if type(tensor) in PLAIN:
        return False
    # Whoever has a DTensor has imported this, which takes longer than most models to read.
    loaded = sys.modules.get("torch.distributed.tensor")
    return loaded is not None and isinstance(tensor, loaded.DTensor)


def mesh_of(tensor: torch.Tensor) -> Any:
    """Give the `DeviceMesh` of a tensor that is sharded, or None."""
    sharded: Any = tensor
    return sharded.device_mesh if is_sharded(tensor) else None


def reshard(model: nn.Module) -> None:
    """Let every module under FSDP2 hold its own part again, if it still holds all of it.

    After a forward pass without a backward one, it has whole parameters that nothing keeps.
    """
    loaded: Any = sys.modules.get("torch.distributed.fsdp")
    if loaded is not None and hasattr(loaded, "FSDPModule"):
        for module in model.modules():
            if isinstance(module, loaded.FSDPModule):
                cast("Any", module).reshard()
