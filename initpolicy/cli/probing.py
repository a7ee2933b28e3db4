"""`initpolicy probe`: what the signals of a model are under a policy, or under two of them."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from typing import Annotated

import typer

import initpolicy
from initpolicy.cli import inputs
from initpolicy.cli.options import AsWhat, Kwarg, Model, Output, Policies, Seed, Var, app, reporting
from initpolicy.problems import InitPolicyError, Problem
from initpolicy.report import machine, text
from initpolicy.report import signals as report

FAILED = 1


@app.command()
def probe(
    model: Model,
    policy: Policies,
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
    with reporting(output):
        if not input:
            hint = "write `--input 8,3,224,224`, `--input 8,128:int64` or `--input file.py:batch`"
            raise InitPolicyError(Problem("IP751", "probe is given no input", hint))
        from initpolicy.signals import Limits

        limits = Limits(max_saturated, max_zeros, max_dead, min_signal, min_gradient)
        attempts = inputs.Attempts([])
        second = attempts.of(initpolicy.load, other) if other is not None else None
        read = inputs.read(model, policy, kwarg or [], var or [], device="cpu", attempts=attempts)
        # What the model prints is no part of a report.
        with redirect_stdout(sys.stderr):
            probes = [
                initpolicy.probe(
                    read.model,
                    one,
                    input=input[0] if len(input) == 1 else input,
                    seed=seed,
                    vars=read.variables,
                    draws=draws,
                    loss="mean square" if loss == "mean-square" else loss,  # pyright: ignore[reportArgumentType]
                    rate=rate,
                    training=not evaluation,
                    limits=limits,
                )
                for one in (read.policy, second)
                if one is not None
            ]
        if output is Output.json:
            documents = [found.to_json() for found in probes]
            machine.write(documents if second else documents[0], sys.stdout)
        else:
            report.text(probes, text.console(sys.stdout), parameters=parameters)
    if not all(found.ok for found in probes):
        raise typer.Exit(FAILED)
