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

    __slots__ = ("_ends", "_only", "_starts", "_stops", "size")

    def __init__(self, starts: ArrayLike, stops: ArrayLike) -> None:
        """Take the starts and the stops, integers of shape (runs,).

        Raises:
            ValueError: a run is not within [0, 2^64), or ends before it starts.
        """
        if isinstance(starts, Sequence) and isinstance(stops, Sequence):
            for start, stop in zip(starts, stops, strict=True):
                check_run(int(start), int(stop))  # pyright: ignore[reportArgumentType]
        self._starts: Bounds = np.array(starts, np.uint64)
        self._stops: Bounds = np.array(stops, np.uint64)
        if bool((self._starts > self._stops).any()):
            bad = int((self._starts > self._stops).argmax())
            check_run(int(self._starts[bad]), int(self._stops[bad]))
        self._ends: NDArray[np.int64] = np.cumsum(self._stops - self._starts, dtype=np.int64)
        self.size = int(self._ends[-1]) if len(self._ends) else 0
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

    def covers(self, size: int) -> bool:
        """Whether these are all elements of a tensor of `size` elements, in their order."""
        if self._only is not None:
            return self._only == 0 and self.size == size
        joined = bool((self._stops[:-1] == self._starts[1:]).all())
        return self.size == size and (size == 0 or (joined and int(self._starts[0]) == 0))

    def between(self, first: int, last: int) -> tuple[Bounds, Bounds]:
        """Give starts and stops of the elements [first, last), counted in the order held."""
        if self._only is not None:
            ends = np.array([self._only + first, self._only + last], np.uint64)
            return ends[:1], ends[1:]
        a = int(np.searchsorted(self._ends, first, "right"))
        b = int(np.searchsorted(self._ends, last, "left"))
        starts: Bounds = np.array(self._starts[a : b + 1])
        stops: Bounds = np.array(self._stops[a : b + 1])
        starts[0] = int(self._stops[a]) - (int(self._ends[a]) - first)
        stops[-1] = int(self._stops[b]) - (int(self._ends[b]) - last)
        return starts, stops

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
