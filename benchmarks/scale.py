"""What one process of very many does: Llama 3 405B on 4096, and a trillion parameters on 1024.

    python benchmarks/scale.py [--rank 0] [--threads 2] [--dtype bfloat16] [--rounds 5]

The other processes are pretended: torch's own fake process group gives back what was sent, so that
all seem to agree. Models are on the meta device, shared out by tensor parallelism and FSDP2. Each
round fills what the process holds, and one whole tensor of as many elements, in turn; the least
times are kept. What is sent is counted, and not timed.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.testing._internal.distributed.fake_pg import FakeStore

import initpolicy
from initpolicy import digests, field
from initpolicy.laws import runs_of
from initpolicy.model import shard_of
from initpolicy.plans import Plan

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))

from llama import LLAMA_3_405B, Llama, Sizes, share_out

POLICY = "llama"
WORLDS = (
    ("Llama 3 405B", LLAMA_3_405B, 512, 8),
    ("a trillion: the same layers, 313 of them", replace(LLAMA_3_405B, layers=313), 128, 8),
)
Times = tuple[float, float]


def timed(function: Callable[[], Any]) -> Times:
    """Give seconds of the clock, and of the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - clock, time.process_time() - processor


def least(functions: list[Callable[[], Any]], rounds: int) -> list[Times]:
    """Call them in turn, and give the least times of each, by clock and by processor."""
    every = [[timed(function) for function in functions] for _ in range(rounds)]
    return [
        (min(clock for clock, _ in one), min(processor for _, processor in one))
        for one in zip(*every, strict=True)
    ]


def report(name: str, times: Times, more: str = "") -> None:
    print(f"  {name:<36}{times[0]:8.3f} s {times[1]:8.3f} s of processor  {more}", flush=True)


def pretend(rank: int, data: int, tensor: int) -> DeviceMesh:
    """Be one rank of a world of which nothing else is there."""
    dist.init_process_group("fake", rank=rank, world_size=data * tensor, store=FakeStore())
    return init_device_mesh("cpu", (data, tensor), mesh_dim_names=("data", "tensor"))


def build(sizes: Sizes, mesh: DeviceMesh, dtype: torch.dtype) -> Llama:
    """Build the model on the meta device, and share it out."""
    with torch.device("meta"):
        model = Llama(sizes).to(dtype)
    return share_out(model, mesh)


def parts_of(model: nn.Module) -> dict[str, initpolicy.Part]:
    """Say which elements this process holds, as an engine of its own would."""
    parts: dict[str, initpolicy.Part] = {}
    for name, tensor in model.named_parameters():
        shard = shard_of(tensor, name)
        assert shard is not None
        parts[name] = initpolicy.Part(shard.local, shard.shape, runs_of(shard))
    return parts


@contextmanager
def counting(sent: list[int]) -> Generator[None, None, None]:
    """Note the bytes of everything that is handed to torch to be reduced over processes."""
    original = dist.all_reduce

    def counted(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        sent.append(tensor.nbytes)
        return original(tensor, *args, **kwargs)

    dist.all_reduce = counted
    try:
        yield
    finally:
        dist.all_reduce = original


def whole(plan: Plan, elements: int, dtype: torch.dtype, threads: int) -> Callable[[], None]:
    """Give a function that fills one whole tensor by the law of a matrix of the plan."""
    law = plan["layers.0.mlp.up_proj.weight"].law
    assert law is not None
    fills = law.fills(torch.zeros(elements, dtype=dtype), field.stream(0, "weight"))
    return lambda: field.fill(fills, threads=threads)


def measure(sizes: Sizes, data: int, tensor: int, arguments: argparse.Namespace) -> None:
    """Print what one process of `data` times `tensor` does."""
    threads, rounds = arguments.threads, arguments.rounds
    dtype = getattr(torch, arguments.dtype)
    mesh = pretend(arguments.rank, data, tensor)
    built: list[Llama] = []
    times = timed(lambda: built.append(build(sizes, mesh, dtype)))
    report("building and sharing out (torch)", times)
    (model,) = built
    total = sum(parameter.numel() for parameter in model.parameters())
    print(f"  {total:,} parameters, rank {arguments.rank} of {mesh.size()}")

    (times,) = least([lambda: initpolicy.plan(model, POLICY, seed=0)], rounds)
    plan = initpolicy.plan(model, POLICY, seed=0)
    report("plan", times, f"{len(plan)} tensors")

    sent: list[int] = []
    with counting(sent):
        first = timed(lambda: initpolicy.apply(model, plan, device="cpu", threads=threads))
    report("apply, the first time", first, f"{sum(sent)} bytes in {len(sent)} exchanges")
    parts = parts_of(model)
    elements = sum(part.runs.size for part in parts.values())
    bytes_ = sum(part.tensor.nbytes for part in parts.values())
    runs = sum(len(part.runs) for part in parts.values())
    print(f"  holds {elements:,} elements, {bytes_:,} bytes, in {runs:,} runs")

    functions: list[Callable[[], Any]] = [
        lambda: initpolicy.apply(model, plan, threads=threads),
        lambda: parts_of(model),
        lambda: initpolicy.fill(plan, parts, threads=threads),
        whole(plan, elements, dtype, threads),
        lambda: digests.digests(model, threads=threads),
    ]
    names = ["apply again", "  its indices", "  its fill", "one whole tensor as large", "digest"]
    for name, times in zip(names, least(functions, rounds), strict=True):
        each = f"{times[1] / elements * 1e9:.2f} ns of processor an element"
        report(name, times, "" if "indices" in name else each)
    sent.clear()
    with counting(sent):
        digests.digests(model, threads=threads)
    print(f"  the digest sends {sum(sent):,} bytes in {len(sent)} exchanges")
    dist.destroy_process_group()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rank", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    for name, sizes, data, tensor in WORLDS:
        print(f"{name}, FSDP2 over {data} and tensor parallelism over {tensor}")
        measure(sizes, data, tensor, arguments)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"most memory of the process: {most / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()
