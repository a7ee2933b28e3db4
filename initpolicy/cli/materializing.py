"""`initpolicy materialize`: a checkpoint on the disk, and no model in memory."""

from __future__ import annotations

import sys
from time import perf_counter
from typing import TYPE_CHECKING, Annotated

import typer

from initpolicy.cli import inputs
from initpolicy.cli.options import (
    AsWhat,
    Kwarg,
    Output,
    PolicyOrPlan,
    Quiet,
    Seed,
    Threads,
    Var,
    app,
    reporting,
)
from initpolicy.problems import InitPolicyError, Problem
from initpolicy.report import machine, text

if TYPE_CHECKING:
    from initpolicy.plans import Plan


@app.command()
def materialize(
    model: Annotated[
        str | None,
        typer.Argument(metavar="MODEL", help="package.module:callable or file.py:callable"),
    ] = None,
    policy: PolicyOrPlan = None,
    out: Annotated[str, typer.Option(metavar="DIR", help="the folder to write to")] = "",
    plan: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="carry out a plan in JSON, in place of both"),
    ] = None,
    max_shard_size: Annotated[
        str, typer.Option(metavar="SIZE", help="of a file's tensors, as 5GB or 5GiB")
    ] = "5GB",
    dtype: Annotated[
        str | None, typer.Option(metavar="TYPE", help="of all floating-point tensors: bfloat16")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="keep the files of this plan that are complete")
    ] = False,
    part: Annotated[
        str | None, typer.Option(metavar="I/N", help="write part I of N, counted from 1")
    ] = None,
    seed: Seed = None,
    var: Var = None,
    kwarg: Kwarg = None,
    threads: Threads = None,
    quiet: Quiet = False,
    output: AsWhat = Output.text,
) -> None:
    """Write a model's first values into safetensors files, however large it is."""
    with reporting(output) as cases:
        from initpolicy.materialization import begin
        from initpolicy.report import checkpoint, findings

        attempts = inputs.Attempts([])
        if not out:
            attempts.problems.append(
                Problem("IP404", "materialize is given no folder", "write `--out DIR`")
            )
        share = attempts.of(_part, part) if part is not None else None
        decided = _decided(model, policy, plan, seed, var, kwarg, attempts)
        cases += findings.of_plan(decided)
        shown = text.console(sys.stderr)
        if output is not Output.json:
            text.problems(decided.warnings, shown)
        start = perf_counter()
        task = begin(
            decided,
            out,
            max_shard_size=max_shard_size,
            dtype=dtype,
            part=share,
            resume=resume,
            threads=threads,
        )
        with text.progress(0 if quiet else task.size, shown) as progress:
            done = task.carry_out(progress)
        seconds = perf_counter() - start
        if output is Output.json:
            machine.write(checkpoint.json(decided, done, seconds), sys.stdout)
        elif not quiet:
            checkpoint.text(decided, done, seconds, text.console(sys.stdout))


def _part(text: str) -> tuple[int, int]:
    """Read "1/8"."""
    number, _, world = text.partition("/")
    if number.isdecimal() and world.isdecimal() and 1 <= int(number) <= int(world):
        return int(number) - 1, int(world)
    raise InitPolicyError(
        Problem("IP515", f"there is no part {text}", "parts are counted from 1: 1/8, 2/8 ... 8/8")
    )


def _decided(
    model: str | None,
    policy: str | None,
    file: str | None,
    seed: int | None,
    var: list[str] | None,
    kwarg: list[str] | None,
    attempts: inputs.Attempts,
) -> Plan:
    """The plan of a model and a policy, or that of a file."""
    if file is not None:
        if model is not None or seed is not None or var or kwarg:
            attempts.problems.append(
                Problem(
                    "IP404",
                    "a plan has its model, its seed and its variables",
                    "leave them out, or give the model and the policy instead",
                )
            )
        decided = attempts.of(inputs.read_plan, file)
    elif model is None or policy is None:
        attempts.problems.append(
            Problem(
                "IP404",
                "materialize is given neither a model with a policy nor a plan",
                "write `materialize MODEL POLICY` or `--plan FILE`",
            )
        )
        decided = None
    else:
        read = inputs.read(model, policy, kwarg or [], var or [], device="meta", attempts=attempts)
        decided = read.plan(seed)
    if attempts.problems or decided is None:
        raise InitPolicyError(attempts.problems)
    return decided
