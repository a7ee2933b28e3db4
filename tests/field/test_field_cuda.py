"""The CUDA kernels give the CPU's bits: in Triton's interpreter, and on a GPU if there is one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from initpolicy import field
from initpolicy.field.formats import FLOAT8

pytest.importorskip("triton", reason="triton is not installed")
HERE = Path(__file__).parent


def test_interpreted():
    done = subprocess.run(
        [sys.executable, str(HERE / "cuda_interpreted.py")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parents[1]), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "same bits", done.stderr


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, *FLOAT8], ids=str)
@pytest.mark.parametrize(
    "draw",
    [
        field.UniformDraw(-0.1, 0.3),
        field.NormalDraw(0.0, 0.02),
        field.TruncatedDraw(0.0, 1.0, -2.0, 2.0),
        field.TruncatedDraw(0.0, 1.0, 5.0, float("inf")),
    ],
    ids=str,
)
def test_on_a_gpu(draw, dtype):
    stream = field.stream(0, "gpu")
    cpu = torch.empty(1001, 999, dtype=dtype)
    gpu = torch.empty(1001, 999, dtype=dtype, device="cuda")
    turned = torch.empty(999, 1001, dtype=dtype, device="cuda").t()
    field.fill([field.Fill(tensor, stream, draw) for tensor in (cpu, gpu, turned)])
    assert torch.equal(gpu.cpu().view(torch.uint8), cpu.view(torch.uint8))
    assert torch.equal(turned.cpu().contiguous().view(torch.uint8), cpu.view(torch.uint8))
