"""What the experiments share: arguments, tables, figures, digits, and a loop that trains."""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

import initpolicy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HERE = Path(__file__).parent
FIGURES = HERE.parents[1] / "docs" / "experiments"
COLORS = ["#1f6feb", "#c2410c", "#1a7f37", "#8250df", "#57606a"]


def arguments(about: str, figure: str, *, seeds: int) -> argparse.ArgumentParser:
    """Give a parser that has the arguments of every experiment."""
    parser = argparse.ArgumentParser(description=about.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=FIGURES / figure, help="the figure's file")
    parser.add_argument("--seeds", type=int, default=seeds, help="how many seeds, from 0")
    return parser


def begin(parser: argparse.ArgumentParser, words: list[str] | None) -> argparse.Namespace:
    """Read the arguments of an experiment that trains small layers, whom threads do not help."""
    torch.set_num_threads(1)
    return parser.parse_args(words)


def initialize(model: nn.Module, policy: str, seed: int, **variables: float) -> None:
    """Apply a policy of this folder, or else a built-in one."""
    file = HERE / "policies" / f"{policy}.toml"
    initpolicy.apply(model, file if file.exists() else policy, seed=seed, vars=variables)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Give a table of Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def mean_and_error(values: Sequence[float], digits: int = 1) -> str:
    """Give the mean and its standard error, as text."""
    mean = f"{statistics.fmean(values):.{digits}f}"
    if len(values) < 2:
        return mean
    return f"{mean} ± {statistics.stdev(values) / math.sqrt(len(values)):.{digits}f}"


def scientific(value: float) -> str:
    """Give a number of any size in three digits."""
    if not math.isfinite(value):
        return "not finite"
    return f"{value:.3g}" if 0.001 <= value < 10_000 or value == 0 else f"{value:.2e}"


def panels(columns: int, rows: int = 1, *, height: float = 3.2) -> tuple[Figure, list[Axes]]:
    """Make a figure of axes side by side; only here is matplotlib imported."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.6 * columns + 0.6, height * rows), layout="constrained")
    figure.set_facecolor("white")
    axes = [axis for line in figure.subplots(rows, columns, squeeze=False) for axis in line]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
    return figure, axes


def wide() -> tuple[Figure, Axes]:
    """Make a figure of one chart."""
    figure, (axis,) = panels(1, height=3.6)
    figure.set_size_inches(6.4, 3.6)
    return figure, axis


def label(axis: Axes, across: str, up: str, size: int = 8) -> None:
    """Say what the axes and the lines of a chart are."""
    axis.set_xlabel(across)
    axis.set_ylabel(up)
    axis.legend(fontsize=size, frameon=False)


def save(figure: Figure, file: Path) -> None:
    """Save a figure, so that the same figure is the same file."""
    import matplotlib

    file.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"Date": None, "Creator": None} if file.suffix == ".svg" else None
    with matplotlib.rc_context({"svg.hashsalt": "initpolicy", "svg.fonttype": "none"}):
        figure.savefig(file, metadata=metadata)
    print(f"\nsaved {file.name}")


@dataclass(frozen=True)
class Images:
    """Images (N, C, H, W) with mean 0 and std 1, and their classes, to train and to test."""

    train: Tensor
    train_classes: Tensor
    test: Tensor
    test_classes: Tensor


def split(train: Tensor, train_classes: Tensor, test: Tensor, test_classes: Tensor) -> Images:
    """Give images the mean 0 and the std 1 of what is trained on."""
    mean, std = train.mean(), train.std()
    return Images((train - mean) / std, train_classes, (test - mean) / std, test_classes)


def digits() -> Images:
    """Load the 1797 digits of 8 x 8 that scikit-learn ships; each fourth is for the test."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images = torch.tensor(data.images, dtype=torch.float32).unsqueeze(1)
    classes = torch.tensor(data.target, dtype=torch.int64)
    tested = torch.arange(len(images)) % 4 == 3
    return split(images[~tested], classes[~tested], images[tested], classes[tested])


def last_tenth(losses: Sequence[float], steps: int) -> float:
    """Give the mean loss of the last tenth of all steps."""
    return statistics.fmean(losses[-max(1, steps // 10) :])


@dataclass(frozen=True)
class Training:
    """How to train: `seed` orders the images, and nothing else is drawn."""

    steps: int
    batch: int
    rate: float
    momentum: float = 0.9
    seed: int = 0


def train(model: nn.Module, images: Images, how: Training) -> list[float]:
    """Train by SGD, and give the loss of each step; stop where it is no longer finite."""
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(learned, lr=how.rate, momentum=how.momentum, fused=True)
    generator = torch.Generator().manual_seed(how.seed)
    order = torch.empty(0, dtype=torch.int64)
    losses: list[float] = []
    model.train()
    for _ in range(how.steps):
        if len(order) < how.batch:
            order = torch.randperm(len(images.train), generator=generator)
        chosen, order = order[: how.batch], order[how.batch :]
        loss = functional.cross_entropy(model(images.train[chosen]), images.train_classes[chosen])
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return losses


@torch.no_grad()
def accuracy(model: nn.Module, images: Tensor, classes: Tensor) -> float:
    """Give the percentage of images whose class has the largest output."""
    model.eval()
    right = sum(
        int((model(part).argmax(dim=1) == answers).sum())
        for part, answers in zip(images.split(500), classes.split(500), strict=True)
    )
    return 100 * right / len(images)


class Chain(nn.Module):
    """Square linear layers without biases, and an activation after each."""

    def __init__(self, width: int, depth: int, activation: type[nn.Module] = nn.Identity) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(depth))
        self.activation = activation()

    def signals(self, inputs: Tensor) -> list[Tensor]:
        """Give what comes out of each layer."""
        found: list[Tensor] = []
        for layer in self.layers:
            inputs = self.activation(layer(inputs))
            found.append(inputs)
        return found

    def forward(self, inputs: Tensor) -> Tensor:
        return self.signals(inputs)[-1]
