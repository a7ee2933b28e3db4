"""Carry out a plan into files, without a model."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch

from initpolicy.field.threads import default_threads
from initpolicy.materialization.folder import conclude, prepare, unwritable
from initpolicy.materialization.giving import given
from initpolicy.materialization.layout import (
    INDEX,
    File,
    Layout,
    bytes_of,
    lay_out,
    share_out,
    type_of,
)
from initpolicy.materialization.writing import write
from initpolicy.plans import Plan, check_without_model
from initpolicy.problems import InitPolicyError, Problem


@dataclass(frozen=True)
class Written:
    """One file of a checkpoint."""

    name: str
    size: int
    """In bytes."""
    tensors: int
    kept: bool
    """Whether it was complete before."""


@dataclass(frozen=True)
class Checkpoint:
    """What was written."""

    folder: str
    written: tuple[Written, ...]
    """The files of this process's part, those that were kept among them."""
    files: int
    """How many the whole checkpoint has."""
    size: int
    """Their size in bytes."""
    complete: bool
    """Whether all of them are there, and so the index, if it needs one."""
    index: str | None
    """The name of the index; None if there is one file alone."""


@dataclass(frozen=True)
class Task:
    """Files that are to be written, in a folder that is ready for them."""

    folder: Path
    layout: Layout
    mine: Sequence[File]
    """The files of this process."""
    todo: Sequence[File]
    """Those of them that are not complete."""
    threads: int

    @property
    def size(self) -> int:
        """How many bytes will be written."""
        return sum(file.size for file in self.todo)

    def carry_out(self, progress: Callable[[int], None] | None = None) -> Checkpoint:
        """Write them, and the index if all others are there; `progress` is told the bytes."""
        done = 0

        def count(size: int) -> None:
            nonlocal done
            done += size
            if progress is not None:
                progress(size)

        try:
            write(self.folder, self.todo, self.layout.seed, self.threads, count)
            complete = conclude(self.folder, self.layout)
        except OSError as error:
            raise unwritable(self.folder, error) from error
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"stopped after {done:,} of {self.size:,} bytes: of the files in {self.folder} "
                "those that are complete stay; go on with `resume=True` (`--resume`)"
            ) from None
        return self._told(complete)

    def _told(self, complete: bool) -> Checkpoint:
        new = {file.name for file in self.todo}
        return Checkpoint(
            folder=str(self.folder),
            written=tuple(
                Written(file.name, file.size, len(file.given), file.name not in new)
                for file in self.mine
            ),
            files=len(self.layout.files),
            size=self.layout.size,
            complete=complete,
            index=INDEX if self.layout.index is not None else None,
        )


def begin(
    plan: Plan,
    out: str | os.PathLike[str],
    *,
    max_shard_size: int | str = "5GB",
    dtype: str | torch.dtype | None = None,
    part: tuple[int, int] | None = None,
    resume: bool = False,
    threads: int | None = None,
) -> Task:
    """Check everything, and make the folder ready; raises `InitPolicyError` if that fails."""
    if not isinstance(cast("object", plan), Plan):
        hint = "give what `initpolicy.plan(model, policy)` returns"
        raise InitPolicyError(Problem("IP302", f"{plan!r} is no plan", hint))
    check_without_model(plan)
    limit = bytes_of(max_shard_size)
    wanted = None if dtype is None else type_of(dtype)
    rank, world = _part(part)
    if threads is not None and threads < 1:
        raise InitPolicyError(Problem("IP515", f"{threads} threads cannot draw", "write 1 or more"))
    layout = lay_out(plan, given(plan, wanted), limit)
    mine = share_out(layout.files, rank, world)
    folder = _folder(out)
    try:
        todo = prepare(folder, layout, mine, resume)
    except OSError as error:
        raise unwritable(folder, error) from error
    return Task(folder, layout, mine, todo, threads or default_threads())


def _folder(out: str | os.PathLike[str]) -> Path:
    name = os.fspath(out)
    try:
        if name and b"\0" not in os.fsencode(name):
            return Path(name)
    except UnicodeEncodeError:
        pass
    hint = 'name another, or "." for the one that you are in'
    raise InitPolicyError(Problem("IP518", f"no folder can have the name {name!r}", hint))


def _part(part: tuple[int, int] | None) -> tuple[int, int]:
    if part is None:
        return 0, 1
    try:
        rank, world = part
        if 0 <= rank < world:
            return rank, world
        shown = f"{rank} of {world}"
    except (TypeError, ValueError):  # no pair of numbers
        shown = repr(part)
    raise InitPolicyError(
        Problem(
            "IP515",
            f"there is no part {shown}",
            "parts are counted from 0, as ranks are: the last of 8 is `(7, 8)`",
        )
    )
