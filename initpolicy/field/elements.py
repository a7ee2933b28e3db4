"""Two sums over the elements of a tensor, of which its digest is made (docs/digest.md).

They do not depend on the order in which elements are added, so that parts of a tensor just add up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from initpolicy.field.mixing import MIXERS, Mixer
from initpolicy.field.pieces import boxes
from initpolicy.field.runs import Runs
from initpolicy.field.threads import TASK, carry_out, default_threads, piece_size

BLOCK = 1 << 22  # elements that another device than a CPU takes at a time, 32 bytes for each
_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}

Sums = NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class Elements:
    """Elements of a tensor, and which ones they are.

    Attributes:
        tensor: of any type, shape, strides and device; no values are changed.
        runs: the runs of the whole tensor's flat row-major index that the elements, in row-major
            order, have; None for a whole tensor.
    """

    tensor: torch.Tensor
    runs: Runs | None = None

    @property
    def bits(self) -> torch.Tensor:
        """The elements as integers of their width; two for each complex number, real part first."""
        tensor = self.tensor.detach()
        if tensor.is_complex():
            tensor = torch.view_as_real(tensor.resolve_conj())
        return tensor.resolve_neg().view(_INTEGERS[tensor.element_size()])

    @property
    def all_runs(self) -> Runs:
        """The runs of the bits."""
        runs = Runs.one(0, self.tensor.numel()) if self.runs is None else self.runs
        return runs.doubled() if self.tensor.is_complex() else runs


def sums(
    jobs: Sequence[Elements],
    *,
    threads: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Sums:
    """Return both sums of each job, modulo 2^64: uint64 of shape (jobs, 2).

    Beyond the tensors a thread takes a few megabytes at most, another device a few for each of
    its numbers.

    Args:
        jobs: what to add up.
        threads: at most this many threads; None for as many as torch uses and the process may.
        progress: called in this thread with the number of bytes newly read.

    Raises:
        ValueError: runs that do not fit the tensor, or a tensor without memory (meta).

    >>> whole = torch.arange(6.0)
    >>> parts = Elements(whole[:2]), Elements(whole[2:], Runs.one(2, 6))
    >>> bool((sums([Elements(whole)])[0] == sums(parts).sum(0)).all())
    True
    """
    total = sum(job.tensor.numel() for job in jobs if _is_here(job.tensor))
    many = default_threads() if threads is None else threads
    size = piece_size(total, many)
    found: Sums = np.zeros((len(jobs), 2), np.uint64)
    pieces: list[tuple[int, _Piece]] = []
    for number, job in enumerate(jobs):
        _check(job)
        pieces += [
            (number, piece) for piece in _pieces(job, size if _is_here(job.tensor) else BLOCK)
        ]
    with torch.no_grad():
        # Other devices order their work by this thread's stream.
        carry_out((piece for _, piece in pieces if not piece.here), 1, progress)
        here = (piece for _, piece in pieces if piece.here)
        carry_out(here, many if total > TASK else 1, progress)
    for number, piece in pieces:
        found[number] += piece.result()
    return found


def _check(job: Elements) -> None:
    if job.tensor.is_meta:
        raise ValueError("the tensor is on the meta device and has no values")
    if job.runs is not None and job.runs.size != job.tensor.numel():
        raise ValueError(
            f"the runs hold {job.runs.size} indices, the tensor {job.tensor.numel()} elements"
        )


def _is_here(tensor: torch.Tensor) -> bool:
    """Whether the CPU's kernel can read it."""
    return tensor.is_cpu


def _pieces(job: Elements, size: int) -> Iterator[_Piece]:
    """Cut into pieces in row-major order, of at most `size` elements where memory is dense."""
    bits, runs, here = job.bits, job.all_runs, _is_here(job.tensor)
    if bits.is_contiguous():
        flat = bits.view(-1)
        for first in range(0, runs.size, size):
            last = min(first + size, runs.size)
            yield _Piece(flat[first:last], runs, first, last, here)
    elif runs.size:
        for first, view in boxes(bits, 0):
            yield _Piece(view, runs, first, first + view.numel(), here)


class _Piece:
    """The elements [first, last) of a job, and the view of its bits that holds them."""

    def __init__(self, view: torch.Tensor, runs: Runs, first: int, last: int, here: bool) -> None:
        self.view = view
        self.runs = runs
        self.first = first
        self.last = last
        self.here = here
        self.added: Any = None

    @property
    def size(self) -> int:
        """How many elements it has."""
        return self.last - self.first

    @property
    def bytes(self) -> int:
        """Size of the piece in the tensor."""
        return self.size * self.view.element_size()

    def run(self) -> None:
        """Add its elements up."""
        starts, stops = self.runs.between(self.first, self.last)
        if self.here:  # numpy copies in this thread alone
            dense: NDArray[Any] = np.ascontiguousarray(self.view.numpy())
            self.added = by_kernel(dense, starts, stops)
        else:
            self.added = by_torch(self.view.contiguous().view(-1), starts, stops)

    def result(self) -> Sums:
        """Both sums, waiting for the device."""
        return self.added if self.here else self.added.cpu().numpy().view(np.uint64)


def by_kernel(bits: NDArray[Any], starts: Sums, stops: Sums) -> Sums:
    """Add up dense integers on the CPU."""
    from initpolicy.field import cpu
    from initpolicy.field.objects import load

    kernel = load("sum", (f"uint{8 * bits.itemsize}*", "int64", "uint64*", "int64", "uint64*"))
    out: Sums = np.empty(2, np.uint64)
    runs = np.concatenate((starts, stops))
    kernel(cpu.address(bits), bits.size, cpu.address(runs), starts.size, cpu.address(out))
    return out


def by_torch(bits: torch.Tensor, starts: Sums, stops: Sums) -> torch.Tensor:
    """Add up flat integers on any device, by torch's operations on int64, which wrap."""
    device, count = bits.device, bits.numel()
    after = torch.arange(1, count + 1, device=device)  # every index, and one
    lengths: NDArray[Any] = (stops - starts).astype(np.int64)
    before: NDArray[Any] = starts.astype(np.int64) - (np.cumsum(lengths) - lengths)
    if starts.size == 1:
        after += int(before[0])
    else:
        offsets, repeats = (torch.from_numpy(a).to(device) for a in (before, lengths))  # pyright: ignore[reportUnknownMemberType]
        after += torch.repeat_interleave(offsets, repeats, output_size=count)
    values = bits.to(torch.int64)
    if bits.element_size() < 8:
        values &= (1 << (8 * bits.element_size())) - 1
    return torch.stack([_mixed(values, after, mixer).sum() for mixer in MIXERS])


def _mixed(values: torch.Tensor, after: torch.Tensor, mixer: Mixer) -> torch.Tensor:
    z = (after * _signed(mixer.step)).add_(values)
    for shift, factor in ((mixer.shift, mixer.factor), (mixer.then, mixer.more), (mixer.last, 1)):
        z ^= (z >> shift).bitwise_and_((1 << (64 - shift)) - 1)
        z *= _signed(factor)
    return z


def _signed(number: int) -> int:
    return number - (1 << 64) if number >> 63 else number
