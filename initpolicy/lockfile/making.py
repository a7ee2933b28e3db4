"""From a plan to its lock."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePath

import torch

from initpolicy.field import DRAW_VERSION
from initpolicy.lockfile.document import Entry, Lock
from initpolicy.lockfile.drawing import Progress, digest_of, naming, stream_of
from initpolicy.lockfile.exact import has_digest
from initpolicy.plans import Decision, Plan
from initpolicy.problems import Location


def lock(
    plan: Plan,
    *,
    digests: bool = True,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Lock:
    """Make the lock of a plan.

    With `digests` every value is drawn once, block by block, and none is kept: a tensor takes no
    memory, unless its law is one of a whole matrix. `progress` is told the bytes just drawn.
    """
    rules: dict[str, dict[str, int]] = {}
    for decision in plan:
        if decision.winner is not None:
            at = decision.winner.location
            lines = rules.setdefault(decision.winner.rule, {})
            lines[_portable(at.file)] = min(at.line, lines.get(_portable(at.file), at.line))
    return Lock(
        entries=tuple(_entries(plan, digests, threads, progress)),
        seed=plan.seed,
        draws=DRAW_VERSION,
        policy=_portable(plan.policy),
        title=plan.title,
        variables=plan.variables,
        rules={
            rule: tuple(Location(file, line) for file, line in lines.items())
            for rule, lines in rules.items()
        },
        digests="values" if digests else "none",
    )


def _portable(file: str) -> str:
    """A path as all systems write it, and without detours.

    >>> _portable("./policies/../gpt2.toml")
    'gpt2.toml'
    """
    return PurePath(os.path.normpath(file)).as_posix() if file else file


def _entries(
    plan: Plan, digests: bool, threads: int | None, progress: Progress | None
) -> Iterator[Entry]:
    for decision in plan:
        entry = _entry(decision)
        if digests and entry.law is not None and has_digest(entry):
            stream = stream_of(plan.seed, decision.stream_name, entry.law)
            with naming(entry.name):
                digest = digest_of(entry.law, entry.shape, entry.dtype, stream, threads, progress)
            entry = replace(entry, digest=digest)
        yield entry


def bytes_to_draw(plan: Plan) -> int:
    """How many bytes `lock` draws for the digests of a plan."""
    entries = [entry for entry in map(_entry, plan) if has_digest(entry)]
    sizes = {entry.dtype: getattr(torch, entry.dtype).itemsize for entry in entries}
    return sum(math.prod(entry.shape) * sizes[entry.dtype] for entry in entries)


def _entry(decision: Decision) -> Entry:
    return Entry(
        name=decision.name,
        shape=decision.shape,
        dtype=decision.dtype,
        kind=decision.kind,
        persistent=decision.persistent,
        law=decision.law,
        constructor=decision.module_type if decision.recompute else "",
        rule=None if decision.winner is None else decision.winner.rule,
        stream=decision.stream,
        aliases=decision.aliases,
    )
