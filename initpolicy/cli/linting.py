"""`initpolicy lint`: what is probably wrong with how a model would begin."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout

import typer

import initpolicy
from initpolicy.cli import inputs
from initpolicy.cli.options import (
    AsWhat,
    Example,
    Kwarg,
    Model,
    Output,
    Policies,
    Seed,
    Var,
    app,
    reporting,
)
from initpolicy.problems import InitPolicyError, Problem
from initpolicy.report import findings, machine, text
from initpolicy.report import verdict as report

FOUND = 1


@app.command()
def lint(
    model: Model,
    policy: Policies,
    seed: Seed = None,
    var: Var = None,
    kwarg: Kwarg = None,
    input: Example = None,
    output: AsWhat = Output.text,
) -> None:
    """Say what is probably wrong with how a model would begin; exit with 1 if anything is."""
    with reporting(output) as cases:
        read = inputs.read(model, policy, kwarg or [], var or [], device="meta")
        with redirect_stdout(sys.stderr):  # what the model prints is no part of a report
            advice = initpolicy.lint(
                read.model,
                read.policy,
                seed=seed,
                vars=read.variables,
                input=inputs.batch(input),
            )
        if advice.reason:  # of what follows a layer nothing was seen, and so nothing was found
            told = f"the model cannot be run on this input: {advice.reason}"
            hint = "give one that it takes, or leave out `--input`"
            raise InitPolicyError(Problem("IP752", told, hint))
        cases.append(findings.of_problems(policy, [found.problem for found in advice.findings]))
        if output is Output.json:
            machine.write(advice.to_json(), sys.stdout)
        else:
            report.text(advice, text.console(sys.stdout))
    if not advice.ok:
        raise typer.Exit(FOUND)
