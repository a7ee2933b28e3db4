"""Frames and cosines against random filters, on the first layer of a network for digits.

    python examples/experiments/first_layer.py [--seeds 16] [--filters 16] [--out FILE]

The filters of the first convolution are initialized in four ways, all other parameters alike: a
seed gives them the same values under every policy, so that differences are taken seed by seed.
"""

from __future__ import annotations

from dataclasses import dataclass

import common
import torch
from torch import Tensor, nn
from torch.nn import functional

POLICIES = {
    "random": "first-layer",
    "orthogonal": "first-layer-orthogonal",
    "DCT": "first-layer-dct",
    "frame": "first-layer-frame",
}


class Net(nn.Module):
    """Filters of 3 x 3 over an image, and two linear layers."""

    def __init__(self, filters: int, side: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, filters, 3, padding=1)
        self.hidden = nn.Linear(filters * (side // 2) ** 2, 32)
        self.last = nn.Linear(32, 10)

    def forward(self, images: Tensor) -> Tensor:
        features = functional.max_pool2d(functional.relu(self.first(images)), 2)
        return self.last(functional.relu(self.hidden(features.flatten(1))))


@dataclass(frozen=True)
class Run:
    """What one seed of one policy came to."""

    cosine: float
    accuracy: float
    losses: list[float]


def largest_cosine(weight: Tensor) -> float:
    """Give the largest |cosine| of the angles between two filters."""
    rows = functional.normalize(weight.detach().flatten(1).double())
    return float((rows @ rows.T).abs().fill_diagonal_(0).max())


def run(
    policy: str,
    filters: int,
    seed: int,
    images: common.Images,
    how: common.Training,
    *,
    frozen: bool,
) -> Run:
    """Train once, with the first layer as it was initialized or learning with the others."""
    net = Net(filters, images.train.shape[-1])
    common.initialize(net, POLICIES[policy], seed)
    net.first.requires_grad_(not frozen)
    cosine = largest_cosine(net.first.weight)
    losses = common.train(net, images, how)
    return Run(cosine, common.accuracy(net, images.test, images.test_classes), losses)


def main(words: list[str] | None = None) -> None:
    parser = common.arguments(__doc__ or "", "first-layer.svg", seeds=16)
    parser.add_argument("--filters", type=int, default=16)
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=0.01)
    parser.add_argument("--images", type=int, default=300, help="how many images to train on")
    given = common.begin(parser, words)
    whole = common.digits()
    few = slice(given.images)
    images = common.Images(
        whole.train[few], whole.train_classes[few], whole.test, whole.test_classes
    )

    figure, axes = common.panels(2, height=3.4)
    rows = []
    for axis, frozen in zip(axes, (True, False), strict=True):
        found = {
            policy: [
                run(
                    policy,
                    given.filters,
                    seed,
                    images,
                    common.Training(given.steps, given.batch, given.rate, seed=seed),
                    frozen=frozen,
                )
                for seed in range(given.seeds)
            ]
            for policy in POLICIES
        }
        for color, (policy, runs) in zip(common.COLORS, found.items(), strict=False):
            pairs = zip(runs, found["random"], strict=True)
            rows.append(
                [
                    "as initialized" if frozen else "trained too",
                    policy,
                    common.mean_and_error([one.cosine for one in runs], 2),
                    common.mean_and_error([one.accuracy for one in runs], 2),
                    common.mean_and_error(
                        [one.accuracy - other.accuracy for one, other in pairs], 2
                    ),
                ]
            )
            curve = torch.tensor([one.losses for one in runs]).mean(dim=0)
            axis.semilogy(curve, color=color, label=policy, linewidth=1.2)
        axis.set_title(f"first layer {rows[-1][0]}", fontsize=10)
        axis.set_xlabel("steps")
    axes[0].set_ylabel("loss, mean of the seeds")
    axes[0].legend(fontsize=8, frameon=False)
    print(
        f"{given.filters} filters of 3 x 3, {len(images.train)} digits to train on, "
        f"{len(images.test)} for the test; {given.steps} steps of SGD,\n"
        f"batch {given.batch}, rate {given.rate}, momentum 0.9; {given.seeds} seeds, "
        "± standard error.\n"
    )
    print(
        common.table(
            ["first layer", "filters", "largest cosine", "accuracy, %", "more than random"],
            rows,
        )
    )
    common.save(figure, given.out)


if __name__ == "__main__":
    main()
