"""How evenly `frame` spreads the filters of ShuffleNetV2, against random ones and the bound.

Run `python examples/frames.py`; it prints the table of docs/bases.md.
"""

import statistics
import time

import torch

from initpolicy import field
from initpolicy.laws.frame import Frame, coherence, welch_bound

STAGES = {
    "3x3 over 24 channels": [(out, 24, 3, 3) for out in (48, 116, 176, 244)],
    "depthwise 3x3": [
        (channels, 1, 3, 3) for channels in (24, 48, 58, 88, 116, 122, 176, 232, 244, 352, 464, 488)
    ],
    "1x1, stage 2": [(out, 24, 1, 1) for out in (24, 58, 88, 122)],
    "1x1, last": [(1024, 192, 1, 1), (1024, 464, 1, 1), (1024, 704, 1, 1), (2048, 976, 1, 1)],
}


def random_vectors(shape: tuple[int, ...]) -> float:
    """Median over five sets of normal vectors."""
    generator = torch.Generator().manual_seed(0)
    return statistics.median(
        coherence(torch.randn(shape, generator=generator).flatten(1)) for _ in range(5)
    )


def main() -> None:
    print("| layer | rows x columns | bound | `frame` | random | seconds |")
    print("| --- | --- | --- | --- | --- | --- |")
    for layer, shapes in STAGES.items():
        for shape in shapes:
            tensor = torch.empty(shape, dtype=torch.float64)
            start = time.perf_counter()
            Frame().write(tensor, field.stream(0, "weight"))
            seconds = time.perf_counter() - start
            matrix = tensor.flatten(1)
            rows, columns = matrix.shape
            print(
                f"| {layer} | {rows} x {columns} | {welch_bound(rows, columns):.4f} "
                f"| {coherence(matrix):.4f} | {random_vectors(shape):.4f} | {seconds:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
