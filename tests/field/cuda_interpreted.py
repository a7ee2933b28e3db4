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
RUNS = ((0, 3000), (4_099, 4_100), (2**34 - 7, 2**34 + 1_500), (2**64 - 1_001, 2**64 - 1))
SIZE = sum(stop - start for start, stop in RUNS)


def check(draw, dtype):
    stream = field.stream(3, "cuda")
    cpu, gpu = torch.empty(SIZE, dtype=dtype), torch.full((SIZE,), 7.0, dtype=dtype)
    field.fill([field.Fill(cpu, stream, draw, RUNS)])
    starts, stops = zip(*RUNS, strict=True)
    cuda.draw(gpu, starts, stops, stream, constants_of(draw, dtype))
    same = (cpu.double() == gpu.double()).sum().item()
    assert same == SIZE, f"{draw} in {dtype}: {SIZE - same} of {SIZE} values differ"


if __name__ == "__main__":
    for draw in DRAWS:
        for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
            check(draw, dtype)
    print("same bits")
