"""Carry out a plan: write values into a model's tensors, after everything has been checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch

from initpolicy import field
from initpolicy.application.computed import drawn, present, refresh, seed_of
from initpolicy.application.fitting import Job
from initpolicy.laws import Law, Part, runs_of
from initpolicy.model import Inventory, Slot, is_sharded, shard_of

Draws = Literal["initpolicy", "torch"]
Progress = Callable[[int], None]


def carry_out(
    seed: int,
    jobs: list[Job],
    inventory: Inventory,
    *,
    draws: Draws = "initpolicy",
    threads: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Give every tensor the values of its law.

    With `draws="torch"` the values come from torch's functions and its global generators, tensor
    by tensor in the order of the plan; otherwise no generator is touched. `threads` is how many
    may draw (by default as many as torch uses), and `progress` is told the bytes just written.
    """
    counting = _Counting(progress)
    computed: list[Job] = []
    held: list[Held] = []
    alike: dict[int, tuple[Law, list[torch.Tensor]]] = {}  # such as the zeros of all biases
    for job in jobs:
        law, slot, name = job
        if slot.computed is not None:
            computed.append(job)
        elif law.is_drawn or is_sharded(slot.tensor):
            held.append(_held(law, slot, name))
        else:
            if id(law) not in alike:
                alike[id(law)] = law, []
            alike[id(law)][1].append(slot.tensor)
    try:
        with torch.no_grad():
            if draws == "torch":
                _draw_torch(seed, jobs, counting)
            else:
                for law, slot, name in computed:
                    assert slot.computed is not None
                    slot.computed.assign(drawn(seed, law, slot, name), seed_of(seed, name))
                    counting(slot.tensor.nbytes)
                draw(seed, held, threads, counting)
                for law, tensors in alike.values():
                    law.write_each(tensors)
                    counting(sum(tensor.nbytes for tensor in tensors))
            refresh(seed, jobs, inventory)
    except KeyboardInterrupt:
        total = sum(one.tensor.nbytes for one in (*held, *(job.slot for job in computed)))
        total += sum(tensor.nbytes for _, tensors in alike.values() for tensor in tensors)
        raise KeyboardInterrupt(
            f"stopped after {counting.written:,} of {total:,} bytes: some tensors have their new "
            "values, others their old ones; apply the policy again to fill them all"
        ) from None


class Held(NamedTuple):
    """What this process fills of one tensor."""

    law: Law
    tensor: torch.Tensor
    """The memory."""
    name: str
    """The name of its stream."""
    part: Part | None
    """Which elements they are; None for a whole tensor."""


def draw(
    seed: int,
    held: list[Held],
    threads: int | None = None,
    progress: Progress = lambda count: None,
) -> None:
    """Fill what is held of each tensor."""
    fills: list[field.Fill] = []
    drawn: list[tuple[Held, field.Stream, bool]] = []
    for one in held:
        law, tensor, name, part = one
        stream = field.stream(seed, name)
        own = law.fills(tensor, stream) if part is None else law.fills_part(part, stream)
        fills += own
        drawn.append((one, stream, bool(own)))
    field.fill(fills, threads=threads, progress=progress)
    for (law, tensor, _, part), stream, done in drawn:
        if part is None:
            law.write(tensor, stream)
        else:
            law.write_part(part, stream)
            if part.tensor is not tensor:  # a dense copy, where memory has gaps
                tensor.copy_(part.tensor.view(tensor.shape))
        if not done:
            progress(tensor.nbytes)


def held_part(tensor: torch.Tensor, shape: tuple[int, ...], runs: field.Runs) -> Part:
    """Give a part in dense memory: that of the tensor itself, unless it has gaps."""
    return Part(tensor if tensor.is_contiguous() else tensor.contiguous(), shape, runs)


def _held(law: Law, slot: Slot, name: str) -> Held:
    shard = shard_of(slot.tensor)
    if shard is None:
        return Held(law, slot.tensor, name, None)
    part = held_part(shard.local, shard.shape, runs_of(shard))
    return Held(law, shard.local, name, part)


def _draw_torch(seed: int, jobs: list[Job], progress: Progress) -> None:
    for law, slot, name in jobs:
        if slot.computed is None:
            law.write_torch(slot.tensor)
        else:
            values = present(slot, law)
            law.write_torch(values)
            slot.computed.assign(values, seed_of(seed, name))
        progress(slot.tensor.nbytes)


class _Counting:
    """Counts the bytes that are written, and hands them on."""

    def __init__(self, progress: Progress | None) -> None:
        self.progress = progress
        self.written = 0

    def __call__(self, count: int) -> None:
        self.written += count
        if self.progress is not None:
            self.progress(count)
