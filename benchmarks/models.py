"""Whole models, paired with the loop that a user would write instead.

    python benchmarks/models.py [--small]

DenseNet-121, and a GPT-2-shaped model of 1.5 billion parameters (`--small`: 124 million), both on
two threads, in turn in one run. The ratio is the loop's time over initpolicy's.
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
from initpolicy.policy import parse

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))

from densenet import densenet121

GPT2 = parse("""
format = 1
title = "GPT-2"
[vars]
n_layer = { count = "h.<i>" }
[[rule]]
type = ["Linear", "Embedding"]
init.weight = { fn = "normal", std = 0.02 }
[[rule]]
type = "Linear"
init.bias = 0
[[rule]]
type = "LayerNorm"
init.weight = 1
init.bias = 0
[[rule]]
name = "**.c_proj"
init.weight = { fn = "normal", std = "0.02 / sqrt(2 * n_layer)" }
""")


def gpt2(layers: int, width: int) -> nn.Module:
    """Build the parameters of GPT-2, without its forward pass."""
    blocks = [
        nn.ModuleDict(
            {
                "ln_1": nn.LayerNorm(width),
                "attn": nn.ModuleDict(
                    {"c_attn": nn.Linear(width, 3 * width), "c_proj": nn.Linear(width, width)}
                ),
                "ln_2": nn.LayerNorm(width),
                "mlp": nn.ModuleDict(
                    {"c_fc": nn.Linear(width, 4 * width), "c_proj": nn.Linear(4 * width, width)}
                ),
            }
        )
        for _ in range(layers)
    ]
    return nn.ModuleDict(
        {
            "wte": nn.Embedding(50257, width),
            "wpe": nn.Embedding(1024, width),
            "h": nn.ModuleList(blocks),
            "ln_f": nn.LayerNorm(width),
        }
    )


def densenet_loop(model: nn.Module) -> None:
    """Initialize as the constructor of torchvision's DenseNet does, the classifier apart."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0.0, 0.01)
            nn.init.zeros_(module.bias)


def gpt2_loop(model: nn.Module) -> None:
    """Initialize as GPT-2 is, each tensor once."""
    shrunk = 0.02 / (2 * len(model["h"])) ** 0.5
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, 0.0, shrunk if name.endswith("c_proj") else 0.02)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)
        if isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def pair(name: str, loop: Callable[[], object], ours: Callable[[], object], times: int) -> None:
    """Run both in turn and print the medians and the median ratio."""
    loop()
    ours()
    measured = [(seconds(loop), seconds(ours)) for _ in range(times)]
    loops, own = zip(*measured, strict=True)
    ratio = statistics.median(a / b for a, b in measured)
    print(
        f"{name:<28} loop {statistics.median(loops):8.3f} s   "
        f"initpolicy {statistics.median(own):8.3f} s   ratio {ratio:5.2f}x"
    )


def main() -> None:
    torch.set_num_threads(2)
    densenet = densenet121()
    pair(
        "DenseNet-121 (8 M)",
        lambda: densenet_loop(densenet),
        lambda: initpolicy.apply(densenet, "densenet", threads=2),
        9,
    )
    small = "--small" in sys.argv
    with torch.device("meta"):
        model = gpt2(12, 768) if small else gpt2(48, 1600)
    model = model.to_empty(device="cpu")
    size = sum(parameter.numel() for parameter in model.parameters())
    pair(
        f"GPT-2 shape ({size / 1e6:,.0f} M)",
        lambda: gpt2_loop(model),
        lambda: initpolicy.apply(model, GPT2, threads=2),
        3,
    )


if __name__ == "__main__":
    main()
