"""Hand hostile inputs to everything that reads what others wrote, and print what became of them.

`make fuzz` runs it. Exit 1 if an input was met with anything but acceptance or a clear error.
Memory is limited, and what takes longer than a minute is a failure.
"""

from __future__ import annotations

import argparse
import resource
import signal
import sys
import tempfile
import traceback
from pathlib import Path
from time import perf_counter

sys.path.insert(0, str(Path(__file__).parent))

import torch
from targets import TARGETS, Count, attack

MEMORY = 8 << 30
LONGEST = 60  # seconds for one input


def main() -> int:
    """Run every target, or those that are named."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("targets", nargs="*", default=list(TARGETS))
    options.add_argument("--inputs", type=int, default=10_000, help="for each target")
    options.add_argument("--seed", type=int, default=0, help="the number of the first input")
    given = options.parse_args()
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.signal(signal.SIGALRM, too_long)
    failed = 0
    for name in given.targets:
        count, start, longest = Count(), perf_counter(), 0.0
        with tempfile.TemporaryDirectory() as folder:
            for seed in range(given.seed, given.seed + given.inputs):
                begun = perf_counter()
                signal.alarm(LONGEST)
                attack(name, seed, Path(folder), count)
                signal.alarm(0)
                longest = max(longest, perf_counter() - begun)
        failed += len(count.failed)
        print(
            f"{name}: {count.inputs:,} inputs, {count.accepted:,} accepted, "
            f"{len(count.failed)} failed, {perf_counter() - start:.0f} s, "
            f"longest {longest:.2f} s",
            flush=True,
        )
        for seed, error in count.failed[:10]:
            print(f"--- {name} {seed}")
            traceback.print_exception(error, limit=-4)
    return 1 if failed else 0


def too_long(number: int, frame: object) -> None:
    """Fail the input at hand."""
    raise TimeoutError(f"it took longer than {LONGEST} s")


if __name__ == "__main__":
    sys.exit(main())
