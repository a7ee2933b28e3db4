"""The CPU backend: calls the compiled kernels, which release the GIL."""

from __future__ import annotations

import ctypes
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from initpolicy.field.draws import BLOCK, Constants, NormalConstants, UniformConstants
from initpolicy.field.formats import Format
from initpolicy.field.objects import Kernel, Number, load
from initpolicy.field.quantile import NEAR_OCTAVES, SEGMENT_BITS, TAIL_OCTAVES, first_row
from initpolicy.field.stream import Stream

_RUNS = ("int64", "uint64*", "int64", "uint32*", "uint32", "uint32", "uint32", "uint32")
LAWS: dict[str, tuple[str, ...]] = {
    "raw": (),
    "uniform": ("float32", "float32", "float32", "float32", "uint8"),
    "normal": ("float32", "float32"),
    "truncated": (*("uint64",) * 4, *("int32",) * 2, *("float32",) * 4),
}
_Words = ctypes.c_uint32 * BLOCK


def lower(constants: Constants | None) -> tuple[str, tuple[Number, ...]]:
    """Return the entry of a law, and its constants in the order that the kernel takes them.

    They are described where the kernels are: `Uniform`, `Normal` and `Truncated` of kernels.py.
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


def draw(
    out: NDArray[Any],
    starts: NDArray[np.uint64],
    stops: NDArray[np.uint64],
    stream: Stream,
    constants: Constants | None,
) -> None:
    """Draw runs of a stream into a flat array; without constants, draw the words themselves.

    The array's type says the format: float32, float64, uint16 for bfloat16, int16 for float16,
    uint32 for words.
    """
    kernel, numbers = _bound(constants, out.dtype)
    (k0, k1), (c2, c3) = stream.key, stream.high
    runs = np.concatenate((starts, stops))
    kernel(address(out), out.size, address(runs), starts.size, _Words(), c2, c3, k0, k1, *numbers)


@lru_cache(maxsize=256)
def _bound(constants: Constants | None, dtype: np.dtype[Any]) -> tuple[Kernel, tuple[Number, ...]]:
    entry, numbers = lower(constants)
    return load(entry, (f"{dtype}*", *_RUNS, *LAWS[entry])), numbers


def address(array: NDArray[Any]) -> int:
    """Where an array's memory begins."""
    return array.__array_interface__["data"][0]  # half the cost of array.ctypes.data


def narrow(values: NDArray[np.float32], out: NDArray[np.uint8], target: Format) -> None:
    """Round float32 values to the codes of an 8-bit format."""
    kernel = load("narrow", ("float32*", "uint8*", "int64", "int32", "int32", "uint8"))
    shape = target.mantissa, target.exponent, int(target.negative_zero)
    kernel(address(values), address(out), values.size, *shape)
