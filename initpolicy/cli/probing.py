"""`initpolicy probe`: what the signals of a model are under a policy, or under two of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from typing import Annotated

import typer

import initpolicy
from initpolicy.cli import arguments, inputs
from initpolicy.cli.options import (
    AsWhat,
    Kwarg,
    Model,
    Output,
    PlanFile,
    PolicyOrPlan,
    Seed,
    Var,
    app,
    reporting,
)
from initpolicy.problems import InitPolicyError, Problem
from initpolicy.report import findings, machine, text
from initpolicy.report import signals as report

FAILED = 1


@app.command()
def probe(
    model: Model,
    policy: PolicyOrPlan = None,
    other: Annotated[
        str | None, typer.Argument(metavar="POLICY_B", help="a second policy, for comparison")
    ] = None,
    input: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SHAPE|CALLABLE",
            help="8,3,224,224 or ids=8,128:int64:50257 for each argument, or file.py:function "
            "that gives a batch",
        ),
    ] = None,
    plan: PlanFile = None,
    draws: Annotated[int, typer.Option(metavar="N", help="how many seeds")] = 3,
    seed: Seed = None,
    loss: Annotated[
        str, typer.Option(metavar="LOSS", help="projection, or mean-square")
    ] = "projection",
    rate: Annotated[float, typer.Option(metavar="R", help="an update beside its gradient")] = 1e-3,
    evaluation: Annotated[
        bool, typer.Option("--eval", help="probe the model as it is when it is not trained")
    ] = False,
    parameters: Annotated[
        bool, typer.Option("--parameters", help="show gradients and updates of parameters too")
    ] = False,
    max_saturated: Annotated[float, typer.Option(metavar="SHARE", help="of a layer")] = 0.75,
    max_zeros: Annotated[float, typer.Option(metavar="SHARE", help="of a layer")] = 0.95,
    max_dead: Annotated[float, typer.Option(metavar="SHARE", help="of a layer's units")] = 0.9,
    min_signal: Annotated[
        float, typer.Option(metavar="RATIO", help="of a layer to the largest")
    ] = 1e-4,
    min_gradient: Annotated[
        float, typer.Option(metavar="RATIO", help="of a layer to the largest")
    ] = 1e-6,
    var: Var = None,
    kwarg: Kwarg = None,
    output: AsWhat = Output.text,
) -> None:
    """Show what happens to signals and gradients; exit with 1 if a condition does not hold."""
    with reporting(output) as cases:
        problems = list(_check(policy, plan, seed, var, input))
        if problems:
            raise InitPolicyError(problems)
        from initpolicy.signals import Limits

        limits = Limits(max_saturated, max_zeros, max_dead, min_signal, min_gradient)
        attempts = inputs.Attempts([])
        policies = [attempts.of(initpolicy.load, one) for one in (policy, other) if one is not None]
        plans = [attempts.of(inputs.read_plan, plan)] if plan is not None else []
        values = attempts.of(arguments.variables, var or [])
        built = attempts.of(inputs.build, model, kwarg or [], "cpu")
        if attempts.problems or built is None:
            raise InitPolicyError(attempts.problems)
        assert input
        given = input[0] if len(input) == 1 else input
        # What the model prints is no part of a report.
        with redirect_stdout(sys.stderr):
            probes = [
                initpolicy.probe(
                    built,
                    one,
                    input=given,
                    seed=seed,
                    vars=values or None,
                    draws=draws,
                    loss="mean square" if loss == "mean-square" else loss,  # pyright: ignore[reportArgumentType]
                    rate=rate,
                    training=not evaluation,
                    limits=limits,
                )
                for one in (*policies, *plans)
                if one is not None
            ]
        for found in probes:
            cases += findings.of_probe(found, found.policy if len(probes) > 1 else "")
        if output is Output.json:
            documents = [found.to_json() for found in probes]
            machine.write(documents if len(documents) > 1 else documents[0], sys.stdout)
        else:
            report.text(probes, text.console(sys.stdout), parameters=parameters)
    if not all(found.ok for found in probes):
        raise typer.Exit(FAILED)


def _check(
    policy: str | None,
    plan: str | None,
    seed: int | None,
    var: list[str] | None,
    given: list[str] | None,
) -> Iterator[Problem]:
    """What means nothing together."""
    if (policy is None) == (plan is None):
        many = "both a policy and a plan" if plan else "neither a policy nor a plan"
        hint = "write `probe MODEL POLICY` or `--plan FILE`"
        yield Problem("IP404", f"probe is given {many}", hint)
    if plan is not None and (seed is not None or var):
        hint = "leave out `--seed` and `--var`, or give the policy instead"
        yield Problem("IP404", "a plan has its seed and its variables", hint)
    if not given:
        hint = "write `--input 8,3,224,224`, `--input 8,128:int64` or `--input file.py:batch`"
        yield Problem("IP751", "probe is given no input", hint)
