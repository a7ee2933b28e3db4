"""The CPU backend: calls the compiled kernels, which release the GIL."""

from __future__ import annotations

from functools import lru_cache
from struct import Struct, pack
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from initpolicy.field.draws import (
    HEAD,
    Constants,
    Draw,
    NormalConstants,
    UniformConstants,
    constants_of,
)
from initpolicy.field.formats import FLOAT8, Format
from initpolicy.field.objects import Kernel, Number, load
from initpolicy.field.quantile import NEAR_OCTAVES, SEGMENT_BITS, TAIL_OCTAVES, first_row
from initpolicy.field.runs import Runs
from initpolicy.field.stream import Stream

LAWS: dict[str, tuple[str, ...]] = {
    "raw": (),
    "uniform": ("float32", "float32", "float32", "float32", "uint8"),
    "normal": ("float32", "float32"),
    "truncated": (*("uint64",) * 4, *("int32",) * 2, *("float32",) * 4),
}
FORMATS = {
    torch.float32: "float32",
    torch.float64: "float64",
    torch.bfloat16: "uint16",
    torch.float16: "int16",
    torch.uint32: "uint32",  # words
    **dict.fromkeys(FLOAT8, "float32"),  # that `narrow` narrows then
}
"""How the kernels tell the formats of memory apart."""
_PACKED = {"uint64": "Q", "int32": "i4x", "uint8": "B7x", "float32": "f4x"}
_head = Struct(f"={HEAD}Q").pack


def lower(constants: Constants | None) -> tuple[str, tuple[Number, ...]]:
    """Return the entry of a law, and its constants in the order that the kernel takes them.

    They are described where words become values: `Uniform`, `Normal`, `Truncated` of values.py.
    """
    if constants is None:
        return "raw", ()
    if isinstance(constants, UniformConstants):
        numbers = (constants.half, constants.mid, constants.least, constants.most)
        return "uniform", (*numbers, int(constants.plain))
    if isinstance(constants, NormalConstants):
        return "normal", (constants.std, constants.mean)
    place = constants.interval
    near = first_row(63, NEAR_OCTAVES)
    tail = first_row(place.scale, TAIL_OCTAVES) - (NEAR_OCTAVES << SEGMENT_BITS)
    high, low = divmod(place.width, 1 << 32)
    half_high, half_low = divmod(place.width // 2, 1 << 32)
    whole = (place.start + half_high) % (1 << 64)
    scale = (constants.std, constants.mean, constants.least, constants.most)
    return "truncated", (whole, high, low, half_low, near, tail - near, *scale)


@lru_cache(maxsize=4096)
def bound(draw: Draw | None, dtype: torch.dtype) -> tuple[Kernel, bytes]:
    """Return the kernel of a law, or of words, and the law's numbers as it reads them.

    Raises as `check_draw`.
    """
    entry, numbers = lower(None if draw is None else constants_of(draw, dtype))
    packed = pack("=" + "".join(_PACKED[kind] for kind in LAWS[entry]), *numbers)
    return load(entry, (f"{FORMATS[dtype]}*", "uint64*", "int64")), packed


def row(
    place: int, size: int, runs: Runs | None, first: int, stream: Stream, numbers: bytes
) -> bytes:
    """Describe elements as a kernel takes them; whatever a row points to must be kept.

    Args:
        place: address of the memory.
        size: how many elements to draw.
        runs: the runs of a tensor's elements; None for a whole tensor.
        first: number of the first element, in the order of the runs.
        stream: where in the field.
        numbers: those of the law.
    """
    index, left, *after = (first, size, 0, 0, 0) if runs is None else runs.at(first)
    (k0, k1), (c2, c3) = stream.key, stream.high
    counter, key = c3 << 32 | c2, k1 << 32 | k0
    return _head(place, size, index, left, *after, counter, key) + numbers


def draw(kernel: Kernel, rows: list[bytes]) -> None:
    """Draw what rows describe."""
    kernel(None, b"".join(rows), len(rows))


def address(array: NDArray[Any]) -> int:
    """Where an array's memory begins."""
    return array.__array_interface__["data"][0]  # half the cost of array.ctypes.data


def narrow(values: NDArray[np.float32], out: NDArray[np.uint8], target: Format) -> None:
    """Round float32 values to the codes of an 8-bit format."""
    kernel = load("narrow", ("float32*", "uint8*", "int64", "int32", "int32", "uint8"))
    shape = target.mantissa, target.exponent, int(target.negative_zero)
    kernel(address(values), address(out), values.size, *shape)
