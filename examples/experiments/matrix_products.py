"""One hundred matrix products, with and without the right scale.

    python examples/experiments/matrix_products.py [--width 512] [--depth 100] [--out FILE]

A batch of normal vectors is multiplied by one square matrix after another, in float32.
"""

from __future__ import annotations

import math
import statistics

import torch
from common import COLORS, Chain, arguments, initialize, label, save, scientific, table, wide

WAYS: dict[str, tuple[str, dict[str, float]]] = {
    "std 1": ("fixed", {"std": 1.0}),
    "std 0.01": ("fixed", {"std": 0.01}),
    "std 0.9 / sqrt(n)": ("scaled", {"factor": 0.9}),
    "std 1 / sqrt(n)": ("scaled", {"factor": 1.0}),
    "orthogonal": ("orthogonal", {}),
}


def sizes(way: str, width: int, depth: int, seed: int) -> list[float]:
    """Give the root mean square of the vectors before and after each product."""
    policy, variables = WAYS[way]
    chain = Chain(width, depth)
    initialize(chain, policy, seed, **variables)
    vectors = torch.randn(64, width, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        found = [vectors, *chain.signals(vectors)]
    return [float(signal.double().square().mean().sqrt()) for signal in found]


def first_loss(size: list[float]) -> str:
    """Say after which product float32 no longer holds the values, if there is one."""
    for number, value in enumerate(size):
        if not math.isfinite(value):
            return f"overflows, product {number}"
        if value == 0:
            return f"all zero, product {number}"
    return "no"


def main(words: list[str] | None = None) -> None:
    parser = arguments(__doc__ or "", "matrix-products.svg", seeds=5)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--depth", type=int, default=100)
    given = parser.parse_args(words)
    found = {
        way: [sizes(way, given.width, given.depth, seed) for seed in range(given.seeds)]
        for way in WAYS
    }
    shown = sorted({1, given.depth // 10, given.depth // 2, given.depth} - {0})
    rows = []
    for way, runs in found.items():
        medians = [statistics.median(run[number] for run in runs) for number in shown]
        last = [run[-1] for run in runs]
        spread = " to ".join(dict.fromkeys(map(scientific, (min(last), max(last)))))
        rows.append([way, *map(scientific, medians), spread, first_loss(runs[0])])
    print(
        f"Root mean square after so many products with {given.width} x {given.width} matrices: "
        f"medians of {given.seeds} seeds.\n"
    )
    print(table(["matrices", *shown, "least and most at the end", "lost in float32"], rows))

    figure, axis = wide()
    for color, (way, runs) in zip(COLORS, found.items(), strict=True):
        kept = [value for value in runs[0] if 0 < value < math.inf]
        axis.semilogy(kept, color=color, label=way, linewidth=1.5)
    label(axis, "matrix products", "root mean square")
    save(figure, given.out)


if __name__ == "__main__":
    main()
