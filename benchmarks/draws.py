"""Speed of draws, paired with torch in one run.

    python benchmarks/draws.py [--elements 16777216] [--rounds 7] [--threads 2]

Every row times torch and initpolicy in turn and keeps the least time of each. torch draws in one
thread whatever its thread count.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch

from initpolicy.field import Fill, NormalDraw, TruncatedDraw, UniformDraw, fill, stream, words

STREAM = stream(0, "weight")


def ours(tensor, draw, threads):
    return lambda: fill([Fill(tensor, STREAM, draw)], threads=threads)


def paired(a: Callable[[], object], b: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Return the least times of both in seconds, taken in turn."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds + 1):
        for function, kept in zip((a, b), times, strict=True):
            begin = time.perf_counter()
            function()
            kept.append(time.perf_counter() - begin)
    return min(times[0][1:]), min(times[1][1:])  # the first round warms up


def laws(elements: int, rounds: int, threads: int) -> None:
    single = torch.zeros(elements)
    brain = torch.zeros(elements, dtype=torch.bfloat16)
    half = torch.zeros(elements, dtype=torch.float16)
    matrix = single.view(-1, 1024)
    he = (2 / 1024) ** 0.5
    cut = TruncatedDraw(0.0, 1.0, -2.0, 2.0)
    init = torch.nn.init
    rows = [
        ("uniform", 8, single, UniformDraw(-0.1, 0.1), lambda: single.uniform_(-0.1, 0.1)),
        ("normal", 5, single, NormalDraw(0.0, 0.02), lambda: single.normal_(0.0, 0.02)),
        ("normal, bfloat16", 5, brain, NormalDraw(0.0, 0.02), lambda: brain.normal_(0.0, 0.02)),
        ("normal, float16", None, half, NormalDraw(0.0, 0.02), lambda: half.normal_(0.0, 0.02)),
        ("kaiming_normal", 5, matrix, NormalDraw(0.0, he), lambda: init.kaiming_normal_(matrix)),
        ("trunc_normal, 2 sigma", 40, single, cut, lambda: init.trunc_normal_(single, a=-2, b=2)),
    ]
    print(f"{'':24}{'torch':>10}{'initpolicy':>12}   ns an element, {elements:,} elements")
    for name, asked, tensor, draw, torchs in rows:
        times = paired(torchs, ours(tensor, draw, threads), rounds)
        a, b = (seconds / tensor.numel() * 1e9 for seconds in times)
        goal = f"  (asked: {asked})" if asked else ""
        print(f"{name:24}{a:10.2f}{b:12.3f}{a / b:9.1f} x{goal}")


def memory(elements: int, rounds: int, threads: int) -> None:
    """Uniform draws beside a constant written to the same memory."""
    tensor = torch.zeros(elements)
    uniform = ours(tensor, UniformDraw(-0.1, 0.1), threads)
    constant, drawn = paired(lambda: tensor.fill_(0.5), uniform, rounds)
    gigabytes = 4 * elements / 1e9
    print(
        f"\nuniform into {gigabytes:.2f} GB: {gigabytes / drawn:.1f} GB/s, a constant "
        f"{gigabytes / constant:.1f} GB/s: {100 * constant / drawn:.0f} %  (asked: 75)"
    )
    buffer = torch.zeros(1 << 18)
    one, _ = paired(ours(buffer, UniformDraw(-0.1, 0.1), 1), lambda: None, 50)
    raw, _ = paired(lambda: words(STREAM, 0, 1 << 18), lambda: None, 50)
    print(
        f"in cache, one thread: uniform {one / 2**18 * 1e9:.2f} ns, words {raw / 2**18 * 1e9:.2f}"
    )


def first_draw(rounds: int) -> None:
    """What a fresh process with compiled kernels on disk pays over importing torch."""
    draw = (
        "import torch; from initpolicy.field import *;"
        "fill([Fill(torch.empty(9), stream(0, 'w'), NormalDraw(0.0, 1.0))])"
    )
    times: dict[str, list[float]] = {"import torch": [], draw: []}
    for _ in range(rounds + 1):
        for code, kept in times.items():
            begin = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            kept.append(time.perf_counter() - begin)
    base, whole = (statistics.median(kept[1:]) for kept in times.values())
    print(f"first draw of a process, over importing torch: {whole - base:.2f} s  (asked: 0.5)")


def gpu(elements: int, rounds: int) -> None:
    """The same draws on a GPU, beside torch's and a constant."""
    tensor = torch.zeros(elements, device="cuda")

    def timed(function: Callable[[], object]) -> Callable[[], None]:
        def run() -> None:
            function()
            torch.cuda.synchronize()

        return run

    print(f"\n{torch.cuda.get_device_name()}, GB/s over {4 * elements / 1e9:.2f} GB")
    normal = ours(tensor, NormalDraw(0.0, 0.02), 1)
    uniform = ours(tensor, UniformDraw(-0.1, 0.1), 1)
    pairs = [
        ("normal", normal, lambda: tensor.normal_(0.0, 0.02)),
        ("uniform", uniform, lambda: tensor.uniform_(-0.1, 0.1)),
        ("a constant", lambda: tensor.fill_(0.5), lambda: tensor.fill_(0.5)),
    ]
    for name, mine, torchs in pairs:
        a, b = (4 * elements / t / 1e9 for t in paired(timed(torchs), timed(mine), rounds))
        print(f"{name:24}{a:10.0f}{b:12.0f}{b / a:9.1f} x")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--elements", type=int, default=1 << 24)
    parser.add_argument("--large", type=int, default=1 << 28, help="elements of the memory test")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    laws(arguments.elements, arguments.rounds, arguments.threads)
    memory(arguments.large, arguments.rounds, arguments.threads)
    first_draw(arguments.rounds)
    if torch.cuda.is_available():
        gpu(arguments.large, arguments.rounds)
