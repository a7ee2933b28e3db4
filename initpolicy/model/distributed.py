"""Which tensors are shared out over processes."""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch.nn.parameter import Parameter

PLAIN = frozenset({torch.Tensor, Parameter})


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
