"""Pieces of all jobs, carried out in this thread or shared out over several."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Protocol

import torch

TASK = 1 << 18  # elements worth handing to a thread, about 0.2 ms
_SUBNORMAL = 5e-324


class Piece(Protocol):
    """What a thread does between two looks at Ctrl-C."""

    @property
    def size(self) -> int:
        """How many elements it has."""
        ...

    @property
    def bytes(self) -> int:
        """How many bytes they have in their tensor."""
        ...

    def run(self) -> None:
        """Draw them, or read them."""
        ...


def default_threads() -> int:
    """Return as many threads as torch uses, and as this process may run at once."""
    if hasattr(os, "sched_getaffinity"):
        processors = len(os.sched_getaffinity(0))
    else:
        processors = os.cpu_count() or 1
    return min(processors, torch.get_num_threads())


def piece_size(total: int, threads: int) -> int:
    """Return how many elements to take between two looks at Ctrl-C: a few milliseconds' worth."""
    return min(max(total // (4 * threads), TASK), 16 * TASK)


def carry_out(
    pieces: Iterable[Piece], threads: int, progress: Callable[[int], None] | None
) -> None:
    """Run all pieces; an exception, Ctrl-C among them, stops all threads within milliseconds."""

    def report(written: int) -> None:
        if progress:
            progress(written)

    if threads == 1:
        with subnormals_kept():
            for piece in pieces:
                piece.run()
                report(piece.bytes)
        return
    stopped = False

    def run(task: list[Piece]) -> int:
        written = 0
        with torch.no_grad(), subnormals_kept():
            for piece in task:
                if not stopped:
                    piece.run()
                    written += piece.bytes
        return written

    waiting: set[Future[int]] = set()

    def collect(least: int) -> None:
        while len(waiting) > least:
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                waiting.remove(future)
                report(future.result())

    with ThreadPoolExecutor(threads) as pool:
        try:
            for task in _tasks(pieces):
                waiting.add(pool.submit(run, task))
                collect(4 * threads)
            collect(0)
        except BaseException:
            stopped = True
            for future in wait(waiting).done:
                if not future.exception():
                    report(future.result())
            raise


def _tasks(pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
    """Group small pieces, so that a thousand small tensors make few tasks."""
    task: list[Piece] = []
    size = 0
    for piece in pieces:
        task.append(piece)
        size += piece.size
        if size >= TASK:
            yield task
            task, size = [], 0
    if task:
        yield task


@contextmanager
def subnormals_kept() -> Generator[None]:
    """Keep this thread from flushing subnormal numbers to zero, whatever torch was told."""
    flushed = _SUBNORMAL * 1.0 == 0.0
    if flushed:
        torch.set_flush_denormal(False)
    try:
        yield
    finally:
        if flushed:
            torch.set_flush_denormal(True)
