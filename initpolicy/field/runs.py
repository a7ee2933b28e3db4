"""Runs of the field's indices: which elements of a tensor are held here."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Bounds = NDArray[np.uint64]
Intervals = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Ascending starts and stops of indices along a dimension; none is empty, and no two touch."""

_LIMIT = 1 << 64


class Runs:
    """Runs [start, stop) of the global flat row-major index, in the order of the elements held.

    Runs of one length, each of which begins one step behind the one before it, are regular: a start
    and three numbers say which they are, and nothing is kept of each.

    Attributes:
        size: how many indices they hold.

    >>> runs = Runs.of([(4, 6), (10, 11)])
    >>> runs.size, list(runs)
    (3, [(4, 6), (10, 11)])
    """

    __slots__ = ("_bounds", "_count", "_first", "_step", "_sums", "_width", "size")

    def __init__(self, starts: ArrayLike, stops: ArrayLike) -> None:
        """Take the starts and the stops, integers of shape (runs,).

        Arrays of uint64 are not copied, and must not be changed afterwards.

        Raises:
            ValueError: a run is not within [0, 2^64), or ends before it starts.
            TypeError: a list has something else than integers.
        """
        if isinstance(starts, Sequence) and isinstance(stops, Sequence):
            for start, stop in zip(starts, stops, strict=True):
                check_run(operator.index(start), operator.index(stop))  # pyright: ignore[reportArgumentType]
        firsts: Bounds = np.ascontiguousarray(starts, np.uint64)
        lasts: Bounds = np.ascontiguousarray(stops, np.uint64)
        wrong = firsts > lasts
        if bool(wrong.any()):
            bad = int(wrong.argmax())
            check_run(int(firsts[bad]), int(lasts[bad]))
        lengths = lasts - firsts
        self._bounds: tuple[Bounds, Bounds] | None = (firsts, lasts)
        self._sums: NDArray[np.int64] | None = None
        self._count = len(lengths)
        self._first = int(firsts[0]) if self._count else 0
        self._width = int(lengths[0]) if self._count else 0  # of every run, or else 0
        if self._width and not bool((lengths == lengths[0]).all()):
            self._width = 0
        self._step = self._step_of(firsts) if self._width else 0
        self.size = self._count * self._width or int(lengths.sum())

    def _step_of(self, starts: Bounds) -> int:
        """Give the step of runs of one length, or 0 if it is not the same everywhere."""
        if self._count == 1:
            return self._width
        step = int(starts[1]) - self._first
        if step < self._width or int(starts[-1]) != self._first + (self._count - 1) * step:
            return 0
        return step if bool((starts[1:] - starts[:-1] == np.uint64(step)).all()) else 0

    @classmethod
    def of(cls, runs: Sequence[tuple[int, int]]) -> Runs:
        """Take pairs of start and stop."""
        if len(runs) == 1:
            return cls.one(*runs[0])
        return cls([start for start, _ in runs], [stop for _, stop in runs])

    @classmethod
    def one(cls, start: int, stop: int) -> Runs:
        """Give a single run: a whole tensor of n elements is `Runs.one(0, n)`."""
        return cls._make(start, stop - start, stop - start, 1)

    @classmethod
    def regular(cls, first: int, width: int, step: int, count: int) -> Runs:
        """Give runs of `width` indices, which begin at `first` and then every `step`.

        Raises:
            ValueError: a run is not within [0, 2^64), or ends after the next one begins.

        >>> list(Runs.regular(4, 2, 10, count=3))
        [(4, 6), (14, 16), (24, 26)]
        """
        if not 0 < width <= step or count < 1:
            raise ValueError(f"{count} runs of {width} cannot begin every {step}")
        return cls._make(first, width, step, count)

    @classmethod
    def _make(cls, first: int, width: int, step: int, count: int) -> Runs:
        first, width, step, count = map(operator.index, (first, width, step, count))
        check_run(first, first + (count - 1) * step + width)
        runs = cls.__new__(cls)  # no need of arrays
        runs._bounds = runs._sums = None
        runs._first, runs._width, runs._step, runs._count = first, width, step, count
        runs.size = count * width
        return runs

    @classmethod
    def product(cls, shape: Sequence[int], intervals: Sequence[Intervals]) -> Runs:
        """Give the runs of the elements at some indices of each dimension of a tensor.

        Runs that touch are one run.

        Args:
            shape: the shape of the tensor.
            intervals: the indices of each dimension.

        >>> rows, columns = (np.array([0]), np.array([2])), (np.array([1]), np.array([3]))
        >>> list(Runs.product((2, 4), (rows, columns)))
        [(1, 3), (5, 7)]
        """
        if not all(len(starts) for starts, _ in intervals):
            return cls([], [])
        runs, stride = cls.one(0, 1), 1
        for size, (starts, stops) in zip(reversed(shape), reversed(intervals), strict=True):
            runs = runs._repeated(starts, stops, stride)
            stride *= size
        return runs

    def _repeated(self, starts: NDArray[np.int64], stops: NDArray[np.int64], stride: int) -> Runs:
        """Give these runs, all within [0, stride), at some multiples of the stride."""
        if len(starts) == 1:
            start, times = int(starts[0]), int(stops[0] - starts[0])
            if self.size == stride:  # all there is
                return Runs.one(start * stride, (start + times) * stride)
            if times == 1:
                return self.shifted(start * stride)
            if self._count == 1 or self._step * self._count == stride:
                step = stride // self._count
                first = self._first + start * stride
                return Runs.regular(first, self._width, step, self._count * times)
        by = np.uint64(stride)
        if self.size == stride:
            return Runs(starts.astype(np.uint64) * by, stops.astype(np.uint64) * by)
        offsets = Runs(starts, stops).indices().astype(np.uint64)[:, None] * by
        firsts, lasts = ((offsets + bounds).ravel() for bounds in self._both)
        apart = firsts[1:] != lasts[:-1]
        return Runs(firsts[np.r_[True, apart]], lasts[np.r_[apart, True]])

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._starts.tolist(), self._stops.tolist(), strict=True)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Runs) and list(self) == list(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        shown = ", ".join(map(str, itertools.islice(self, 4)))
        return f"Runs.of([{shown}{', ...' if len(self) > 4 else ''}])"

    @property
    def _starts(self) -> Bounds:
        return self._both[0]

    @property
    def _stops(self) -> Bounds:
        return self._both[1]

    @property
    def _both(self) -> tuple[Bounds, Bounds]:
        """Starts and stops, made when first asked for."""
        if self._bounds is None:
            self._bounds = self._made(0, self._count)
        return self._bounds

    def _made(self, first: int, last: int) -> tuple[Bounds, Bounds]:
        """Make the starts and stops of the regular runs [first, last)."""
        starts = np.arange(first, last, dtype=np.uint64)
        starts *= np.uint64(self._step)
        starts += np.uint64(self._first)
        return starts, starts + np.uint64(self._width)

    @property
    def _regular(self) -> bool:
        return self._step > 0 or self._count == 1

    @property
    def ascending(self) -> bool:
        """Whether each run begins at or after the end of the one before it."""
        return self._regular or bool((self._stops[:-1] <= self._starts[1:]).all())

    @property
    def stop(self) -> int:
        """The end of the last run; 0 if there is none."""
        if self._regular:
            return self._first + (self._count - 1) * self._step + self._width
        return int(self._stops[-1]) if self._count else 0

    def covers(self, size: int) -> bool:
        """Whether these are all elements of a tensor of `size` elements, in their order."""
        if self._count == 1:
            return self._first == 0 and self.size == size
        joined = bool((self._stops[:-1] == self._starts[1:]).all())
        return self.size == size and (size == 0 or (joined and int(self._starts[0]) == 0))

    def at(self, first: int) -> tuple[int, int, int, int, int]:
        """Give where the elements from number `first` on, counted in the order held, are.

        Returns the index of the first; how many follow it in its run, itself counted; of regular
        runs, the start of the next one, the step, and the length; of others, where the starts and
        the stops of the runs after that are in memory, uint64 each, and 0.
        """
        if self._count == 1:
            return self._first + first, self.size - first, 0, 0, 0
        run, index = self._place(first)
        if self._step:
            start = self._first + run * self._step
            after = (start + self._step) % _LIMIT  # nothing lies there behind the last run
            return index, start + self._width - index, after, self._step, self._width
        after = [array.__array_interface__["data"][0] for array in self._both]
        left = int(self._stops[run]) - index
        return index, left, after[0] + 8 * (run + 1), after[1] + 8 * (run + 1), 0

    def between(self, first: int, last: int) -> tuple[Bounds, Bounds]:
        """Give starts and stops of the elements [first, last), counted in the order held."""
        if self._count == 1:
            ends = np.array([self._first + first, self._first + last], np.uint64)
            return ends[:1], ends[1:]
        a, start = self._place(first)
        b, before = self._place(last - 1)
        if self._regular:
            starts, stops = self._made(a, b + 1)
        else:
            starts, stops = (np.array(bounds[a : b + 1]) for bounds in self._both)
        starts[0], stops[-1] = start, before + 1
        return starts, stops

    def some(self, first: int, last: int) -> Runs:
        """Give the runs of the elements [first, last), counted in the order held."""
        if self._count == 1:
            return Runs.one(self._first + first, self._first + last)
        return Runs(*self.between(first, last)) if first < last else Runs.one(0, 0)

    def find(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Give the numbers, in the order held, of those of these indices that ascending runs hold.

        >>> Runs.of([(4, 6), (10, 13)]).find(np.array([3, 5, 10]))
        array([1, 2])
        """
        if self._step:
            run, within = np.divmod(indices - self._first, self._step)
            held = (run >= 0) & (run < self._count) & (within < self._width)
            return run[held] * self._width + within[held]
        place = indices.astype(np.uint64)
        run = np.searchsorted(self._stops, place, "right")
        place, run = place[run < len(self)], run[run < len(self)]
        held = self._starts[run] <= place
        place, run = place[held], run[held]
        return self._ends[run] - (self._stops[run] - place).astype(np.int64)

    def within(self, start: int, stop: int) -> tuple[int, int, Runs]:
        """Give the part of ascending runs that lies within the indices [start, stop).

        Returns the first and last position in the order held, and the runs counted from `start`.

        >>> Runs.of([(4, 6), (10, 13)]).within(5, 12)
        (1, 4, Runs.of([(0, 1), (5, 7)]))
        """
        first, last = self._before(start), self._before(stop)
        if first == last:
            return first, last, Runs.one(0, 0)
        if self._count == 1:
            place = self._first + first - start
            return first, last, Runs.one(place, place + last - first)
        starts, stops = self.between(first, last)
        shift = np.uint64(start)
        return first, last, Runs(starts - shift, stops - shift)

    def shifted(self, by: int) -> Runs:
        """Give the same runs, `by` indices further on."""
        if self._regular:
            return Runs._make(self._first + by, self._width, self._step, self._count)
        return Runs(self._starts + np.uint64(by), self._stops + np.uint64(by))

    def doubled(self) -> Runs:
        """Give the runs of the parts of complex numbers, two for each."""
        if self._regular:
            return Runs._make(2 * self._first, 2 * self._width, 2 * self._step, self._count)
        return Runs(self._starts * np.uint64(2), self._stops * np.uint64(2))

    def indices(self) -> NDArray[np.int64]:
        """Give every index, int64 of shape (size,)."""
        if self._count == 1:
            return np.arange(self._first, self._first + self.size, dtype=np.int64)
        lengths = (self._stops - self._starts).astype(np.int64)
        offsets = self._starts.astype(np.int64) - (self._ends - lengths)
        return np.arange(self.size, dtype=np.int64) + np.repeat(offsets, lengths)

    @property
    def _ends(self) -> NDArray[np.int64]:
        """How many elements the runs hold up to each one's end."""
        if self._sums is None:
            self._sums = np.cumsum(self._stops - self._starts, dtype=np.int64)
        return self._sums

    def _place(self, number: int) -> tuple[int, int]:
        """Give the run of an element, counted in the order held, and its index."""
        if self._width:
            run, within = divmod(number, self._width)
            start = self._first + run * self._step if self._step else int(self._starts[run])
            return run, start + within
        run = int(np.searchsorted(self._ends, number, "right"))
        return run, int(self._stops[run]) - (int(self._ends[run]) - number)

    def _before(self, index: int) -> int:
        """How many of the elements of ascending runs have an index below `index`."""
        if self._step:
            run, within = divmod(max(0, index - self._first), self._step)
            return min(run * self._width + min(within, self._width), self.size)
        run = int(np.searchsorted(self._stops, np.uint64(index), "right"))
        done = int(self._ends[run - 1]) if run else 0
        if run == len(self._stops):
            return done
        return done + max(0, index - int(self._starts[run]))


def check_run(start: int, stop: int) -> None:
    """Raise ValueError unless [start, stop) is a run of the field."""
    if not 0 <= start <= stop < _LIMIT:
        raise ValueError(f"run [{start}, {stop}) is not within [0, 2**64)")
