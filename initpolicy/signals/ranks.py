"""The processes that share out a model: all of them probe it, and all find the same."""
# The stubs of torch.distributed leave its functions without types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

import torch
from torch import nn

from initpolicy.model import may_be_sharded, mesh_of
from initpolicy.problems import InitPolicyError, Problem
from initpolicy.signals.record import Signal

Result = TypeVar("Result")
Key = TypeVar("Key")


@dataclass(frozen=True)
class Measured:
    """One parameter, as it is in one draw."""

    name: str
    count: int
    """How many of its elements this process holds."""
    rms: float
    gradient: float | None


class Ranks:
    """The groups of processes that hold parts or copies of a model; none of them in one process."""

    def __init__(self, model: nn.Module) -> None:
        found: dict[tuple[int, ...], Any] = {}
        for group in _groups(model):
            ranks = tuple(torch.distributed.get_process_group_ranks(group))
            if len(ranks) > 1:
                found.setdefault(ranks, group)
        # Rows of a mesh come all before its columns, or all after: nobody waits in a circle.
        self._groups = [found[ranks] for ranks in sorted(found, key=_order)]

    def together(
        self, step: Callable[[], Result], told: Callable[[Result], str] = lambda _: ""
    ) -> Result:
        """Do a step that no process can fail at alone, and of which all must tell the same."""
        if not self._groups:
            return step()
        result, failure = None, None
        try:
            result = step()
        except InitPolicyError as error:
            failure = error
        except Exception as error:  # also a defect: nobody may wait for this process
            failure = InitPolicyError(Problem("IP755", f"{type(error).__name__}: {error}"))
        said = told(cast("Result", result)) if failure is None else ""
        rank = torch.distributed.get_rank()
        heard = {rank: ([] if failure is None else list(failure.problems), said)}
        for _ in range(2):  # the second time, what the last group found reaches the first
            for group in self._groups:
                for more in _gathered(heard, group):
                    heard = {**heard, **more}
        _judge(heard)
        return cast("Result", result)

    def signals(self, found: Mapping[Key, Signal]) -> dict[Key, Signal]:
        """What all processes measured in one pass, as one."""
        return self._joined(dict(found), joined_signals)

    def parameters(self, found: Mapping[str, Measured]) -> dict[str, Measured]:
        """What all processes measured of their parts of parameters, as one."""
        return self._joined(dict(found), joined_parameters)

    def _joined(
        self, found: dict[Key, Result], join: Callable[[Sequence[Result]], Result]
    ) -> dict[Key, Result]:
        for group in self._groups:
            everyone = _gathered(found, group)
            keys = dict.fromkeys(key for one in everyone for key in one)
            found = {key: join([one[key] for one in everyone if key in one]) for key in keys}
        return found


def _groups(model: nn.Module) -> Iterable[Any]:
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return
    if may_be_sharded():
        for tensor in (*model.parameters(), *model.buffers()):
            mesh = mesh_of(tensor)
            if mesh is not None and mesh.get_coordinate() is not None:
                yield from mesh.get_all_groups()
    for module in model.modules():
        if isinstance(module, nn.parallel.DistributedDataParallel):
            yield module.process_group


def _order(ranks: tuple[int, ...]) -> tuple[Any, ...]:
    return [rank - ranks[0] for rank in ranks], ranks


def _gathered(what: Result, group: Any) -> list[Result]:
    everyone: list[Any] = [None] * torch.distributed.get_world_size(group)
    torch.distributed.all_gather_object(everyone, what, group)
    return everyone


def _judge(heard: Mapping[int, tuple[list[Problem], str]]) -> None:
    """Raise what went wrong in any process, the same in all."""
    failed = {rank: problems for rank, (problems, _) in sorted(heard.items()) if problems}
    if failed:
        rank, problems = next(iter(failed.items()))
        if len(failed) == len(heard) and all(one == problems for one in failed.values()):
            raise InitPolicyError(problems)
        raise InitPolicyError(
            Problem(
                "IP755",
                f"rank {rank} could not go on, so no rank did: {problems[0]}",
                "set this right there, or give every rank the same",
            )
        )
    (first, (_, told)), *others = sorted(heard.items())
    for rank, (_, said) in others:
        if said != told:
            raise InitPolicyError(
                Problem(
                    "IP755",
                    f"ranks {first} and {rank} probe differently, so no rank went on: {told} on "
                    f"rank {first}, {said} on rank {rank}",
                    "give every rank the same policy and options, and batches of the same shapes",
                )
            )


def joined_signals(found: Sequence[Signal]) -> Signal:
    """What several processes measured of one call, as if it were one tensor."""
    first, counts = found[0], [one.count for one in found]

    def mean(name: str) -> Any:
        return _mean([getattr(one, name) for one in found], counts)

    def size(name: str) -> Any:
        return _size([getattr(one, name) for one in found], counts)

    average, rms = mean("mean"), size("rms")
    apart = [math.hypot(one.std, one.mean - average) for one in found]
    return replace(
        first,
        count=sum(counts),
        mean=average,
        std=_size(apart, counts) if math.isfinite(rms) else rms,
        rms=rms,
        zeros=mean("zeros"),
        dead=mean("dead"),
        saturated=mean("saturated"),
        logit_std=size("logit_std"),
        entropy=mean("entropy"),
        gradient=size("gradient"),
    )


def joined_parameters(found: Sequence[Measured]) -> Measured:
    """What several processes measured of their parts of a parameter."""
    counts = [one.count for one in found]
    return Measured(
        found[0].name,
        sum(counts),
        cast("float", _size([one.rms for one in found], counts)),
        _size([one.gradient for one in found], counts),
    )


def _mean(values: Sequence[float | None], counts: Sequence[int]) -> float | None:
    """The mean of what is known, each counted as often as it has elements."""
    shares = _shares(values, counts)
    return math.fsum(value * share for value, share in shares) if shares else None


def _size(values: Sequence[float | None], counts: Sequence[int]) -> float | None:
    """The root of the mean of squares of what is known, none of which overflows or vanishes."""
    shares = _shares(values, counts)
    return math.hypot(*(value * math.sqrt(share) for value, share in shares)) if shares else None


def _shares(values: Sequence[float | None], counts: Sequence[int]) -> list[tuple[float, float]]:
    """What is known, and which share of all elements it is about."""
    known = [(v, n) for v, n in zip(values, counts, strict=True) if v is not None]
    number = sum(n for _, n in known)
    if not number:
        return [(value, 1.0) for value, _ in known[:1]]
    return [(value, n / number) for value, n in known if n]
