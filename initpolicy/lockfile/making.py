"""From a plan to its lock."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePath

import torch

from initpolicy.field import DRAW_VERSION
from initpolicy.lockfile.document import Calibrated, Entry, Lock
from initpolicy.lockfile.drawing import Progress, digest_of, naming, stream_of
from initpolicy.lockfile.exact import has_digest
from initpolicy.plans import Decision, Plan
from initpolicy.problems import InitPolicyError, Location, Problem, listed
from initpolicy.resolve.gains import found_in


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
    Raises `InitPolicyError` if the plan has steps whose data are not known.
    """
    if digests and any(not step.data for step in plan.steps):
        raise InitPolicyError(
            Problem(
                "IP311",
                f"the plan has steps whose data a lock tells apart: {listed(_calls(plan))}",
                "give the data, `initpolicy lock MODEL POLICY --data file.py:function`, or write "
                "the lock without digests, `--no-digests`",
                plan.steps[0].location,
            )
        )
    rules: dict[str, dict[str, int]] = {}
    winners = [decision.winner for decision in plan if decision.winner is not None]
    for said in (*winners, *plan.steps):
        at = said.location
        lines = rules.setdefault(said.rule, {})
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
        steps=tuple(
            Calibrated(step.call, step.rule, step.data if digests else "") for step in plan.steps
        ),
    )


def _calls(plan: Plan) -> list[str]:
    return list(dict.fromkeys(step.call for step in plan.steps))


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
        entry = _entry(decision, plan)
        if digests and entry.law is not None and has_digest(entry):
            stream = stream_of(plan.seed, decision.stream_name, entry.law)
            with naming(entry.name):
                digest = digest_of(entry.law, entry.shape, entry.dtype, stream, threads, progress)
            entry = replace(entry, digest=digest)
        yield entry


def bytes_to_draw(plan: Plan) -> int:
    """How many bytes `lock` draws for the digests of a plan."""
    entries = [entry for entry in _bare(plan) if has_digest(entry)]
    sizes = {entry.dtype: getattr(torch, entry.dtype).itemsize for entry in entries}
    return sum(math.prod(entry.shape) * sizes[entry.dtype] for entry in entries)


def _bare(plan: Plan) -> Iterator[Entry]:
    return (_entry(decision, plan) for decision in plan)


def _entry(decision: Decision, plan: Plan) -> Entry:
    return Entry(
        name=decision.name,
        shape=decision.shape,
        dtype=decision.dtype,
        kind=decision.kind,
        persistent=decision.persistent,
        law=decision.law,
        constructor=decision.module_type if decision.recompute else "",
        gain="" if decision.winner is None else found_in(decision.winner.initializer),
        rule=None if decision.winner is None else decision.winner.rule,
        stream=decision.stream,
        aliases=decision.aliases,
        steps=plan.calibrated.get(decision.name, ()),
    )
