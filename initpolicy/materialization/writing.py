"""Files written by several threads, of which some draw while others wait for the disk."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event, Lock, Semaphore, Thread

import torch

from initpolicy.laws import LawError
from initpolicy.materialization.blocks import BLOCK, Block, blocks
from initpolicy.materialization.container import bytes_in
from initpolicy.materialization.folder import unwritable
from initpolicy.materialization.layout import File
from initpolicy.materialization.replacing import Replacement
from initpolicy.problems import InitPolicyError, Problem

MOST_THREADS = 8
"""That draw at once: more would be faster than any disk, and each takes memory."""

_MORE = 1  # threads than may draw at once, so that the disk need not wait
_PATIENCE = 0.8  # seconds to wait for threads that are asked to stop


class _Target:
    """A file that is being written."""

    def __init__(self, folder: Path, file: File) -> None:
        self.path = folder / file.name
        self.replacement = Replacement(self.path)
        self.begin = len(file.header)
        self.left = file.size
        self.finished = False
        self._lock = Lock()
        try:
            self.write(0, file.header)
        except OSError:
            self.replacement.drop()
            raise

    def write(self, offset: int, data: memoryview | bytes) -> None:
        """Write, and finish the file if nothing is left of it."""
        self.replacement.write(offset, data)
        with self._lock:
            self.left -= len(data)
            last = not self.left
        if last:
            self.replacement.finish()
            self.finished = True


class _Work:
    """What the threads share."""

    def __init__(self, folder: Path, files: Sequence[File], seed: int, threads: int) -> None:
        self.seed = seed
        self.targets: list[_Target] = []
        self.drawing = Semaphore(threads)
        self.matrix = Lock()  # one matrix that is made as a whole at a time
        self.stopped = Event()
        self.events: SimpleQueue[int | Exception | None] = SimpleQueue()
        self._lock = Lock()
        self._tasks = self._all(folder, files)

    def _all(self, folder: Path, files: Sequence[File]) -> Iterator[tuple[_Target, Block]]:
        for file in files:
            try:
                target = _Target(folder, file)
            except OSError as error:
                raise unwritable(folder / file.name, error, _hint(error)) from error
            self.targets.append(target)
            self.events.put(len(file.header))
            for block in blocks(file.given):
                yield target, block

    def run(self) -> None:
        """Take blocks, draw them and write them, until there are no more."""
        try:
            memory = torch.empty(BLOCK, dtype=torch.uint8, device="cpu")
            while not self.stopped.is_set():
                with self._lock:
                    task = next(self._tasks, None)
                if task is None:
                    break
                self._carry_out(*task, memory)
        except Exception as error:
            self.events.put(error)
        finally:
            self.events.put(None)

    def _carry_out(self, target: _Target, block: Block, memory: torch.Tensor) -> None:
        if block.size > BLOCK:
            with self.matrix:
                self._write(target, block, torch.empty(block.size, dtype=torch.uint8, device="cpu"))
        else:
            self._write(target, block, memory[: block.size])

    def _write(self, target: _Target, block: Block, memory: torch.Tensor) -> None:
        with self.drawing:
            if self.stopped.is_set():
                return
            try:
                block.draw(memory, self.seed)
            except LawError as error:  # of a file that has changed since it was planned
                problem = Problem("IP216", f"{target.path}: {error.message}", error.hint)
                raise InitPolicyError(problem) from error
        data = bytes_in(memory)
        for first in range(0, len(data), BLOCK):
            if self.stopped.is_set():
                return
            some = data[first : first + BLOCK]
            try:
                target.write(target.begin + block.offset + first, some)
            except OSError as error:
                raise unwritable(target.path, error, _hint(error)) from error
            self.events.put(len(some))


def write(
    folder: Path,
    files: Sequence[File],
    seed: int,
    threads: int,
    progress: Callable[[int], None],
) -> None:
    """Write `files` into `folder`; `progress` is told the bytes just written, in this thread.

    At most `threads` draw at once. If anything goes wrong, files that are complete stay, and of
    the others nothing is left.
    """
    most = min(threads, MOST_THREADS)
    work = _Work(folder, files, seed, most)
    pool = [Thread(target=work.run, daemon=True) for _ in range(most + _MORE)]
    try:
        for thread in pool:
            thread.start()
        _watch(work, len(pool), progress)
    except BaseException:
        work.stopped.set()
        raise
    finally:
        deadline = time.monotonic() + _PATIENCE
        for thread in pool:
            if thread.ident is not None:
                thread.join(max(0.0, deadline - time.monotonic()))
        for target in work.targets:
            if not target.finished:
                # A thread in a long wait for the disk keeps its file open, without a name.
                alive = any(thread.is_alive() for thread in pool)
                target.replacement.unlink() if alive else target.replacement.drop()


def _watch(work: _Work, running: int, progress: Callable[[int], None]) -> None:
    """Hand on what the threads tell, until all are done or one has failed."""
    while running:
        try:
            event = work.events.get(timeout=0.1)  # where Ctrl-C does not wake a wait
        except Empty:
            continue
        if isinstance(event, Exception):
            raise event
        if event is None:
            running -= 1
        else:
            progress(event)


def _hint(error: OSError) -> str:
    if error.errno == errno.EFBIG:
        return "write smaller files, with another `max_shard_size`"
    full = error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", None))
    return f"{'make room, and ' if full else ''}go on with `resume=True` (`--resume`)"
