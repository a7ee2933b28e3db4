"""Jobs, checked and cut into pieces that a thread draws at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch

from initpolicy.field import cpu
from initpolicy.field.draws import Draw, check_draw, constants_of
from initpolicy.field.formats import FLOAT8, format_of
from initpolicy.field.objects import Kernel
from initpolicy.field.runs import Runs
from initpolicy.field.stream import Stream

BUFFER = 1 << 20  # elements of a buffer, where a piece is drawn through one
LAUNCH = 1 << 28  # elements of a CUDA kernel's launch


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
        tensor = job.tensor
        if tensor.is_meta:
            raise ValueError("the tensor is on the meta device and has no memory to fill")
        dense = tensor.is_contiguous()
        if not dense and overlaps(tensor):
            raise ValueError("elements of the tensor share memory; clone it before filling it")
        self.tensor = tensor
        self.dense = dense and tensor.dtype not in FLOAT8
        self.stream = job.stream
        self.draw = job.draw
        self.kernel: Kernel | None = None  # that draws all in place, on the CPU
        if self.dense and tensor.is_cpu:
            self.kernel, self.numbers = cpu.bound(job.draw, tensor.dtype)
        else:
            check_draw(job.draw, tensor.dtype)
        self.size = tensor.numel()
        self.runs = None if job.runs is None else job.all_runs
        if self.runs is not None and self.runs.size != self.size:
            raise ValueError(
                f"the runs hold {self.runs.size} indices, the tensor {self.size} elements"
            )

    def pieces(self, size: int) -> Iterator[Piece]:
        """Cut into pieces in row-major order."""
        tensor = self.tensor.detach()
        on_gpu = _has_kernels(tensor.device)
        if self.dense and on_gpu:
            flat = tensor.view(-1)
            size = LAUNCH if self.runs is None or len(self.runs) == 1 else BUFFER
            for first in range(0, self.size, size):
                yield Piece(self, on_gpu, first, flat[first : first + size])
        else:
            for first, view in boxes(tensor, 0):
                yield Piece(self, on_gpu, first, view)


def pieces_of(works: Sequence[Work], size: int) -> Iterator[Piece | Rows]:
    """Cut works into pieces, of at most `size` elements on the CPU; small tensors share one."""
    rows = Rows()
    for work in works:
        if work.kernel is None:
            yield from work.pieces(size)
            continue
        for first in range(0, work.size, size):
            last = min(first + size, work.size)
            if rows.kernel is not work.kernel or rows.size + last - first > size:
                if rows.size:
                    yield rows
                rows = Rows(work.kernel)
            rows.add(work, first, last)
    if rows.size:
        yield rows


class Rows:
    """Elements of several works, which one call of a kernel of the CPU draws in place."""

    def __init__(self, kernel: Kernel | None = None):
        self.kernel = kernel
        self.rows: list[bytes] = []
        self.size = 0
        self.bytes = 0

    def add(self, work: Work, first: int, last: int) -> None:
        """Add the elements [first, last) of a work."""
        size, tensor = last - first, work.tensor
        wide = tensor.element_size()
        place = tensor.data_ptr() + first * wide
        self.rows.append(cpu.row(place, size, work.runs, first, work.stream, work.numbers))
        self.size += size
        self.bytes += size * wide

    def run(self) -> None:
        """Draw all."""
        if self.kernel:
            cpu.draw(self.kernel, self.rows)


@dataclass(frozen=True)
class Piece:
    """The elements of a work from `first` on that a view of its tensor holds."""

    work: Work
    on_gpu: bool
    first: int
    view: torch.Tensor

    @property
    def size(self) -> int:
        """How many elements it has."""
        return self.view.numel()

    @property
    def bytes(self) -> int:
        """Size of the piece in the tensor."""
        return self.size * self.view.element_size()

    def run(self) -> None:
        """Draw the piece, through a buffer unless the kernels can write to it."""
        if self.work.dense and self.on_gpu:
            self._draw_into(self.view)
            return
        device = self.view.device if self.on_gpu else torch.device("cpu")
        buffer = torch.empty(self.size, dtype=self.view.dtype, device=device)
        if buffer.dtype in FLOAT8:
            values = torch.empty_like(buffer, dtype=torch.float32)
            self._draw_into(values)
            if self.on_gpu:
                buffer = values  # within the bounds of the dtype: copying rounds it
            else:
                cpu.narrow(values.numpy(), array_of(buffer), format_of(buffer.dtype))
        else:
            self._draw_into(buffer)
        if self.view.device.type == "cpu":  # numpy copies in this thread alone
            np.copyto(array_of(self.view), array_of(buffer).reshape(tuple(self.view.shape)))
        else:
            self.view.copy_(buffer.view(self.view.shape))

    def _draw_into(self, flat: torch.Tensor) -> None:
        """Draw into dense memory, with the constants of the tensor's own dtype."""
        work, dtype = self.work, self.view.dtype
        if flat.is_cuda:
            from initpolicy.field import cuda

            runs = work.runs or Runs.one(0, work.size)
            bounds = runs.between(self.first, self.first + self.size)
            cuda.draw(flat, *bounds, work.stream, constants_of(work.draw, dtype))
        else:
            kernel, numbers = cpu.bound(work.draw, dtype)
            place = flat.data_ptr()
            row = cpu.row(place, self.size, work.runs, self.first, work.stream, numbers)
            cpu.draw(kernel, [row])


def _has_kernels(device: torch.device) -> bool:
    """Whether kernels write to a GPU's memory; others get copies of the CPU's values."""
    if device.type != "cuda" or not find_spec("triton"):
        return False
    from initpolicy.field import cuda

    return cuda.serves(device)


def array_of(tensor: torch.Tensor) -> Any:
    """View a CPU tensor as an array whose type tells the kernels its format."""
    if tensor.dtype == torch.bfloat16:
        return np.asarray(_Exposed(tensor, "uint16"))
    if tensor.dtype == torch.float16:
        return np.asarray(_Exposed(tensor, "int16"))
    if tensor.dtype in FLOAT8:
        return np.asarray(_Exposed(tensor, "uint8"))
    return np.asarray(_Exposed(tensor, str(tensor.dtype).removeprefix("torch.")))


class _Exposed:
    """A tensor's memory as numpy reads it.

    `Tensor.numpy` would tell the storage for good that it cannot be resized, which FSDP does.
    """

    def __init__(self, tensor: torch.Tensor, dtype: str) -> None:
        self.tensor = tensor  # which owns the memory
        size = tensor.element_size()
        self.__array_interface__: dict[str, object] = {
            "version": 3,
            "typestr": str(np.dtype(dtype).str),  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
            "shape": tuple(tensor.shape),
            "strides": tuple(stride * size for stride in tensor.stride()),
            "data": (tensor.data_ptr(), False),
        }


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


def overlaps(tensor: torch.Tensor) -> bool:
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
