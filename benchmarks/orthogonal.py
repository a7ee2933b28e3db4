"""How much faster orthogonal matrices are drawn than by torch, and how orthogonal they are.

Run `python benchmarks/orthogonal.py`. Each pair is timed in turn, so that a change of the
machine's speed meets both, and the medians are compared.
"""

import statistics
import time
from collections.abc import Callable

import torch

from initpolicy import field
from initpolicy.laws import Orthogonal

SHAPES = [(2048, 2048), (4096, 1024), (1024, 4096), (512, 512), (64, 64)]


def seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def error(matrix: torch.Tensor) -> float:
    tall = matrix.double() if matrix.shape[0] >= matrix.shape[1] else matrix.double().mT
    identity = torch.eye(tall.shape[1], dtype=torch.float64)
    return float(torch.linalg.matrix_norm(tall.mT @ tall - identity))


def main() -> None:
    torch.set_num_threads(2)
    print(f"{'shape':>12} {'torch ms':>9} {'ours ms':>9} {'ratio':>6}   |QtQ - I| torch, ours")
    law = Orthogonal()
    for shape in SHAPES:
        theirs, ours = torch.empty(shape), torch.empty(shape)
        stream = field.stream(0, "weight")
        pairs = [
            (
                seconds(lambda theirs=theirs: torch.nn.init.orthogonal_(theirs)),
                seconds(lambda ours=ours, stream=stream: law.write(ours, stream)),
            )
            for _ in range(12)
        ][2:]
        a, b = (statistics.median(side) for side in zip(*pairs, strict=True))
        print(
            f"{'x'.join(map(str, shape)):>12} {1e3 * a:9.2f} {1e3 * b:9.2f} {a / b:6.2f}   "
            f"{error(theirs):.1e}, {error(ours):.1e}"
        )


if __name__ == "__main__":
    main()
