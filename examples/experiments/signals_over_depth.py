"""Activations and gradients over depth, for three activations under five policies.

    python examples/experiments/signals_over_depth.py [--width 128] [--depth 50] [--out FILE]

Normal inputs go through a chain of layers; a normal gradient of std 1 comes back from its end. All
is done in float64, so that what dies out is still seen; float32 has no normal number below 1.2e-38.
"""

from __future__ import annotations

import math
import statistics

import torch
from common import COLORS, Chain, arguments, initialize, panels, save, scientific, table
from torch import nn

ACTIVATIONS = {"tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "ReLU": nn.ReLU}
POLICIES: dict[str, tuple[str, dict[str, float]]] = {
    "std 0.01": ("fixed", {"std": 0.01}),
    "default": ("torch", {}),
    "Xavier": ("xavier", {}),
    "Kaiming": ("kaiming", {}),
    "orthogonal": ("orthogonal", {}),
}


def measure(
    activation: str, policy: str, width: int, depth: int, seed: int
) -> tuple[list[float], list[float]]:
    """Give for each layer the std of its activations, and of the loss's gradient there."""
    chain = Chain(width, depth, ACTIVATIONS[activation]).double()
    name, variables = POLICIES[policy]
    initialize(chain, name, seed, **variables)
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(256, width, generator=generator, dtype=torch.float64)
    signals = chain.signals(inputs)
    for signal in signals:
        signal.retain_grad()
    signals[-1].backward(torch.randn(inputs.shape, generator=generator, dtype=torch.float64))
    gradients = [signal.grad for signal in signals]
    return (
        [float(signal.detach().double().std()) for signal in signals],
        [float(gradient.double().std()) for gradient in gradients if gradient is not None],
    )


def middle(runs: list[list[float]]) -> list[float]:
    """Give the median over seeds, layer by layer."""
    return [statistics.median(values) for values in zip(*runs, strict=True)]


def main(words: list[str] | None = None) -> None:
    parser = arguments(__doc__ or "", "signals-over-depth.svg", seeds=3)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--depth", type=int, default=50)
    given = parser.parse_args(words)
    shown = sorted({1, min(10, given.depth), given.depth})
    rows = []
    figure, axes = panels(3, 2, height=2.8)
    for column, activation in enumerate(ACTIVATIONS):
        for color, policy in zip(COLORS, POLICIES, strict=True):
            runs = [
                measure(activation, policy, given.width, given.depth, seed)
                for seed in range(given.seeds)
            ]
            forwards = middle([run[0] for run in runs])
            backwards = middle([run[1] for run in runs])
            rows.append(
                [
                    activation,
                    policy,
                    *(scientific(forwards[number - 1]) for number in shown),
                    *(scientific(backwards[number - 1]) for number in shown[:-1]),
                ]
            )
            for axis, values in ((axes[column], forwards), (axes[3 + column], backwards)):
                kept = [value if value > 0 else math.nan for value in values]
                axis.semilogy(range(1, len(kept) + 1), kept, color=color, label=policy)
        axes[column].set_title(activation, fontsize=10)
        axes[3 + column].set_xlabel("layer")
    axes[0].set_ylabel("std of activations")
    axes[3].set_ylabel("std of gradients")
    axes[0].legend(fontsize=7, frameon=False)
    print(
        f"{given.depth} layers of {given.width} units, medians of {given.seeds} seeds; "
        "the layers are numbered from the input.\n"
    )
    head = ["activation", "policy", *(f"activations, {number}" for number in shown)]
    print(table([*head, *(f"gradients, {number}" for number in shown[:-1])], rows))
    save(figure, given.out)


if __name__ == "__main__":
    main()
