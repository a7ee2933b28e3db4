"""Runs of the field's indices: which elements of a tensor are held here."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Bounds = NDArray[np.uint64]

_LIMIT = 1 << 64


class Runs:
    """Runs [start, stop) of the global flat row-major index, in the order of the elements held.

    Attributes:
        size: how many indices they hold.

    >>> runs = Runs.of([(4, 6), (10, 11)])
    >>> runs.size, list(runs)
    (3, [(4, 6), (10, 11)])
    """

    __slots__ = ("_only", "_starts", "_stops", "_sums", "_width", "size")

    def __init__(self, starts: ArrayLike, stops: ArrayLike) -> None:
        """Take the starts and the stops, integers of shape (runs,).

        Arrays of uint64 are not copied, and must not be changed afterwards.

        Raises:
            ValueError: a run is not within [0, 2^64), or ends before it starts.
        """
        if isinstance(starts, Sequence) and isinstance(stops, Sequence):
            for start, stop in zip(starts, stops, strict=True):
                check_run(int(start), int(stop))  # pyright: ignore[reportArgumentType]
        self._starts: Bounds = np.ascontiguousarray(starts, np.uint64)
        self._stops: Bounds = np.ascontiguousarray(stops, np.uint64)
        wrong = self._starts > self._stops
        if bool(wrong.any()):
            bad = int(wrong.argmax())
            check_run(int(self._starts[bad]), int(self._stops[bad]))
        lengths = self._stops - self._starts
        self._sums: NDArray[np.int64] | None = None
        self._width = int(lengths[0]) if len(lengths) else 0  # of every run, or else 0
        if self._width and not bool((lengths == lengths[0]).all()):
            self._width = 0
        self.size = len(lengths) * self._width or int(lengths.sum())
        self._only: int | None = int(self._starts[0]) if len(self._starts) == 1 else None

    @classmethod
    def of(cls, runs: Sequence[tuple[int, int]]) -> Runs:
        """Take pairs of start and stop."""
        if len(runs) == 1:
            return cls.one(*runs[0])
        return cls([start for start, _ in runs], [stop for _, stop in runs])

    @classmethod
    def one(cls, start: int, stop: int) -> Runs:
        """Give a single run: a whole tensor of n elements is `Runs.one(0, n)`."""
        check_run(start, stop)
        runs = cls.__new__(cls)  # no need of arrays
        runs._only, runs.size = start, stop - start
        return runs

    def __len__(self) -> int:
        return 1 if self._only is not None else len(self._starts)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        if self._only is not None:
            return iter([(self._only, self._only + self.size)])
        return zip(self._starts.tolist(), self._stops.tolist(), strict=True)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Runs) and list(self) == list(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        shown = ", ".join(map(str, itertools.islice(self, 4)))
        return f"Runs.of([{shown}{', ...' if len(self) > 4 else ''}])"

    @property
    def ascending(self) -> bool:
        """Whether each run begins at or after the end of the one before it."""
        return self._only is not None or bool((self._stops[:-1] <= self._starts[1:]).all())

    @property
    def stop(self) -> int:
        """The end of the last run; 0 if there is none."""
        if self._only is not None:
            return self._only + self.size
        return int(self._stops[-1]) if len(self._stops) else 0

    def covers(self, size: int) -> bool:
        """Whether these are all elements of a tensor of `size` elements, in their order."""
        if self._only is not None:
            return self._only == 0 and self.size == size
        joined = bool((self._stops[:-1] == self._starts[1:]).all())
        return self.size == size and (size == 0 or (joined and int(self._starts[0]) == 0))

    def at(self, first: int) -> tuple[int, int, int, int]:
        """Give where the elements from number `first` on, counted in the order held, are.

        Returns the index of the first, how many follow it in its run, itself counted, and where the
        starts and the stops of the runs after that are in memory, uint64 each.
        """
        if self._only is not None:
            return self._only + first, self.size - first, 0, 0
        run, index = self._place(first)
        after = [array.__array_interface__["data"][0] for array in (self._starts, self._stops)]
        left = int(self._stops[run]) - index
        return index, left, after[0] + 8 * (run + 1), after[1] + 8 * (run + 1)

    def between(self, first: int, last: int) -> tuple[Bounds, Bounds]:
        """Give starts and stops of the elements [first, last), counted in the order held."""
        if self._only is not None:
            ends = np.array([self._only + first, self._only + last], np.uint64)
            return ends[:1], ends[1:]
        a, start = self._place(first)
        b, before = self._place(last - 1)
        starts: Bounds = np.array(self._starts[a : b + 1])
        stops: Bounds = np.array(self._stops[a : b + 1])
        starts[0], stops[-1] = start, before + 1
        return starts, stops

    def some(self, first: int, last: int) -> Runs:
        """Give the runs of the elements [first, last), counted in the order held."""
        if self._only is not None:
            return Runs.one(self._only + first, self._only + last)
        return Runs(*self.between(first, last)) if first < last else Runs.one(0, 0)

    def find(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Give the numbers, in the order held, of those of these indices that ascending runs hold.

        >>> Runs.of([(4, 6), (10, 13)]).find(np.array([3, 5, 10]))
        array([1, 2])
        """
        if self._only is not None:
            numbers = indices - self._only
            return numbers[(numbers >= 0) & (numbers < self.size)]
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
        if self._only is not None:
            low = min(max(start, self._only), self._only + self.size)
            high = max(low, min(stop, self._only + self.size))
            first, last = low - self._only, high - self._only
            return first, last, Runs.one(*((low - start, high - start) if low < high else (0, 0)))
        first, last = self._before(start), self._before(stop)
        if first == last:
            return first, last, Runs.one(0, 0)
        starts, stops = self.between(first, last)
        shift = np.uint64(start)
        return first, last, Runs(starts - shift, stops - shift)

    def shifted(self, by: int) -> Runs:
        """Give the same runs, `by` indices further on."""
        if self._only is not None:
            return Runs.one(self._only + by, self._only + self.size + by)
        return Runs(self._starts + np.uint64(by), self._stops + np.uint64(by))

    def doubled(self) -> Runs:
        """Give the runs of the parts of complex numbers, two for each."""
        if self._only is not None:
            return Runs.one(2 * self._only, 2 * (self._only + self.size))
        return Runs(self._starts * np.uint64(2), self._stops * np.uint64(2))

    def indices(self) -> NDArray[np.int64]:
        """Give every index, int64 of shape (size,)."""
        if self._only is not None:
            return np.arange(self._only, self._only + self.size, dtype=np.int64)
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
            return run, int(self._starts[run]) + within
        run = int(np.searchsorted(self._ends, number, "right"))
        return run, int(self._stops[run]) - (int(self._ends[run]) - number)

    def _before(self, index: int) -> int:
        """How many of the elements of ascending runs have an index below `index`."""
        run = int(np.searchsorted(self._stops, np.uint64(index), "right"))
        done = int(self._ends[run - 1]) if run else 0
        if run == len(self._stops):
            return done
        return done + max(0, index - int(self._starts[run]))


def check_run(start: int, stop: int) -> None:
    """Raise ValueError unless [start, stop) is a run of the field."""
    if not 0 <= start <= stop < _LIMIT:
        raise ValueError(f"run [{start}, {stop}) is not within [0, 2**64)")
