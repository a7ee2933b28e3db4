"""The cost of one shard of 512, paired with the whole tensor in one run.

    python benchmarks/shards.py [--elements 268435456] [--rounds 5] [--threads 1]

A matrix is divided by rows, or by columns: then rank 0 holds a few neighbouring elements of each
row. Every round fills the whole matrix once, and then each shard, its runs made anew; the least
times of the processor are kept. A shard in proportion costs 512 times less than the whole.

The last column is the limit of one column: how many times as much the whole costs as the words
alone that it needs, one of a block of four each, neither mapped to values nor rounded.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch

from initpolicy.field import (
    Draw,
    Fill,
    NormalDraw,
    Runs,
    TruncatedDraw,
    UniformDraw,
    cpu,
    fill,
    stream,
)

STREAM = stream(0, "weight")
RANKS = 512
ASKED = 200
DRAWS: list[tuple[str, Draw]] = [
    ("uniform", UniformDraw(-0.1, 0.1)),
    ("normal", NormalDraw(0.0, 0.02)),
    ("truncated", TruncatedDraw(0.0, 1.0, -2.0, 2.0)),
]
WIDTHS = (32, 8, 4, 2, 1)  # elements of a row that rank 0 holds, where columns are divided


def timed(function: Callable[[], object]) -> float:
    begin = time.process_time()
    function()
    return time.process_time() - begin


def columns(elements: int, width: int) -> Runs:
    """Give rank 0's runs, `width` elements of every row, as `apply` reads them off a DTensor."""
    shape = elements // (width * RANKS), width * RANKS
    rows, row = (np.array([0]), np.array([shape[0]])), (np.array([0]), np.array([width]))
    return Runs.product(shape, (rows, row))


def measure(
    draw: Draw, dtype: torch.dtype, elements: int, rounds: int, threads: int
) -> list[float]:
    """Return how many times as much as each shard, and as words alone, the whole costs."""
    whole = torch.zeros(elements, dtype=dtype)
    shard = torch.zeros(elements // RANKS, dtype=dtype)

    def part(width: int) -> None:
        runs = columns(elements, width) if width else Runs.one(0, elements // RANKS)
        fill([Fill(shard, STREAM, draw, runs)], threads=threads)

    memory = np.zeros(elements // RANKS, np.uint32)
    kernel, numbers = cpu.bound(None, torch.uint32)

    def words() -> None:
        place = cpu.address(memory)
        cpu.draw(kernel, [cpu.row(place, memory.size, columns(elements, 1), 0, STREAM, numbers)])

    kept: list[list[float]] = []
    for _ in range(rounds + 1):
        entire = timed(lambda: fill([Fill(whole, STREAM, draw)], threads=threads))
        parts = [min(timed(lambda w=width: part(w)) for _ in range(9)) for width in (0, *WIDTHS)]
        kept.append([entire, *parts, min(timed(words) for _ in range(9))])
    least = [min(times) for times in zip(*kept[1:], strict=True)]  # the first round warms up
    return [least[0] / one for one in least[1:]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--elements", type=int, default=1 << 28)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    names = ["rows", *(f"{width} column{'s' * (width > 1)}" for width in WIDTHS), "words alone"]
    print(
        f"a matrix of {arguments.elements:,} elements over its shard of rank 0 of {RANKS}, as "
        f"times (asked: {ASKED})"
    )
    print(f"{'':24}" + "".join(f"{name:>12}" for name in names))
    for name, draw in DRAWS:
        for dtype in (torch.float32, torch.bfloat16):
            ratios = measure(draw, dtype, arguments.elements, arguments.rounds, arguments.threads)
            shown = "".join(f"{ratio:11.0f}x" for ratio in ratios)
            print(f"{name + ', ' + str(dtype).removeprefix('torch.'):24}{shown}", flush=True)


if __name__ == "__main__":
    main()
