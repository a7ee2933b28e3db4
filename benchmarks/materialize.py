"""Speed of writing a checkpoint, paired with plain writes of the same bytes in one run.

    python benchmarks/materialize.py [--gigabytes 4] [--rounds 5] [--folder .] [--threads 2]

A plain write puts one block in memory, over and over, into files of the same names and sizes: the
same block size, each file under a temporary name, flushed to the disk and renamed. Which of the two
comes first in a round alternates. The ratio is the median of the rounds' ratios.
"""

import argparse
import os
import resource
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import nn

import initpolicy
from initpolicy.materialization.blocks import BLOCK
from initpolicy.policy import load
from initpolicy.resolve import resolve

WIDTH = 4096
LAWS = {
    "normal": '{ fn = "normal", std = 0.02 }',
    "uniform": '{ fn = "uniform", a = -0.1, b = 0.1 }',
    "trunc_normal": '{ fn = "trunc_normal", std = 0.02, a = -0.04, b = 0.04 }',
    "constant": "1",
}


def plan_of(law: str, size: int, folder: str, dtype: torch.dtype) -> initpolicy.Plan:
    file = Path(folder) / "policy.toml"
    file.write_text(f"format = 1\n[[rule]]\ninit.weight = {LAWS[law]}\n")
    count = max(1, size // (WIDTH * WIDTH * dtype.itemsize))
    with torch.device("meta"):
        layers = [nn.Linear(WIDTH, WIDTH, bias=False, dtype=dtype) for _ in range(count)]
    return resolve(nn.Sequential(*layers), load(file))


def plain(folder: Path, files: dict[str, int], block: memoryview) -> None:
    folder.mkdir()
    for name, size in files.items():
        with open(folder / f".{name}", "xb", buffering=0) as file:
            left = size
            while left:
                left -= file.write(block[: min(left, len(block))])
            os.fsync(file.fileno())
        os.replace(folder / f".{name}", folder / name)
        number = os.open(folder, os.O_RDONLY)
        os.fsync(number)
        os.close(number)


def timed(function) -> float:
    os.sync()
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def clear(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


def main(gigabytes: float, rounds: int, folder: str, threads: int, shard: str) -> None:
    block = torch.randint(256, (BLOCK,), dtype=torch.uint8).numpy().data
    print(f"{gigabytes} GB in files of {shard}, GB/s, median of {rounds} rounds")
    print(f"{'':24}{'plain':>10}{'initpolicy':>12}")
    with TemporaryDirectory(dir=folder) as root:
        out = Path(root) / "out"
        warm = plan_of("normal", 1, root, torch.float32)
        initpolicy.materialize(warm, out)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        clear(out)
        for law, dtype in [
            ("normal", torch.float32),
            ("normal", torch.bfloat16),
            ("uniform", torch.float32),
            ("trunc_normal", torch.bfloat16),
            ("constant", torch.float32),
        ]:
            plan = plan_of(law, int(gigabytes * 1e9), root, dtype)
            times: tuple[list[float], list[float]] = ([], [])
            files: dict[str, int] = {}
            size = 0

            def ours(plan=plan) -> None:
                nonlocal files, size
                done = initpolicy.materialize(plan, out, max_shard_size=shard, threads=threads)
                files, size = {file.name: file.size for file in done.written}, done.size

            def theirs() -> None:
                plain(out, files, block)  # noqa: B023

            ours()
            clear(out)
            for number in range(rounds):
                pair = [(ours, times[1]), (theirs, times[0])]
                for function, kept in pair if number % 2 else reversed(pair):
                    kept.append(timed(function))
                    clear(out)
            ratio = statistics.median(a / b for a, b in zip(*times, strict=True))
            speeds = [size / statistics.median(kept) / 1e9 for kept in times]
            name = f"{law}, {str(dtype).removeprefix('torch.')}"
            print(f"{name:24}{speeds[0]:10.2f}{speeds[1]:12.2f}{100 * ratio:8.0f} %", flush=True)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        print(f"memory at most, over that after the first draw: {peak / 1024:.0f} MB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", default=".")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--max-shard-size", default="1GB")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    main(given.gigabytes, given.rounds, given.folder, given.threads, given.max_shard_size)
