"""The model and the policy that a command line names, with every mistake in both at once."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import initpolicy
from initpolicy.cli import arguments
from initpolicy.problems import InitPolicyError, Problem

if TYPE_CHECKING:
    from torch import nn

    from initpolicy.plans import Plan
    from initpolicy.policy import Policy

LARGEST_PLAN = 1 << 28  # bytes; of a model with 100,000 tensors it has less than half

Result = TypeVar("Result")


@dataclass
class Attempts:
    """Steps of which each is tried, whether or not the others failed."""

    problems: list[Problem]

    def of(self, step: Callable[..., Result], *given: Any) -> Result | None:
        """What `step` returns, or None if it found problems, which are kept."""
        try:
            return step(*given)
        except InitPolicyError as error:
            self.problems += error.problems
            return None


@dataclass(frozen=True)
class Inputs:
    """What a plan is made from."""

    model: nn.Module
    policy: Policy
    variables: dict[str, float | str]

    def plan(self, seed: int | None, input: Sequence[str] | None = None) -> Plan:
        """The plan of the policy for the model, which may be run once on an input."""
        return initpolicy.plan(
            self.model, self.policy, seed=seed, vars=self.variables, input=batch(input)
        )


def read(
    model: str,
    policy: str,
    kwargs: Sequence[str],
    variables: Sequence[str],
    *,
    device: Literal["meta", "cpu"],
    attempts: Attempts | None = None,
) -> Inputs:
    """Load the policy, read the variables and build the model; raises what went wrong in all."""
    attempts = attempts or Attempts([])
    loaded = attempts.of(initpolicy.load, policy)
    values = attempts.of(arguments.variables, variables)
    built = attempts.of(build, model, kwargs, device)
    if attempts.problems or loaded is None or values is None or built is None:
        raise InitPolicyError(attempts.problems)
    return Inputs(built, loaded, values)


def build(spec: str, kwargs: Sequence[str], device: Literal["meta", "cpu"]) -> nn.Module:
    """Build a model; one that cannot be built on the meta device is built on the CPU instead."""
    from initpolicy.model import ModelError, load_model

    values = arguments.keywords(kwargs)
    # What the model's file prints is no part of a report.
    with redirect_stdout(sys.stderr):
        if device == "meta":
            try:
                return load_model(spec, values, device="meta")
            except ModelError:
                pass  # such as a rate that is computed with a tensor, and read from it
        try:
            return load_model(spec, values, device="cpu")
        except ModelError as error:
            raise InitPolicyError(Problem("IP401", error.message, error.hint)) from error


def batch(given: Sequence[str] | None) -> str | Sequence[str] | None:
    """What `--data` or `--input` names: the only argument of a model, or several in order."""
    return given[0] if given and len(given) == 1 else given or None


def read_plan(file: str) -> Plan:
    """Read a plan that `initpolicy plan --output json` wrote."""
    from initpolicy.plans import Plan

    try:
        # Of pipes, those of the shell alone: another one might never be written to.
        if Path(file).is_fifo() and not file.startswith("/dev/"):
            raise ValueError("it is no file")
        with open(file, "rb") as opened:
            content = opened.read(LARGEST_PLAN + 1)
        if len(content) > LARGEST_PLAN:
            raise ValueError(f"it is larger than {LARGEST_PLAN:,} bytes")
        text = content.decode("utf-8")
    except (OSError, ValueError) as error:
        raise InitPolicyError(unreadable(file, error)) from error
    return Plan.from_json(text, file=file)


def unreadable(file: str, error: Exception) -> Problem:
    """The problem of a file that cannot be read."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return Problem("IP403", f"{file} cannot be read: {reason}")
