"""The cost of one shard of 512, paired with the whole tensor in one run.

    python benchmarks/shards.py [--elements 268435456] [--rounds 5] [--threads 2]

A matrix is divided by rows, or by columns: then rank 0 holds a few neighbouring elements of each
row. Every round fills the whole matrix once, and then each shard, its runs made anew; the least
times of the processor are kept. A shard in proportion costs 512 times less than the whole.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch

from initpolicy.field import Draw, Fill, NormalDraw, Runs, TruncatedDraw, UniformDraw, fill, stream

STREAM = stream(0, "weight")
RANKS = 512
ASKED = 200
DRAWS: list[tuple[str, Draw]] = [
    ("uniform", UniformDraw(-0.1, 0.1)),
    ("normal", NormalDraw(0.0, 0.02)),
    ("truncated", TruncatedDraw(0.0, 1.0, -2.0, 2.0)),
]
WIDTHS = (32, 8, 4, 1)  # elements of a row that rank 0 holds, where columns are divided


def timed(function: Callable[[], object]) -> float:
    begin = time.process_time()
    function()
    return time.process_time() - begin


def columns(elements: int, width: int) -> Runs:
    """Give rank 0's runs, `width` elements of every row."""
    starts = np.arange(0, elements, width * RANKS, dtype=np.uint64)
    return Runs(starts, starts + np.uint64(width))


def measure(
    draw: Draw, dtype: torch.dtype, elements: int, rounds: int, threads: int
) -> list[float]:
    """Return how many times as much as each shard the whole costs."""
    whole = torch.zeros(elements, dtype=dtype)
    shard = torch.zeros(elements // RANKS, dtype=dtype)

    def part(width: int) -> None:
        runs = columns(elements, width) if width else Runs.one(0, elements // RANKS)
        fill([Fill(shard, STREAM, draw, runs)], threads=threads)

    kept: list[list[float]] = []
    for _ in range(rounds + 1):
        entire = timed(lambda: fill([Fill(whole, STREAM, draw)], threads=threads))
        parts = [min(timed(lambda w=width: part(w)) for _ in range(3)) for width in (0, *WIDTHS)]
        kept.append([entire, *parts])
    least = [min(times) for times in zip(*kept[1:], strict=True)]  # the first round warms up
    return [least[0] / one for one in least[1:]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--elements", type=int, default=1 << 28)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    names = ["rows", *(f"{width} columns" for width in WIDTHS)]
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
