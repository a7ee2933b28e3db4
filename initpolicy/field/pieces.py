"""Jobs, checked and cut into pieces that a thread draws at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch

from initpolicy.field.draws import Constants, Draw, constants_of
from initpolicy.field.formats import FLOAT8, format_of
from initpolicy.field.runs import Runs
from initpolicy.field.stream import Stream

BUFFER = 1 << 20  # elements of a buffer, where a piece is drawn through one
LAUNCH = 1 << 28  # elements of a CUDA kernel's launch
Kernels = Any  # the module cpu or cuda


@dataclass(frozen=True)
class Fill:
    """One job: a tensor, and what to draw into it.

    Attributes:
        tensor: real floating tensor of any shape, strides and device. Complex tensors are passed
            as `torch.view_as_real`.
        stream: where in the field.
        draw: the law.
        runs: the runs of the global flat row-major index that the tensor's elements, in row-major
            order, hold, as `Runs` or as pairs; None for a whole tensor, which is ((0, numel),).
    """

    tensor: torch.Tensor
    stream: Stream
    draw: Draw
    runs: Runs | Sequence[tuple[int, int]] | None = None

    @property
    def all_runs(self) -> Runs:
        """The runs, also of a whole tensor."""
        if self.runs is None:
            return Runs.one(0, self.tensor.numel())
        return self.runs if isinstance(self.runs, Runs) else Runs.of(self.runs)


class Work:
    """A checked job.

    Raises:
        ValueError: the law, the runs or the tensor's memory are not fit to be filled.
        TypeError: its dtype cannot be drawn.
    """

    def __init__(self, job: Fill):
        tensor = job.tensor.detach()
        if tensor.is_meta:
            raise ValueError("the tensor is on the meta device and has no memory to fill")
        if _overlaps(tensor):
            raise ValueError("elements of the tensor share memory; clone it before filling it")
        self.tensor = tensor
        self.stream = job.stream
        self.constants: Constants = constants_of(job.draw, tensor.dtype)
        self.runs = job.all_runs
        if self.runs.size != tensor.numel():
            raise ValueError(
                f"the runs hold {self.runs.size} indices, the tensor {tensor.numel()} elements"
            )
        dense = tensor.is_contiguous() and tensor.dtype not in FLOAT8
        self.flat = tensor.view(-1) if dense else None

    def pieces(self, size: int) -> Iterator[Piece]:
        """Cut into pieces in row-major order, of at most `size` elements where drawn in place."""
        kernels = _kernels_of(self.tensor.device)
        if self.flat is not None and kernels:
            size = LAUNCH if self.tensor.is_cuda else size
            for first in range(0, self.runs.size, size):
                last = min(first + size, self.runs.size)
                yield Piece(self, kernels, first, last, self.flat[first:last])
        else:
            for first, view in boxes(self.tensor, 0):
                yield Piece(self, kernels, first, first + view.numel(), view)


@dataclass(frozen=True)
class Piece:
    """The elements [first, last) of a work, and the view of its tensor that holds them."""

    work: Work
    kernels: Kernels | None  # that write to this device
    first: int
    last: int
    view: torch.Tensor

    @property
    def size(self) -> int:
        """How many elements it has."""
        return self.last - self.first

    @property
    def bytes(self) -> int:
        """Size of the piece in the tensor."""
        return self.size * self.view.element_size()

    def run(self) -> None:
        """Draw the piece, through a buffer unless the kernels can write to it."""
        if self.work.flat is not None and self.kernels:
            self._draw_into(self.view, self.kernels)
            return
        device = self.view.device if self.kernels else torch.device("cpu")
        buffer = torch.empty(self.size, dtype=self.view.dtype, device=device)
        if buffer.dtype in FLOAT8:
            values = torch.empty_like(buffer, dtype=torch.float32)
            self._draw_into(values, self.kernels or _cpu())
            if device.type == "cpu":
                _cpu().narrow(values.numpy(), array_of(buffer), format_of(buffer.dtype))
            else:
                buffer = values  # within the bounds of the dtype: copying rounds it
        else:
            self._draw_into(buffer, self.kernels or _cpu())
        if self.view.device.type == "cpu":  # numpy copies in this thread alone
            np.copyto(array_of(self.view), array_of(buffer).reshape(tuple(self.view.shape)))
        else:
            self.view.copy_(buffer.view(self.view.shape))

    def _draw_into(self, flat: torch.Tensor, kernels: Kernels) -> None:
        runs = self.work.runs.between(self.first, self.last)
        out = flat if flat.is_cuda else array_of(flat)
        kernels.draw(out, *runs, self.work.stream, self.work.constants)


def _cpu() -> Kernels:
    from initpolicy.field import cpu

    return cpu


def _kernels_of(device: torch.device) -> Kernels | None:
    """Return the kernels that write to a device's memory; None if it gets copies of the CPU's."""
    if device.type == "cpu":
        return _cpu()
    if device.type == "cuda" and find_spec("triton"):
        from initpolicy.field import cuda

        return cuda if cuda.serves(device) else None
    return None


def array_of(tensor: torch.Tensor) -> Any:
    """View a CPU tensor as an array whose type tells the kernels its format."""
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.uint16).numpy()
    if tensor.dtype == torch.float16:
        return tensor.view(torch.int16).numpy()
    if tensor.dtype in FLOAT8:
        return tensor.view(torch.uint8).numpy()
    return tensor.numpy()


def boxes(tensor: torch.Tensor, first: int) -> Iterator[tuple[int, torch.Tensor]]:
    """Cut a tensor into views of at most BUFFER elements, consecutive in row-major order."""
    if tensor.numel() <= BUFFER:
        yield first, tensor
        return
    row = tensor[0].numel()
    if row > BUFFER:
        for i in range(len(tensor)):
            yield from boxes(tensor[i], first + i * row)
        return
    step = BUFFER // row
    for i in range(0, len(tensor), step):
        yield first + i * row, tensor[i : i + step]


def _overlaps(tensor: torch.Tensor) -> bool:
    """Whether elements may share memory: each stride must step over what lies within it."""
    if tensor.is_contiguous():
        return False
    reach = 0
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size > 1:
            if stride <= reach:
                return True
            reach += stride * (size - 1)
    return False
