"""What a probe costs: a measured pass beside a plain forward and backward pass.

    python benchmarks/probe.py

Both in turn in one process, on one thread, in seconds of the processor. The first ratio is that of
the pass alone, the second that of `initpolicy.probe` with one draw, which also draws the values.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

import initpolicy
from initpolicy.signals import probe
from initpolicy.signals.probe import loss_of

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))

from densenet import densenet121


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def measure(name: str, model: nn.Module, policy: str, batch: torch.Tensor, times: int = 5) -> None:
    """Print the median ratios of several runs in turn."""
    plan = initpolicy.apply(model, policy, seed=0)
    model.train()

    def plain() -> None:
        model.zero_grad()
        loss_of(model(batch), "projection").backward()

    def watched() -> None:
        probe(model, lambda seed, batch: plan, batch, draws=1)

    def whole() -> None:
        initpolicy.probe(model, policy, input=batch, draws=1)

    for work in (plain, watched, whole):
        work()
    rows = [(seconds(plain), seconds(watched), seconds(whole)) for _ in range(times)]
    base = statistics.median(row[0] for row in rows)
    ratios = [statistics.median(row[column] / row[0] for row in rows) for column in (1, 2)]
    print(f"{name:<34} plain {base:7.3f} s   pass {ratios[0]:5.2f}x   probe {ratios[1]:5.2f}x")


def main() -> None:
    torch.set_num_threads(1)
    layer = nn.TransformerEncoderLayer(384, 6, 1536, dropout=0, batch_first=True, activation="gelu")
    transformer = nn.TransformerEncoder(layer, 6)
    mlp = nn.Sequential(*(m for _ in range(20) for m in (nn.Linear(512, 512), nn.ReLU())))
    measure("DenseNet-121, 4 x 3 x 64 x 64", densenet121(), "densenet", torch.randn(4, 3, 64, 64))
    measure("6-layer transformer, 8 x 128", transformer, "torch", torch.randn(8, 128, 384))
    measure("20-layer perceptron, batch 256", mlp, "torch", torch.randn(256, 512))


if __name__ == "__main__":
    main()
