"""The values of a tensor that nobody holds, some at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager

import numpy as np
import torch

from initpolicy import digests, field
from initpolicy.laws import Law, LawError, Part
from initpolicy.problems import InitPolicyError, Problem

Progress = Callable[[int], None]

BLOCK = 1 << 22
"""Elements that are drawn at a time."""


def blocks(
    law: Law, shape: tuple[int, ...], dtype: str, stream: field.Stream, threads: int | None = None
) -> Iterator[Part]:
    """Draw the values of a tensor, part after part; each is valid until the next is asked for.

    A law of the whole matrix is one part.

    >>> from initpolicy.laws import Constant
    >>> found = blocks(Constant(2), (2,), "float32", stream=field.NO_STREAM)
    >>> [part.tensor.tolist() for part in found]
    [[2.0, 2.0]]
    """
    kind: torch.dtype = getattr(torch, dtype)
    size = math.prod(shape)
    whole = law.room(shape, kind) > 0
    memory = torch.empty(size if whole else min(size, BLOCK), dtype=kind)
    for start in range(0, size, max(1, memory.numel())):
        run = field.Runs.one(start, min(start + memory.numel(), size))
        part = Part(memory[: run.size], shape, run)
        field.fill(law.fills_part(part, stream), threads=threads)
        law.write_part(part, stream)
        yield part


def stream_of(seed: int, name: str, law: Law) -> field.Stream:
    """The stream of a tensor, which a law without draws does not need."""
    return field.stream(seed, name) if law.is_drawn else field.NO_STREAM


def digest_of(
    law: Law,
    shape: tuple[int, ...],
    dtype: str,
    stream: field.Stream,
    threads: int | None = None,
    progress: Progress | None = None,
) -> str:
    """The digest of the values of a tensor, which is never held as a whole.

    >>> from initpolicy.digests import of_tensor
    >>> from initpolicy.laws import Constant
    >>> digest_of(Constant(2), (3,), "float32", field.NO_STREAM) == of_tensor(torch.full((3,), 2.0))
    True
    """
    total = np.zeros(2, np.uint64)
    for part in blocks(law, shape, dtype, stream, threads):
        total += field.sums([field.Elements(part.tensor, part.runs)], threads=threads)[0]
        if progress is not None:
            progress(part.tensor.nbytes)
    return digests.of_sums(total.tolist(), shape, getattr(torch, dtype))


@contextmanager
def naming(name: str) -> Generator[None, None, None]:
    """Say which tensor a law could not be drawn for: a file that it reads is another by now."""
    try:
        yield
    except LawError as error:
        problem = Problem("IP216", f"{name}: {error.message}", error.hint)
        raise InitPolicyError(problem) from error
