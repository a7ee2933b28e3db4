"""Feed the field's words to dieharder (Debian: apt-get install dieharder).

    python tests/field/dieharder.py names         # words of many names, interleaved
    python tests/field/dieharder.py rows          # words of many rows of one tensor, interleaved
    python tests/field/dieharder.py names --all   # every test; an hour

A battery fails if a test ends FAILED; a few WEAK among a hundred p-values are to be expected.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterator

import numpy as np

from initpolicy.field import stream, words

# Birthdays, ranks, bitstream, counting ones, squeeze, runs, craps, STS, lagged sums, KS: minutes.
QUICK = [0, 2, 3, 4, 8, 13, 15, 16, 100, 101, 102, 203, 204, 209]


def names(lanes: int = 1024, block: int = 256) -> Iterator[bytes]:
    """One word of each of many names, then the next word of each."""
    streams = [stream(0, f"layers.{i}.weight") for i in range(lanes)]
    start = 0
    while True:
        columns = [words(one, start, start + block) for one in streams]
        yield np.stack(columns, axis=1).tobytes()
        start += block


def rows(width: int = 4096, lanes: int = 1024, block: int = 256) -> Iterator[bytes]:
    """One word of each of many rows, then the next word of each; then the rows below."""
    one = stream(0, "embedding.weight")
    top = 0
    while True:
        for left in range(0, width, block):
            starts = [(top + i) * width + left for i in range(lanes)]
            yield np.stack([words(one, a, a + block) for a in starts], axis=1).tobytes()
        top += lanes


def battery(blocks: Iterator[bytes], *options: str) -> str:
    """Return dieharder's report over these words."""
    process = subprocess.Popen(
        ["dieharder", "-g", "200", *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        for block in blocks:
            process.stdin.write(block)
    except BrokenPipeError:
        pass
    report = process.stdout.read().decode()
    process.wait()
    return report


def run(which: str, every: bool = False) -> str:
    source = {"names": names, "rows": rows}[which]
    if every:
        return battery(source(), "-a")
    return "".join(battery(source(), "-d", str(test)) for test in QUICK)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("which", choices=["names", "rows"])
    parser.add_argument("--all", action="store_true")
    arguments = parser.parse_args()
    report = run(arguments.which, arguments.all)
    print(report)
    sys.exit("FAILED" in report)
