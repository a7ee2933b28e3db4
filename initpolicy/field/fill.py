"""Filling tensors from the field: work split over threads by ranges of elements of all jobs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from initpolicy.field.draws import Constants, Draw, constants_of
from initpolicy.field.formats import FLOAT8
from initpolicy.field.stream import Stream

if TYPE_CHECKING:
    from types import ModuleType

PIECE = 1 << 20  # elements drawn between two looks at Ctrl-C; also the size of a copy's buffer
SMALL = 1 << 18  # plans of fewer elements do not start threads


@dataclass(frozen=True)
class Fill:
    """One job: a tensor, and what to draw into it.

    Attributes:
        tensor: real floating tensor of any shape, strides and device. Complex tensors are passed
            as `torch.view_as_real`.
        stream: where in the field.
        draw: the law.
        runs: [start, stop) runs of the global flat row-major index that the tensor's elements,
            in row-major order, hold; None for a whole tensor, which is ((0, numel),).
    """

    tensor: torch.Tensor
    stream: Stream
    draw: Draw
    runs: tuple[tuple[int, int], ...] | None = None


def words(stream: Stream, start: int, stop: int) -> NDArray[np.uint32]:
    """Return the field's words of the indices [start, stop), uint32 of shape (stop - start,).

    Raises:
        ValueError: the range is not within [0, 2^64).

    >>> words(Stream((0, 0), (0, 0)), 0, 4).tolist() == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    True
    """
    _check_run(start, stop)
    out = np.empty(stop - start, np.uint32)
    from initpolicy.field import cpu

    begin, end = (np.array([i], np.uint64) for i in (start, stop))
    cpu.fill_words(out, begin, end, *_stream_words(stream))
    return out


def fill(
    jobs: Sequence[Fill],
    *,
    threads: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Draw every job's values into its tensor.

    The values depend on each job's stream, draw, runs and dtype; not on threads, strides, device
    or the other jobs. Everything is checked before the first byte is written.

    Args:
        jobs: what to fill.
        threads: at most this many threads; None for as many as torch uses and the process may.
        progress: called in this thread with the number of bytes newly written.

    Raises:
        ValueError: a draw that `check_draw` rejects, runs that do not fit the tensor, a tensor
            whose elements overlap, or a tensor without memory (meta).
        TypeError: a dtype that cannot be drawn.
        KeyboardInterrupt: within a second of Ctrl-C; `progress` has told what was written.
    """
    works = [_Work(job) for job in jobs]
    works = [work for work in works if work.size]
    if not works:
        return
    total = sum(work.size for work in works)
    if threads is None:
        threads = min(len(os.sched_getaffinity(0)), torch.get_num_threads())
    if threads < 1:
        raise ValueError(f"threads must be at least 1, not {threads}")
    with torch.no_grad():
        from initpolicy.field import cpu

        tasks = _tasks(works)
        if threads == 1 or total < SMALL:
            with subnormals_kept():
                for task in tasks:
                    _carry_out(task, cpu, progress)
        else:
            _share_out(tasks, threads, cpu, progress)


