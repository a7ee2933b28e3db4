"""Which dimensions of a weight and of an output count the output channels of a layer."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

from torch import Tensor, nn


class Channels(NamedTuple):
    """Where output channels are counted.

    Attributes:
        output: the dimension of the output, from behind.
        weight: the dimension of the weight.
        groups: of a transposed convolution, whose weight counts the channels of one group.
    """

    output: int
    weight: int = 0
    groups: int = 1

    def across(self, values: Tensor) -> list[int]:
        """The other dimensions of an output."""
        return [dim for dim in range(values.ndim) if dim != values.ndim + self.output]

    def spread(self, factors: Tensor, weight: Tensor) -> Tensor:
        """Shape a number for each output channel so that it multiplies the weight.

        >>> import torch
        >>> factors, weight = torch.arange(4.0), torch.ones(2, 2, 1)
        >>> Channels(-2, weight=1, groups=2).spread(factors, weight).squeeze().tolist()
        [[0.0, 1.0], [2.0, 3.0]]
        """
        shape = [1] * weight.ndim
        shape[self.weight] = weight.shape[self.weight]
        if self.groups == 1:
            return factors.view(shape)
        shape[0] = weight.shape[0]
        inputs = weight.shape[0] // self.groups
        return factors.view(self.groups, -1).repeat_interleave(inputs, 0).view(shape)


def channels_of(module: nn.Module) -> Channels | None:
    """Say where a layer counts its output channels; None if it is no linear or convolution layer.

    >>> channels_of(nn.Conv2d(3, 8, 3)), channels_of(nn.ReLU())
    (Channels(output=-3, weight=0, groups=1), None)
    """
    if isinstance(module, nn.Linear | nn.Bilinear):
        return Channels(-1)
    spatial = convolved(module)
    if spatial:
        return Channels(-1 - spatial)
    for size, kind in enumerate((nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d), 1):
        if isinstance(module, kind):
            return Channels(-1 - size, 1, cast("int", cast("Any", module).groups))
    if any(base.__name__ == "Conv1D" for base in type(module).__mro__):  # of transformers
        return Channels(-1, 1)
    return None


def convolved(module: nn.Module) -> int:
    """Over how many dimensions a module convolves; 0 if it is no convolution.

    >>> convolved(nn.Conv2d(3, 8, 3)), convolved(nn.ConvTranspose2d(3, 8, 3))
    (2, 0)
    """
    kinds = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
    return next((size for size, kind in enumerate(kinds, 1) if isinstance(module, kind)), 0)
