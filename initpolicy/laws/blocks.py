"""Values computed block by block, so that none but the tensor itself is large."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from initpolicy.laws.part import Part

BLOCK = 1 << 16
"""How many elements are computed at a time."""

Indices = NDArray[np.int64]


@torch.no_grad()
def write_blocks(tensor: Tensor, values: Callable[[int, int], Tensor]) -> None:
    """Set a tensor's elements from the values of those from a first to before a last.

    They are counted in row-major order.

    >>> tensor = torch.empty(2, 2)
    >>> write_blocks(tensor, lambda first, last: torch.arange(first, last))
    >>> tensor.tolist()
    [[0.0, 1.0], [2.0, 3.0]]
    """
    tensor = tensor.detach()
    dense = tensor.is_contiguous()
    flat = (tensor if dense else tensor.new_empty(tensor.shape)).view(-1)
    for first in range(0, flat.numel(), BLOCK):
        last = min(first + BLOCK, flat.numel())
        flat[first:last].copy_(values(first, last))
    if not dense:
        tensor.copy_(flat.view(tensor.shape))


def write_by_index(part: Part, values: Callable[[Indices], Tensor]) -> None:
    """Set the elements of a part from values of their indices in the whole tensor.

    >>> from initpolicy import field
    >>> part = Part(torch.empty(2), (2, 4), field.Runs.of([(1, 2), (5, 6)]))
    >>> write_by_index(part, torch.from_numpy)
    >>> part.tensor.tolist()
    [1.0, 5.0]
    """
    write_blocks(part.tensor, lambda a, b: values(part.runs.some(a, b).indices()))
