"""What planning costs: DenseNet-121, and a model of 20,000 tensors on the meta device.

    python benchmarks/planning.py

Also what `import initpolicy` adds to `import torch`, each in fresh processes, and what the first
draw of a process adds once compiled kernels are cached.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

import initpolicy

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))

from densenet import densenet121


def seconds(work: Callable[[], object], times: int = 5) -> float:
    """Give the median of several runs, after one that is not counted."""
    work()
    measured: list[float] = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        measured.append(time.perf_counter() - start)
    return statistics.median(measured)


def fresh(code: str, times: int = 5) -> float:
    """Give the median of the seconds that a fresh interpreter prints."""
    return statistics.median(
        float(
            subprocess.run(
                [sys.executable, "-c", code], capture_output=True, text=True, check=True
            ).stdout
        )
        for _ in range(times)
    )


def large() -> nn.Module:
    """Build 20,004 tensors on the meta device."""
    with torch.device("meta"):
        return nn.ModuleList(
            nn.ModuleDict(
                {"attention": nn.Linear(8, 8), "mlp": nn.Linear(8, 8), "norm": nn.LayerNorm(8)}
            )
            for _ in range(3334)
        )


IMPORT = """
import time, torch
start = time.perf_counter()
import initpolicy
print(time.perf_counter() - start)
"""
FIRST_DRAW = """
import time, torch
model = torch.nn.Linear(1000, 1000)
start = time.perf_counter()
import initpolicy
initpolicy.apply(model, "mlp")
print(time.perf_counter() - start)
"""


def main() -> None:
    """Print a line for each measurement."""
    densenet, meta = densenet121(), large()
    rows = [
        ("plan DenseNet-121", seconds(lambda: initpolicy.plan(densenet, "densenet")), 0.05),
        ("plan 20,004 meta tensors", seconds(lambda: initpolicy.plan(meta, "torch")), 3.0),
        ("import initpolicy after torch", fresh(IMPORT), 0.15),
        ("first draw of a process, import included", fresh(FIRST_DRAW), 0.5),
    ]
    for name, measured, limit in rows:
        print(f"{name:<42} {measured * 1000:9.1f} ms   limit {limit * 1000:6.0f} ms")


if __name__ == "__main__":
    main()
