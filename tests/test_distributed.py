"""The harness itself: results by rank, failures with their traceback, and no hang."""

from __future__ import annotations

import os
import time

import pytest
import torch
import torch.distributed as dist
from distributed import RankError, run


def total(rank: int, tensor: torch.Tensor) -> tuple[int, torch.Tensor]:
    held = tensor + rank
    dist.all_reduce(held)
    return dist.get_rank(), held


def fail(rank: int) -> None:
    if rank == 1:
        raise ValueError("the second rank is wrong")
    dist.barrier()


def die(rank: int) -> None:
    if rank == 1:
        os._exit(3)
    dist.barrier()


def sleep(rank: int) -> None:
    time.sleep(600 * rank)


def test_results_come_by_rank() -> None:
    ones = torch.ones(2)
    for world in (1, 4):
        for rank, (own, held) in enumerate(run(total, world, ones)):
            assert own == rank
            assert held.tolist() == [world + world * (world - 1) / 2] * 2


def test_a_failure_has_its_traceback_and_waits_for_nobody() -> None:
    with pytest.raises(RankError, match=r"rank 1 raised\n(.|\n)*the second rank is wrong"):
        run(fail, 2)
    with pytest.raises(RankError, match="rank 1 died"):
        run(die, 2)
    with pytest.raises(RankError, match="no result of rank 0, 1 after 2 seconds"):
        run(sleep, 2, timeout=2)
