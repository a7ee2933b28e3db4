"""Filling tensors from the field."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from initpolicy.field import cpu
from initpolicy.field.pieces import Fill, Work, pieces_of
from initpolicy.field.runs import Runs
from initpolicy.field.stream import Stream
from initpolicy.field.threads import carry_out, default_threads, piece_size

SHARED = 1 << 20  # elements on the CPU that are worth starting threads for


def words(stream: Stream, start: int, stop: int) -> NDArray[np.uint32]:
    """Return the field's words of the indices [start, stop), uint32 of shape (stop - start,).

    Raises:
        ValueError: the range is not within [0, 2^64).

    >>> [hex(word) for word in words(Stream((0, 0), (0, 0)), 0, 3)]
    ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c']
    """
    return words_of(stream, Runs.one(start, stop))


def words_of(stream: Stream, runs: Runs) -> NDArray[np.uint32]:
    """Return the field's words of these indices, uint32 of shape (runs.size,).

    >>> [hex(word) for word in words_of(Stream((0, 0), (0, 0)), Runs.of([(0, 1), (2, 3)]))]
    ['0x6627e8d5', '0xbc57ac4c']
    """
    out = np.empty(runs.size, np.uint32)
    if out.size:
        kernel, numbers = cpu.bound(None, torch.uint32)
        cpu.draw(kernel, [cpu.row(cpu.address(out), out.size, runs, 0, stream, numbers)])
    return out


def fill(
    jobs: Sequence[Fill],
    *,
    threads: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Draw every job's values into its tensor.

    The values depend on each job's stream, draw, runs and dtype; not on threads, strides, device
    or the other jobs. Everything is checked before the first byte is written. Beyond the tensors
    a thread takes a few megabytes at most.

    Args:
        jobs: what to fill.
        threads: at most this many threads; None for as many as torch uses and the process may.
        progress: called in this thread with the number of bytes newly written.

    Raises:
        ValueError: a draw that `check_draw` rejects, runs that do not fit the tensor, a tensor
            whose elements overlap, or a tensor without memory (meta).
        TypeError: a dtype that cannot be drawn.
        KeyboardInterrupt: within a second of Ctrl-C; `progress` has told what was written.

    >>> from initpolicy.field import NormalDraw, stream
    >>> weight = torch.empty(2, 3)
    >>> fill([Fill(weight, stream(0, "fc.weight"), NormalDraw(0.0, 0.02))])
    >>> part = torch.empty(2)
    >>> fill([Fill(part, stream(0, "fc.weight"), NormalDraw(0.0, 0.02), runs=((4, 6),))])
    >>> torch.equal(part, weight.flatten()[4:6])
    True
    """
    if threads is not None and threads < 1:
        raise ValueError(f"threads must be at least 1, not {threads}")
    works = [work for work in map(Work, jobs) if work.size]
    if not works:
        return
    here = [work for work in works if work.tensor.is_cpu]
    total = sum(work.size for work in here)
    many = default_threads() if threads is None else threads
    size = piece_size(total, many)
    try:
        with torch.no_grad():
            # Other devices order their work by this thread's stream.
            elsewhere = [work for work in works if not work.tensor.is_cpu]
            carry_out(pieces_of(elsewhere, size), 1, progress)
            carry_out(pieces_of(here, size), many if total > SHARED else 1, progress)
    finally:
        for job in jobs:  # as torch's own in-place operations do
            if not job.tensor.is_inference():
                torch.autograd.graph.increment_version(job.tensor)
