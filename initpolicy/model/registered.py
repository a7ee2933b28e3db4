"""What one module has registered, in the order of registration.

The only file that looks into a module's registries: `named_children` and `named_parameters` hide
the second name of a shared module and every entry that is None, and both matter here.
"""
# pyright: reportPrivateUsage=false

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

import torch
from torch import nn

Kind = Literal["parameter", "buffer"]


def children(module: nn.Module) -> Mapping[str, nn.Module | None]:
    """Map each name of a child of `module` to the child, or to None where there is none."""
    return module._modules


def tensors(module: nn.Module) -> Iterator[tuple[str, torch.Tensor, Kind, bool]]:
    """Each tensor of `module` itself: its local name, the tensor, its kind, and persistence.

    Parameters come before buffers. A parameter is always persistent; a buffer is if `state_dict`
    holds it.
    """
    for name, parameter in module._parameters.items():
        if parameter is not None:
            yield name, parameter, "parameter", True
    for name, buffer in module._buffers.items():
        if buffer is not None:
            yield name, buffer, "buffer", name not in module._non_persistent_buffers_set


def declared(module: nn.Module) -> dict[str, Kind]:
    """Map the local names that `module` itself registered to their kinds, None entries included.

    >>> declared(nn.Linear(3, 2, bias=False))
    {'weight': 'parameter', 'bias': 'parameter'}
    >>> declared(nn.BatchNorm1d(3, affine=False, track_running_stats=False))
    {'weight': 'parameter', 'bias': 'parameter', 'running_mean': 'buffer',
     'running_var': 'buffer', 'num_batches_tracked': 'buffer'}
    """
    names: dict[str, Kind] = dict.fromkeys(module._parameters, "parameter")
    names.update(dict.fromkeys(module._buffers, "buffer"))
    return names