class _Work:
    """A checked job: flat views where the kernels can write directly, pieces where they cannot."""

    def __init__(self, job: Fill):
        tensor = job.tensor.detach()
        if tensor.is_meta:
            raise ValueError("the tensor is on the meta device and has no memory to fill")
        self.constants = constants_of(job.draw, tensor.dtype)
        self.size = tensor.numel()
        runs = ((0, self.size),) if job.runs is None else job.runs
        for start, stop in runs:
            _check_run(start, stop)
        self.starts = np.array([run[0] for run in runs], np.uint64)
        self.stops = np.array([run[1] for run in runs], np.uint64)
        self.offsets = np.zeros(len(runs) + 1, np.int64)
        np.cumsum((self.stops - self.starts).astype(np.int64), out=self.offsets[1:])
        if self.offsets[-1] != self.size:
            raise ValueError(
                f"runs hold {self.offsets[-1]} indices, the tensor {self.size} elements"
            )
        if _overlaps(tensor):
            raise ValueError("elements of the tensor share memory; clone it before filling it")
        self.tensor = tensor
        self.stream = job.stream
        self.direct = (
            tensor.device.type == "cpu" and tensor.is_contiguous() and tensor.dtype not in FLOAT8
        )
        self.flat = _numbers(tensor.view(-1)) if self.direct else None

    def runs(self, first: int, last: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """Runs of the elements [first, last) of the tensor."""
        if len(self.starts) == 1:
            start = int(self.starts[0])
            return np.array([start + first], np.uint64), np.array([start + last], np.uint64)
        a = int(np.searchsorted(self.offsets, first, "right")) - 1
        b = int(np.searchsorted(self.offsets, last, "left"))
        starts, stops = self.starts[a:b].copy(), self.stops[a:b].copy()
        starts[0] += np.uint64(first - int(self.offsets[a]))
        stops[-1] -= np.uint64(int(self.offsets[b]) - last)
        return starts, stops

    def draw(self, target: NDArray[Any], first: int, last: int, cpu: ModuleType) -> None:
        """Draw the elements [first, last) into a flat array."""
        cpu.draw(target, *self.runs(first, last), _stream_words(self.stream), self.constants)


@dataclass(frozen=True)
class _Piece:
    """The elements [first, last) of a work; `view` is their tensor if they are to be copied."""

    work: _Work
    first: int
    last: int
    view: torch.Tensor | None = None

    @property
    def bytes(self) -> int:
        return (self.last - self.first) * self.work.tensor.element_size()


def _tasks(works: list[_Work]) -> Iterator[list[_Piece]]:
    """Group pieces into tasks of comparable size."""
    task: list[_Piece] = []
    size = 0
    for work in works:
        for piece in _pieces(work):
            task.append(piece)
            size += piece.last - piece.first
            if size >= SMALL:
                yield task
                task, size = [], 0
    if task:
        yield task


def _pieces(work: _Work) -> Iterator[_Piece]:
    if work.direct:
        for first in range(0, work.size, PIECE):
            yield _Piece(work, first, min(first + PIECE, work.size))
    else:
        yield from (_Piece(work, *part) for part in _boxes(work.tensor, 0))


def _boxes(tensor: torch.Tensor, first: int) -> Iterator[tuple[int, int, torch.Tensor]]:
    """Cut a tensor into views of at most PIECE elements that follow each other in row-major order."""
    if tensor.numel() <= PIECE:
        yield first, first + tensor.numel(), tensor
        return
    row = tensor[0].numel()
    if row > PIECE:
        for i in range(len(tensor)):
            yield from _boxes(tensor[i], first + i * row)
        return
    step = PIECE // row
    for i in range(0, len(tensor), step):
        part = tensor[i : i + step]
        yield first + i * row, first + i * row + part.numel(), part


def _carry_out(
    task: list[_Piece], cpu: ModuleType, progress: Callable[[int], None] | None = None
) -> int:
    for piece in task:
        if piece.view is None:
            assert piece.work.flat is not None
            piece.work.draw(piece.work.flat[piece.first : piece.last], piece.first, piece.last, cpu)
        else:
            _draw_and_copy(piece, piece.view, cpu)
        if progress:
            progress(piece.bytes)
    return sum(piece.bytes for piece in task)


def _draw_and_copy(piece: _Piece, view: torch.Tensor, cpu: ModuleType) -> None:
    size = piece.last - piece.first
    dtype = view.dtype
    buffer = torch.empty(size, dtype=dtype)
    if dtype in FLOAT8:
        values = np.empty(size, np.float32)
        piece.work.draw(values, piece.first, piece.last, cpu)
        cpu.narrow_to(values, buffer.view(torch.uint8).numpy(), dtype)
    else:
        piece.work.draw(_numbers(buffer), piece.first, piece.last, cpu)
    if view.device.type == "cpu":
        np.copyto(_numbers(view), _numbers(buffer).reshape(view.shape))
    else:
        view.copy_(buffer.view(view.shape))


def _share_out(
    tasks: Iterator[list[_Piece]],
    threads: int,
    cpu: ModuleType,
    progress: Callable[[int], None] | None,
) -> None:
    stopped = False

    def run(task: list[_Piece]) -> int:
        if stopped:
            return 0
        with torch.no_grad(), subnormals_kept():
            return _carry_out(task, cpu)

    waiting: set[Future[int]] = set()

    def collect(least: int) -> None:
        nonlocal waiting
        while len(waiting) > least:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                written = future.result()
                if progress:
                    progress(written)

    with ThreadPoolExecutor(threads) as pool:
        try:
            for task in tasks:
                waiting.add(pool.submit(run, task))
                collect(4 * threads)
            collect(0)
        except BaseException:
            stopped = True
            raise


@contextmanager
def subnormals_kept() -> Iterator[None]:
    """Keep this thread from flushing subnormal numbers to zero, whatever torch was told."""
    flushed = np.float32(1e-40) * np.float32(1.0) == 0
    if flushed:
        torch.set_flush_denormal(False)
    try:
        yield
    finally:
        if flushed:
            torch.set_flush_denormal(True)


def _numbers(tensor: torch.Tensor) -> NDArray[Any]:
    """View a CPU tensor as an array whose type tells the kernels its format."""
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(np.uint16)
    if tensor.dtype == torch.float16:
        return tensor.view(torch.int16).numpy()
    if tensor.dtype in FLOAT8:
        return tensor.view(torch.uint8).numpy()
    return tensor.numpy()


def _stream_words(stream: Stream) -> tuple[np.uint32, np.uint32, np.uint32, np.uint32]:
    (k0, k1), (c2, c3) = stream.key, stream.high
    return np.uint32(c2), np.uint32(c3), np.uint32(k0), np.uint32(k1)


def _check_run(start: int, stop: int) -> None:
    if not 0 <= start <= stop < 1 << 64:
        raise ValueError(f"run [{start}, {stop}) is not within [0, 2**64)")


def _overlaps(tensor: torch.Tensor) -> bool:
    """Whether two elements may share memory: strides, in order, must step over what lies within."""
    reach = 0
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size > 1:
            if stride <= reach:
                return True
            reach += stride * (size - 1)
    return False
