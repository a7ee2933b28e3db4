"""What follows a module: found by tracing, by running the model, or told by its containers.

A trace with torch.fx needs no input, and fails for models that branch on values or shapes. A run
needs an input, and sees one way through the model. Where there is neither, the order in
`nn.Sequential` is all that is known.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from initpolicy.model.flow.containers import contained
from initpolicy.model.flow.elementwise import Elementwise, ElementwiseError
from initpolicy.model.flow.following import After, FollowingError, following
from initpolicy.model.flow.running import ran
from initpolicy.model.flow.steps import OUTPUT, UNKNOWN, Flow, Step, beyond, plain
from initpolicy.model.flow.tracing import traced

Call = tuple[Sequence[Any], Mapping[str, Any]]

__all__ = [
    "OUTPUT",
    "UNKNOWN",
    "After",
    "Call",
    "Elementwise",
    "ElementwiseError",
    "Flow",
    "FollowingError",
    "Step",
    "beyond",
    "flow_of",
    "following",
    "plain",
]


def flow_of(
    model: nn.Module,
    tensors: Collection[torch.Tensor] | None = None,
    call: Call | None = None,
    training: bool = False,
) -> Flow:
    """Find what follows each module of a model; `tensors` are those that it holds.

    `call` is what the model is called with, positional and named: then it is run, and `traced` is
    false if that fails. It is seen as it is evaluated, or with `training` as it is trained.

    >>> flow_of(nn.Sequential(nn.Linear(2, 2), nn.Tanh())).traced
    True
    >>> flow_of(nn.Sequential(nn.Linear(2, 2)), call=((torch.ones(3),), {})).reason
    'RuntimeError: mat1 and mat2 shapes cannot be multiplied (1x3 and 2x2)'
    """
    if tensors is None:
        tensors = [*model.parameters(), *model.buffers()]
    if call is None:
        found = traced(model, tensors, training)
    else:
        found = ran(model, tensors, *call, training)
    return Flow(contained(model), False, reason=found) if isinstance(found, str) else found
