"""What formulas may know about one tensor: numbers, and nothing that could change a model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

FanMode = Literal["fan_in", "fan_out", "fan_avg", "fan_geo_avg"]


class FanError(ValueError):
    """A fan was asked of a tensor that has none, or by a name that is no fan."""


@dataclass(frozen=True)
class Fans:
    """The two fans of a tensor, and the part of both that is receptive field."""

    fan_in: int
    fan_out: int
    receptive_field: int = 1


@dataclass(frozen=True)
class Facts:
    """The facts of one tensor.

    Fans follow `torch.nn.init`: of a shape `(out, in, *receptive_field)`, `fan_in` is
    `in * prod(receptive_field)` and `fan_out` is `out * prod(receptive_field)`. Where that reading
    of the shape is wrong (transposed storage, groups, stacked matrices), `Facts.with_fans` states
    the fans.

    >>> conv = Facts((64, 3, 7, 7))
    >>> conv.fan_in, conv.fan_out, conv.receptive_field, conv.numel, conv.ndim
    (147, 3136, 49, 9408, 4)
    """

    shape: tuple[int, ...]
    dtype: str = "float32"
    stated_fans: Fans | None = None
    auto_gain: float | None = None
    """The gain that what follows the layer calls for, where an argument asks for it."""

    @classmethod
    def with_fans(
        cls,
        shape: tuple[int, ...],
        *,
        fan_in: int,
        fan_out: int,
        receptive_field: int = 1,
        dtype: str = "float32",
    ) -> Facts:
        """Facts whose fans are stated instead of read from `shape`, which may have any length.

        >>> depthwise = Facts.with_fans((32, 1, 3, 3), fan_in=9, fan_out=9, receptive_field=9)
        >>> depthwise.fan("fan_avg")
        9.0
        """
        return cls(shape, dtype, Fans(fan_in, fan_out, receptive_field))

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return len(self.shape)

    @property
    def numel(self) -> int:
        """The number of elements; 1 for a tensor without dimensions."""
        return math.prod(self.shape)

    @property
    def is_floating(self) -> bool:
        """Whether the elements are real floating-point numbers.

        >>> [Facts((2,), dtype).is_floating for dtype in ("bfloat16", "complex64", "int64")]
        [True, False, False]
        """
        return self.dtype.startswith(("float", "bfloat"))

    @property
    def is_complex(self) -> bool:
        """Whether the elements are complex numbers."""
        return self.dtype.startswith(("complex", "bcomplex"))

    @property
    def fan_in(self) -> int:
        """How many inputs each output sums over.

        Raises `FanError` if the tensor has fewer than two dimensions and no stated fans.

        >>> Facts((10,)).fan_in
        Traceback (most recent call last):
            ...
        initpolicy.model.facts.FanError: a tensor of shape (10,) has 1 dimension; fan_in needs at
        least 2, read as (out, in, *receptive_field)
        """
        return self._fans("fan_in").fan_in

    @property
    def fan_out(self) -> int:
        """How many outputs each input reaches.

        Raises `FanError` if the tensor has fewer than two dimensions and no stated fans.
        """
        return self._fans("fan_out").fan_out

    @property
    def receptive_field(self) -> int:
        """The number of positions that a kernel covers; 1 for a matrix.

        Raises `FanError` if the tensor has fewer than two dimensions and no stated fans.
        """
        return self._fans("receptive_field").receptive_field

    def fan(self, mode: FanMode) -> float:
        """Give the fan of that name, or the arithmetic or geometric mean of both.

        Raises `FanError` if the tensor has fewer than two dimensions and no stated fans, or if
        `mode` is none of the four names.

        >>> matrix = Facts((8, 2))
        >>> [matrix.fan(mode) for mode in ("fan_in", "fan_out", "fan_avg", "fan_geo_avg")]
        [2.0, 8.0, 5.0, 4.0]
        """
        if mode not in ("fan_in", "fan_out", "fan_avg", "fan_geo_avg"):
            raise FanError(f"{mode!r} is no fan; write fan_in, fan_out, fan_avg or fan_geo_avg")
        fans = self._fans(mode)
        if mode == "fan_in":
            return float(fans.fan_in)
        if mode == "fan_out":
            return float(fans.fan_out)
        if mode == "fan_avg":
            return (fans.fan_in + fans.fan_out) / 2
        return math.sqrt(fans.fan_in * fans.fan_out)

    def _fans(self, wanted: str) -> Fans:
        if self.stated_fans is not None:
            return self.stated_fans
        if self.ndim < 2:
            dimensions = "1 dimension" if self.ndim == 1 else "0 dimensions"
            raise FanError(
                f"a tensor of shape {self.shape} has {dimensions}; {wanted} needs at least 2, "
                "read as (out, in, *receptive_field)"
            )
        receptive_field = math.prod(self.shape[2:])
        return Fans(
            self.shape[1] * receptive_field, self.shape[0] * receptive_field, receptive_field
        )
