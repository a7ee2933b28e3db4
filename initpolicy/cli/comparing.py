"""What `diff` is given, read as what it is, and compared."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import initpolicy
from initpolicy import lockfile
from initpolicy.cli import inputs
from initpolicy.lockfile import Differences, Lock, PolicyDifferences, ValueDifferences
from initpolicy.plans import Plan
from initpolicy.problems import InitPolicyError, Problem

if TYPE_CHECKING:
    from torch import nn

Kind = Literal["policy", "lock", "plan", "model", "checkpoint"]

_CHECKPOINTS = (".safetensors", ".pt", ".pth", ".bin", ".index.json")
_ENOUGH = 4096  # bytes of a file that tell what it is


def kind_of(given: str) -> Kind:
    """Say what a word of the command line means.

    >>> kind_of("net.py:mlp"), kind_of("densenet"), kind_of("policy.lock")
    ('model', 'policy', 'lock')
    """
    if given.endswith(_CHECKPOINTS) or os.path.isdir(given):
        return "checkpoint"
    if not _is_file(given):
        if given.endswith(".lock"):
            return "lock"
        return "model" if ":" in given else "policy"
    try:
        with open(given, "rb") as file:
            beginning = file.read(_ENOUGH).decode("utf-8", "replace")
    except OSError as error:
        raise InitPolicyError(inputs.unreadable(given, error)) from error
    if given.endswith(".lock") or lockfile.is_lock(beginning):
        return "lock"
    return "plan" if beginning.lstrip().startswith("{") else "policy"


def _is_file(given: str) -> bool:
    return os.path.isfile(given)


Found = Differences | PolicyDifferences | ValueDifferences

_DECIDED = {"lock", "plan"}
_HELD = {"model", "checkpoint"}


@dataclass(frozen=True)
class Options:
    """What plans are made with."""

    seed: int | None
    variables: Sequence[str]
    kwargs: Sequence[str]


def found(
    before: str, after: str, with_: str | None, options: Options
) -> tuple[Found, Lock | None]:
    """Compare two things, with the model or the policy that they need to become plans.

    Where values were compared with a lock, it is given as well.
    """
    kinds = kind_of(before), kind_of(after)
    if with_ is None and set(kinds) == {"policy"}:
        return _policies(before, after), None
    if with_ is None and set(kinds) & _HELD and set(kinds) & _DECIDED:
        decided, held = (before, after) if kinds[0] in _DECIDED else (after, before)
        return _values(decided, held, options)
    wanted = _wanted(kinds)
    if wanted is None or wanted != (kind_of(with_) if with_ is not None else ""):
        raise _misuse(kinds, wanted, with_)
    return _locks((before, after), kinds, with_, options), None


def _wanted(kinds: tuple[Kind, Kind]) -> str | None:
    """What two things of these kinds need beside them; None if nothing makes them comparable."""
    if "checkpoint" in kinds or set(kinds) == {"policy", "model"}:
        return None
    return "model" if "policy" in kinds else "policy" if "model" in kinds else ""


def _misuse(kinds: tuple[Kind, Kind], wanted: str | None, with_: str | None) -> InitPolicyError:
    one, other = kinds
    hint = {
        "": "write `diff A B` alone",
        "model": "write `diff A B MODEL`",
        "policy": "write `diff A B POLICY`",
        None: "`initpolicy verify` compares values with a policy"
        if "policy" in kinds
        else "compare it with a lock",
    }[wanted]
    beside = "" if with_ is None else f", beside a {kind_of(with_)}"
    message = f"diff cannot compare a {one} with a {other}{beside}"
    return InitPolicyError(Problem("IP532", message, hint))


def _policies(before: str, after: str) -> PolicyDifferences:
    attempts = inputs.Attempts([])
    old, new = (attempts.of(initpolicy.load, given) for given in (before, after))
    if old is None or new is None:
        raise InitPolicyError(attempts.problems)
    return lockfile.policy_differences(old, new)


def _values(decided: str, held: str, options: Options) -> tuple[ValueDifferences, Lock]:
    attempts = inputs.Attempts([])
    lock = attempts.of(_lock, decided)
    source = attempts.of(_source, held, options)
    if lock is None or source is None:
        raise InitPolicyError(attempts.problems)
    return lockfile.check_values(lock, source), lock


def _lock(given: str) -> Lock:
    if kind_of(given) == "lock":
        return lockfile.read(given)
    return lockfile.lock(inputs.read_plan(given), digests=False)


def _source(given: str, options: Options) -> nn.Module | str:
    if kind_of(given) == "checkpoint":
        return given
    return inputs.build(given, options.kwargs, "cpu")


def _locks(
    given: tuple[str, str], kinds: tuple[Kind, Kind], with_: str | None, options: Options
) -> Differences:
    attempts = inputs.Attempts([])
    sides = [
        attempts.of(_decided, one, kind, with_, options)
        for one, kind in zip(given, kinds, strict=True)
    ]
    before, after = sides
    if before is None or after is None:
        raise InitPolicyError(dict.fromkeys(attempts.problems))
    digests = any(isinstance(side, Lock) and side.digests == "values" for side in sides)
    return lockfile.differences(*(_as_lock(side, digests) for side in (before, after)))


def _decided(given: str, kind: Kind, with_: str | None, options: Options) -> Lock | Plan:
    if kind == "lock":
        return lockfile.read(given)
    if kind == "plan":
        return inputs.read_plan(given)
    assert with_ is not None
    model, policy = (given, with_) if kind == "model" else (with_, given)
    read = inputs.read(model, policy, options.kwargs, options.variables, device="meta")
    return read.plan(options.seed)


def _as_lock(side: Lock | Plan, digests: bool) -> Lock:
    if isinstance(side, Lock):
        return side
    # Without their data, what steps make of them is not compared; laws and steps are.
    return lockfile.lock(side, digests=digests and all(step.data for step in side.steps))
