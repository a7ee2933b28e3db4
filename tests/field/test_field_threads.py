"""Pieces shared out over threads: each is run once, and an error anywhere stops them all."""

import itertools
import threading
import time
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from initpolicy.field.threads import TASK, carry_out


@dataclass
class Counted:
    """A piece that notes that it was run, and fails if it is told to."""

    size: int
    bytes: int
    fails: bool = False
    runs: list[int] = field(default_factory=list)

    def run(self) -> None:
        self.runs.append(threading.get_ident())
        if self.fails:
            raise OSError("this piece fails")


sizes = st.lists(st.integers(1, 2 * TASK), max_size=30)


@given(sizes, st.integers(1, 5))
def test_every_piece_is_run_once_and_counted(sizes, threads):
    pieces = [Counted(size, size * 4) for size in sizes]
    told = []
    carry_out(iter(pieces), threads, told.append)
    assert [len(piece.runs) for piece in pieces] == [1] * len(pieces)
    assert sum(told) == sum(piece.bytes for piece in pieces)
    assert len({thread for piece in pieces for thread in piece.runs}) <= threads


@given(sizes, st.integers(1, 5), st.data())
def test_an_error_is_raised_here_once_all_threads_have_stopped(sizes, threads, data):
    pieces = [Counted(size, size * 4) for size in [*sizes, 1]]
    failing = data.draw(st.sampled_from(pieces))
    failing.fails = True
    before, told = threading.active_count(), []
    with pytest.raises(OSError, match="this piece fails"):
        carry_out(iter(pieces), threads, told.append)
    assert threading.active_count() == before
    ran = [piece for piece in pieces if piece.runs]
    assert sum(told) == sum(piece.bytes for piece in ran if piece is not failing)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_what_cuts_the_pieces_may_fail(threads):
    def pieces():
        yield Counted(TASK, 1)
        yield Counted(TASK, 1)
        raise ValueError("no more pieces")

    told = []
    with pytest.raises(ValueError, match="no more pieces"):
        carry_out(pieces(), threads, told.append)
    assert sum(told) == 2


def test_pieces_are_cut_by_one_thread_at_a_time():
    pieces = [Counted(TASK, 1) for _ in range(50)]

    def slowly():
        for piece in pieces:
            time.sleep(0.0002)  # in which other threads go on
            yield piece

    carry_out(slowly(), 4, None)
    assert all(len(piece.runs) == 1 for piece in pieces)


class Elsewhere(Counted):
    """A piece that fails in any thread but the main one."""

    def run(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise OSError("this thread fails")


def test_an_error_of_another_thread_stops_this_one():
    before = threading.active_count()
    with pytest.raises(OSError, match="this thread fails"):
        carry_out((Elsewhere(TASK, 1) for _ in itertools.count()), 2, None)
    assert threading.active_count() == before


def test_an_error_in_progress_stops_all_threads():
    def stop(written):
        raise RuntimeError("enough")

    before = threading.active_count()
    with pytest.raises(RuntimeError, match="enough"):
        carry_out((Counted(TASK, 1) for _ in itertools.count()), 3, stop)
    assert threading.active_count() == before
