"""`initpolicy verify`: are the values of a model or of a checkpoint what a policy says?"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

import initpolicy
from initpolicy.cli import arguments, inputs
from initpolicy.cli.options import AsWhat, Kwarg, Output, Seed, Var, app, reporting
from initpolicy.problems import InitPolicyError, Problem
from initpolicy.report import machine, text
from initpolicy.report import verdict as report

FOUND = 1


@app.command()
def verify(
    source: Annotated[
        str,
        typer.Argument(metavar="MODEL|FILE", help="a model, a checkpoint, or the folder of one"),
    ],
    policy: Annotated[
        str | None,
        typer.Argument(metavar="POLICY", help="a TOML file, or a built-in policy's name"),
    ] = None,
    plan: Annotated[
        str | None, typer.Option(metavar="FILE", help="a plan in JSON, in place of a policy")
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="MODEL", help="what a checkpoint is a checkpoint of")
    ] = None,
    law: Annotated[
        bool, typer.Option("--law", help="ask for the laws only, whoever drew the values")
    ] = False,
    alpha: Annotated[
        float, typer.Option(metavar="P", help="with --law: probability of any false finding")
    ] = 1e-9,
    seed: Seed = None,
    var: Var = None,
    kwarg: Kwarg = None,
    output: AsWhat = Output.text,
) -> None:
    """Say whether values are what a policy says; exit with 1 if they are not."""
    with reporting(output):
        stored = os.path.exists(source) or ":" not in source
        _check(source, policy, plan, model, seed, var, stored)
        attempts = inputs.Attempts([])
        spec = model if stored else source
        built = None
        if spec is not None:
            device = "meta" if stored else "cpu"
            built = attempts.of(inputs.build, spec, kwarg or [], device)
        given = None
        if plan is not None:
            given = attempts.of(inputs.read_plan, plan)
        elif policy is not None:
            given = attempts.of(initpolicy.load, policy)
        values = attempts.of(arguments.variables, var or [])
        if attempts.problems or given is None:
            raise InitPolicyError(attempts.problems)
        judged = source if stored else built
        assert judged is not None
        verdict = initpolicy.verify(
            judged,
            given,
            model=built if stored else None,
            seed=seed,
            vars=values or None,
            exact=not law,
            alpha=alpha,
        )
        if output is Output.json:
            machine.write(verdict.to_json(), sys.stdout)
        else:
            report.text(verdict, text.console(sys.stdout))
    if not verdict.ok:
        raise typer.Exit(FOUND)


def _check(
    source: str,
    policy: str | None,
    plan: str | None,
    model: str | None,
    seed: int | None,
    var: list[str] | None,
    stored: bool,
) -> None:
    """Raise for what means nothing together."""
    problems: list[Problem] = []
    if (policy is None) == (plan is None):
        many = "both a policy and a plan" if plan else "neither a policy nor a plan"
        hint = "write `verify MODEL POLICY` or `--plan FILE`"
        problems.append(Problem("IP404", f"verify is given {many}", hint))
    if plan is not None and (seed is not None or var):
        hint = "leave out `--seed` and `--var`, or give the policy instead"
        problems.append(Problem("IP404", "a plan has its seed and its variables", hint))
    if model is not None and not stored:
        problems.append(Problem("IP404", f"{source} is a model itself", "leave out `--model`"))
    if problems:
        raise InitPolicyError(problems)
