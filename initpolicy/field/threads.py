"""Pieces of all jobs, carried out in this thread or shared out over several."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from threading import Lock, Thread
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
    """Return how many elements to take between two looks at Ctrl-C: a few milliseconds' worth.

    Each thread takes many pieces, so that all end at about the same time.
    """
    return min(max(total // (16 * threads), TASK), 16 * TASK)


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
    shared = _Shared(pieces)
    helpers = [Thread(target=shared.help) for _ in range(threads - 1)]
    try:
        for helper in helpers:
            helper.start()
        shared.run(lambda: report(shared.written()))
        for helper in helpers:
            helper.join()
    except BaseException:
        shared.stopped = True
        raise
    finally:
        for helper in helpers:
            if helper.is_alive():
                helper.join()
        if last := shared.written():
            report(last)
    if shared.error is not None:
        raise shared.error


class _Shared:
    """Pieces that several threads take, until there are none or one of them fails."""

    def __init__(self, pieces: Iterable[Piece]) -> None:
        self._tasks = _tasks(pieces)
        self._one_at_a_time = Lock()
        self._done: deque[int] = deque()  # bytes
        self.stopped = False
        self.error: BaseException | None = None

    def run(self, after: Callable[[], None] = lambda: None) -> None:
        """Run pieces, and `after` after each of them."""
        with torch.no_grad(), subnormals_kept():
            while task := self._take():
                for piece in task:
                    if not self.stopped:
                        piece.run()
                        self._done.append(piece.bytes)
                        after()

    def help(self) -> None:
        """Run pieces in a thread that nobody waits for the result of."""
        try:
            self.run()
        except BaseException as error:
            self.error, self.stopped = error, True

    def written(self) -> int:
        """How many bytes all threads have written since this was asked last."""
        return sum(self._done.popleft() for _ in range(len(self._done)))

    def _take(self) -> list[Piece] | None:
        with self._one_at_a_time:
            return None if self.stopped else next(self._tasks, None)


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
