"""Runs a function in several processes that are joined by gloo, and gives what each returned.

The processes are forked from a server that has imported torch and holds no threads: a start costs
tenths of a second. A test asks for many cases in one call where it can.
"""

from __future__ import annotations

import importlib.util
import inspect
import multiprocessing as mp
import os
import pickle
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

PRELOADED = [
    "numpy",
    "pytest",
    "hypothesis",
    "torch",
    "torch.distributed.fsdp",
    "torch.distributed.tensor.parallel",
    "torch.distributed.checkpoint",
    "torch._dynamo",  # which sharded tensors import when first used
]


class RankError(AssertionError):
    """A process raised, died, or did not come to an end; the message has its traceback."""


def run(
    function: Callable[..., Any],
    world: int,
    *args: Any,
    timeout: float = 120,
    backend: str | None = "gloo",
) -> list[Any]:
    """Call `function(rank, *args)` in `world` processes, and give what they returned, by rank.

    The function stands at the top of a module. Its arguments and what it returns are pickled.
    torch's process group is started before and destroyed after it; with `backend=None` it is not.

    Raises:
        RankError: a process raised or died; or `timeout` seconds have passed. All are ended then.
    """
    context = mp.get_context("forkserver" if "forkserver" in mp.get_all_start_methods() else None)
    if hasattr(context, "set_forkserver_preload"):
        context.set_forkserver_preload(PRELOADED)
    call = (function.__module__, inspect.getfile(function), function.__qualname__)
    with tempfile.TemporaryDirectory(prefix="initpolicy-ranks-") as folder:
        processes, ends = [], []
        try:
            for rank in range(world):
                end, theirs = context.Pipe(duplex=False)
                process = context.Process(
                    target=_rank,
                    args=(rank, world, theirs, folder, backend, timeout, call, pickle.dumps(args)),
                    daemon=True,
                )
                process.start()
                theirs.close()
                processes.append(process)
                ends.append(end)
            return _results(ends, time.monotonic() + timeout, timeout)
        finally:
            for process in processes:
                process.kill()
            for process in processes:
                process.join()
            for end in ends:
                end.close()


def _results(ends: list[Connection], deadline: float, timeout: float) -> list[Any]:
    """Wait for what every process sends; of several failures, raise the one that came first."""
    found: dict[int, Any] = {}
    failures: dict[int, tuple[float, str]] = {}
    while len(found) + len(failures) < len(ends):
        missing = [end for rank, end in enumerate(ends) if rank not in {**found, **failures}]
        ready = wait(missing, max(0.0, deadline - time.monotonic()))
        if not ready:
            break
        for end in ready:
            rank = ends.index(end)
            try:
                failed, what = pickle.loads(ends[rank].recv_bytes())
            except EOFError:
                failed, what = True, (0.0, f"rank {rank} died")
            if failed:  # the others, which may miss it, have a second to say so
                failures[rank] = what
                deadline = min(deadline, time.monotonic() + 1)
            else:
                found[rank] = what
    if failures:
        raise RankError(min(failures.values())[1])
    if len(found) < len(ends):
        late = ", ".join(str(rank) for rank in range(len(ends)) if rank not in found)
        raise RankError(f"no result of rank {late} after {timeout:g} seconds")
    return [found[rank] for rank in range(len(ends))]


def _rank(
    rank: int,
    world: int,
    end: Connection,
    folder: str,
    backend: str | None,
    timeout: float,
    call: tuple[str, str, str],
    args: bytes,
) -> None:
    """Be one of the processes."""
    try:
        result = (False, _called(rank, world, folder, backend, timeout, call, args))
        message = pickle.dumps(result)
    except BaseException:
        said = f"rank {rank} raised\n{traceback.format_exc()}"
        message = pickle.dumps((True, (time.monotonic(), said)))
    end.send_bytes(message)
    end.close()
    os._exit(0)  # nothing may wait for threads of a group that another process left


def _called(
    rank: int,
    world: int,
    folder: str,
    backend: str | None,
    timeout: float,
    call: tuple[str, str, str],
    args: bytes,
) -> Any:
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world))
    if sys.platform == "linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    function = _function(*call)
    if backend is None:
        return function(rank, *pickle.loads(args))
    dist.init_process_group(
        backend,
        init_method=(Path(folder) / "store").as_uri(),
        rank=rank,
        world_size=world,
        timeout=timedelta(seconds=timeout),
    )
    result = function(rank, *pickle.loads(args))
    if dist.is_initialized():
        dist.barrier()  # whoever comes last may still need the others
        dist.destroy_process_group()
    return result


def _function(module: str, file: str, name: str) -> Callable[..., Any]:
    """Find a function by its module, which is loaded from its file if it is not known yet."""
    if module not in sys.modules:
        spec = importlib.util.spec_from_file_location(module, file)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[module] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[module])
    found: Any = sys.modules[module]
    for part in name.split("."):
        found = getattr(found, part)
    return found
