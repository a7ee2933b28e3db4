"""The table that both backends read the normal quantile from; docs/draws.md defines it."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

SEGMENT_BITS = 5  # an octave of the probability has 2^5 segments
STEP_BITS = 23 - SEGMENT_BITS
NEAR_OCTAVES = 64  # |x| from 2^-64 to 1/2, and the segment that begins there
TAIL_OCTAVES = 256  # 1 - |x| likewise, from 2^-256
CUBIC_0 = np.float32(0.1705)
CUBIC_2 = np.float32(0.3415)


def first_row(scale: int, octaves: int) -> int:
    """Return what to subtract from a float32's upper bits to get its row in one half of the table.

    The float32 holds an odd integer, in units of 2^-(scale + 1).
    """
    return (127 + scale + 1 - octaves) << SEGMENT_BITS


def load_table() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return (nodes z, slopes c): the near half's rows, then the tail half's."""
    with files("initpolicy.field").joinpath("quantile.npy").open("rb") as file:
        nodes, slopes = np.load(file)
    return nodes, slopes
