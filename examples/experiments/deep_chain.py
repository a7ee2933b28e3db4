"""Orthogonal against Gaussian weights in a chain of 200 tanh layers.

    python examples/experiments/deep_chain.py [--depth 200] [--width 64] [--out FILE]

Measures the singular values of the derivative of the chain's output by its input, which are all 1
under dynamical isometry (Saxe et al. 2014, Pennington et al. 2017), and trains on the digits of
scikit-learn, each policy at each of some learning rates.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable

import common
import torch
from torch import Tensor, nn

POLICIES = {"Gaussian": "chain", "orthogonal": "orthogonal-chain"}
CLASSES = 10
NOISE = 1e-14  # below this share of the largest, a singular value is rounding


class Deep(nn.Module):
    """A linear layer in, a chain of tanh layers, and a linear layer out."""

    def __init__(self, inputs: int, width: int, depth: int) -> None:
        super().__init__()
        self.input = nn.Linear(inputs, width)
        self.chain = common.Chain(width, depth, nn.Tanh)
        self.output = nn.Linear(width, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        return self.output(self.chain(self.input(images.flatten(1))))


@torch.no_grad()
def singular_values(model: Deep, image: Tensor) -> list[Tensor]:
    """Give the singular values of the chain's Jacobian at one image, after each of its layers.

    The Jacobian of a layer is diag(1 - tanh(W x)^2) W; that of the chain is their product.
    """
    signal = model.input(image.flatten()).double()
    product = torch.eye(len(signal), dtype=torch.float64)
    found: list[Tensor] = []
    for layer in model.chain.layers:
        weight = layer.weight.double()
        signal = torch.tanh(weight @ signal)
        product = (1 - signal.square()).unsqueeze(1) * (weight @ product)
        found.append(torch.linalg.svdvals(product))
    return found


def ratio(values: Iterable[float]) -> str:
    """Give the median of ratios as text, unless it is lost in rounding."""
    middle = statistics.median(values)
    return common.scientific(middle) if middle > NOISE else f"below {NOISE:.0e}"


def main(words: list[str] | None = None) -> None:
    parser = common.arguments(__doc__ or "", "deep-chain.svg", seeds=3)
    parser.add_argument("--depth", type=int, default=200)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rates", type=float, nargs="+", default=[0.0003, 0.001, 0.003, 0.01])
    given = common.begin(parser, words)
    images = common.digits()
    inputs = images.train[0].numel()

    def made(policy: str, seed: int) -> Deep:
        model = Deep(inputs, given.width, given.depth)
        common.initialize(model, POLICIES[policy], seed)
        return model

    figure, (left, right) = common.panels(2, height=3.4)
    rows = []
    shown = sorted({1, given.depth // 10, given.depth} - {0})
    for color, policy in zip(common.COLORS, POLICIES, strict=False):
        runs = [singular_values(made(policy, seed), images.test[0]) for seed in range(given.seeds)]
        for number in shown:
            sets = [run[number - 1] for run in runs]
            largest = statistics.median(float(values.max()) for values in sets)
            ratios = [
                (float(values.median() / values.max()), float(values.min() / values.max()))
                for values in sets
            ]
            rows.append([policy, number, common.scientific(largest), *map(ratio, zip(*ratios))])  # noqa: B905
        largest = [float(values.max()) for values in runs[0]]
        halfway = [
            float(values.median()) if values.median() > NOISE * values.max() else math.nan
            for values in runs[0]
        ]
        where = range(1, given.depth + 1)
        left.semilogy(where, largest, color=color, label=f"{policy}, largest")
        left.semilogy(where, halfway, color=color, linestyle="--", label=f"{policy}, median")
    print(
        f"Singular values of the Jacobian of {given.depth} tanh layers of {given.width} units, "
        f"medians of {given.seeds} seeds.\n"
    )
    print(
        common.table(
            ["policy", "layers", "largest", "median : largest", "smallest : largest"], rows
        )
    )

    rows = []
    for color, policy in zip(common.COLORS, POLICIES, strict=False):
        best: tuple[float, list[float]] | None = None
        for rate in given.rates:
            scores, last = [], []
            for seed in range(given.seeds):
                model = made(policy, seed)
                how = common.Training(given.steps, given.batch, rate, seed=seed)
                losses = common.train(model, images, how)
                scores.append(common.accuracy(model, images.test, images.test_classes))
                last.append(common.last_tenth(losses, given.steps))
                if seed == 0 and (best is None or last[0] < best[0]):
                    best = last[0], losses
                    label = f"{policy}, rate {rate}"
            rows.append(
                [policy, rate, common.mean_and_error(scores), common.mean_and_error(last, 2)]
            )
        assert best is not None
        right.plot(best[1], color=color, label=label)
    print(
        f"\nDigits, {given.steps} steps of SGD, batch {given.batch}, momentum 0.9; "
        f"{given.seeds} seeds, ± standard error.\n"
    )
    print(common.table(["policy", "learning rate", "accuracy, %", "loss in the last tenth"], rows))
    common.label(left, "layers", "singular value of the Jacobian", 7)
    common.label(right, "steps", "loss on digits", 7)
    common.save(figure, given.out)


if __name__ == "__main__":
    main()
