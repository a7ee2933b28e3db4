"""All parameters 0.0042, against PyTorch's default and Kaiming.

    python examples/experiments/all_the_same.py [--cifar10 DIR] [--seeds 5] [--out FILE]

The network is that of PyTorch's 60-minute blitz, on the digits of scikit-learn or on CIFAR-10.
"""

from __future__ import annotations

import statistics
from pathlib import Path

import common
import torch
from cifar import cifar10
from torch import Tensor, nn
from torch.nn import functional

POLICIES = {"all 0.0042": "constant", "default": "torch", "Kaiming": "kaiming"}


class Net(nn.Module):
    """The network of the tutorial; images smaller than 32 are padded to keep their size."""

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        padding = 0 if side >= 32 else 2
        lost = 4 - 2 * padding
        left = ((side - lost) // 2 - lost) // 2
        self.conv1 = nn.Conv2d(channels, 6, 5, padding=padding)
        self.conv2 = nn.Conv2d(6, 16, 5, padding=padding)
        self.fc1 = nn.Linear(16 * left * left, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, images: Tensor) -> Tensor:
        images = functional.max_pool2d(functional.relu(self.conv1(images)), 2)
        images = functional.max_pool2d(functional.relu(self.conv2(images)), 2)
        features = functional.relu(self.fc1(images.flatten(1)))
        return self.fc3(functional.relu(self.fc2(features)))


def distinct(weight: Tensor) -> int:
    """Count the units of a layer whose weights are not those of another, to within 1e-6."""
    rows = weight.detach().flatten(1).double()
    left = list(range(len(rows)))
    count = 0
    while left:
        first = rows[left[0]]
        left = [index for index in left if float((rows[index] - first).abs().max()) > 1e-6]
        count += 1
    return count


def run(
    policy: str, seed: int, images: common.Images, how: common.Training
) -> tuple[float, list[float], Net]:
    """Train from one policy; give the accuracy on the test, the losses and the network."""
    net = Net(images.train.shape[1], images.train.shape[-1])
    common.initialize(net, policy, seed)
    losses = common.train(net, images, how)
    return common.accuracy(net, images.test, images.test_classes), losses, net


def main(words: list[str] | None = None) -> None:
    parser = common.arguments(__doc__ or "", "all-the-same.svg", seeds=5)
    parser.add_argument("--cifar10", type=Path, help="folder of CIFAR-10, binary or Python version")
    parser.add_argument("--steps", type=int, help="default: 1200, or 12500 an epoch of CIFAR-10")
    parser.add_argument("--batch", type=int, help="default: 16, or the tutorial's 4")
    parser.add_argument("--rate", type=float, help="default: 0.01, or the tutorial's 0.001")
    given = common.begin(parser, words)
    images = cifar10(given.cifar10) if given.cifar10 else common.digits()
    steps = given.steps or (12_500 if given.cifar10 else 1200)
    rate = given.rate or (0.001 if given.cifar10 else 0.01)
    batch = given.batch or (4 if given.cifar10 else 16)
    name = "CIFAR-10" if given.cifar10 else "digits"

    rows, curves = [], {}
    for title, policy in POLICIES.items():
        runs = [
            run(policy, seed, images, common.Training(steps, batch, rate, seed=seed))
            for seed in range(given.seeds)
        ]
        net = runs[0][2]
        layers = [net.conv1, net.conv2, net.fc1, net.fc2, net.fc3]
        units = ", ".join(f"{distinct(layer.weight)}" for layer in layers)
        last = [common.last_tenth(losses, steps) for _, losses, _ in runs]
        rows.append(
            [
                title,
                common.mean_and_error([score for score, _, _ in runs]),
                common.mean_and_error(last, 4),
                units,
            ]
        )
        curves[title] = runs[0][1]
    most = 100 * float(torch.bincount(images.test_classes).max()) / len(images.test_classes)
    print(
        f"{name}: {steps} steps of SGD, batch {batch}, rate {rate}, momentum 0.9; "
        f"{given.seeds} seeds, ± standard error.\n"
        f"The most frequent class is {most:.1f}% of the test.\n"
    )
    print(
        common.table(
            ["policy", "accuracy, %", "loss in the last tenth", "distinct units, layer by layer"],
            rows,
        )
    )

    figure, axis = common.wide()
    piece = max(1, steps // 60)
    for color, (title, losses) in zip(common.COLORS, curves.items(), strict=False):
        means = [
            statistics.fmean(losses[start : start + piece])
            for start in range(0, len(losses), piece)
        ]
        where = [start + piece / 2 for start in range(0, len(losses), piece)]
        axis.plot(where, means, color=color, label=title, linewidth=1.5)
    common.label(axis, "steps", f"loss on {name}")
    common.save(figure, given.out)


if __name__ == "__main__":
    main()
