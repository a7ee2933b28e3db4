"""The Triton kernels under Triton's interpreter, against the CPU's bits.

Run by test_field_cuda.py in a process of its own, since TRITON_INTERPRET is read on import. The
interpreter multiplies and adds in two roundings, so a true fma takes its place here.
"""

import math
import os

os.environ["TRITON_INTERPRET"] = "1"

import numpy as np
import torch
from triton.runtime import interpreter

from initpolicy import field
from initpolicy.field import cuda
from initpolicy.field.draws import constants_of


def fma(x, y, z):
    """float32 fma: exact product, sum rounded to odd in double, rounded once more."""
    product, addend = x.astype(np.float64) * y.astype(np.float64), z.astype(np.float64)
    total = product + addend
    other = total - product
    error = (product - (total - other)) + (addend - other)
    even = (total.view(np.int64) & 1) == 0
    away = np.where(error > 0, np.inf, -np.inf)
    total = np.where((error != 0) & even, np.nextafter(total, away), total)
    return total.astype(np.float32)


def create_fma(self, x, y, z):
    return interpreter.TensorHandle(fma(x.data, y.data, z.data), z.dtype.scalar)


interpreter.InterpreterBuilder.create_fma = create_fma

DRAWS = [
    field.UniformDraw(-0.1, 0.1),
    field.UniformDraw(0.25, 3.0),
    field.NormalDraw(0.0, 0.02),
    field.NormalDraw(1.0, 0.5),
    field.TruncatedDraw(0.0, 0.02, -0.04, 0.04),
    field.TruncatedDraw(0.0, 1.0, -1.0, 3.0),
    field.TruncatedDraw(0.0, 1.0, 5.0, math.inf),
    field.TruncatedDraw(0.0, 1.0, -8.5, -8.0),
    field.TruncatedDraw(0.0, 1.0, -math.inf, math.inf),
]
ONE = ((5, 2_053),)
LONG = ((0, 3000), (4_099, 4_100), (2**34 - 7, 2**34 + 1_500), (2**64 - 1_001, 2**64 - 1))
SHORT = tuple((7 * i + i % 3, 7 * i + i % 3 + i % 11 % 5) for i in range(200))


def check(draw, dtype, runs):
    stream = field.stream(3, "cuda")
    size = sum(stop - start for start, stop in runs)
    cpu, gpu = torch.empty(size, dtype=dtype), torch.full((size,), 7.0, dtype=dtype)
    field.fill([field.Fill(cpu, stream, draw, runs)])
    starts, stops = zip(*runs, strict=True)
    cuda.draw(gpu, starts, stops, stream, constants_of(draw, dtype))
    same = (cpu.double() == gpu.double()).sum().item()
    assert same == size, f"{draw} in {dtype}: {size - same} of {size} values differ"


def count_launches():
    """Runs of any number take few launches."""
    launches = []

    class Counted:
        def __getitem__(self, grid):
            launches.append(grid)
            return lambda *arguments, **options: None

    cuda._draw_runs = Counted()
    starts = range(0, 100_000, 10)
    stops = [start + 1 + start % 9 for start in starts]
    constants = constants_of(DRAWS[0], torch.float32)
    cuda.draw(torch.empty(0), starts, stops, field.stream(0, "w"), constants)
    assert len(launches) == 3, launches  # of 1, 2, and 3 or 4 counters
    assert sum(grid for (grid,) in launches) * cuda.QUADS <= 4 * len(starts)


if __name__ == "__main__":
    for draw in DRAWS:
        for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
            check(draw, dtype, LONG)
        check(draw, torch.float32, ONE)
        check(draw, torch.bfloat16, SHORT)
    count_launches()
    print("same bits")
