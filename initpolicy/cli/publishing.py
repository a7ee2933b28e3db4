"""`initpolicy report`: all that is known of how a model begins, as one page of HTML."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import initpolicy
from initpolicy.cli import inputs, saving
from initpolicy.cli.options import (
    AsWhat,
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
from initpolicy.report.summary import count, in_bytes

if TYPE_CHECKING:
    from initpolicy.plans import Plan
    from initpolicy.report.page import Report

FOUND = 1
_UNCOVERED = "IP201"


@app.command()
def report(
    model: Model,
    policy: Policies,
    out: Annotated[
        str, typer.Option(metavar="FILE", help="the page to write, such as report.html")
    ],
    input: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SHAPE|CALLABLE",
            help="probe the model too, as `initpolicy probe` does; it is the data of steps too",
        ),
    ] = None,
    draws: Annotated[int, typer.Option(metavar="N", help="how many seeds are probed")] = 3,
    seed: Seed = None,
    var: Var = None,
    kwarg: Kwarg = None,
    output: AsWhat = Output.text,
) -> None:
    """Write a page of HTML on coverage, rules, values, signals and findings; exit with 1 if any."""
    with reporting(output) as cases:
        import torch

        attempts = inputs.Attempts([])
        file = attempts.of(saving.check, out, "report.html")
        torch.manual_seed(seed or 0)  # pyright: ignore[reportUnknownMemberType]
        device = "cpu" if input else "meta"
        read = inputs.read(model, policy, kwarg or [], var or [], device=device, attempts=attempts)
        assert file is not None
        with redirect_stdout(sys.stderr):  # what the model prints is no part of a report
            made = _made(model, read, seed, input, draws, file)
        size = _write(made, file)
        cases += findings.of_plan(made.plan)
        cases.append(findings.of_problems(policy, made.uncovered))
        cases.append(findings.of_problems(policy, [one.problem for one in made.advice.findings]))
        if made.probe is not None:
            cases += findings.of_probe(made.probe)
        if output is Output.json:
            told = {"ok": made.ok, "findings": made.findings, "file": str(file), "bytes": size}
            machine.write(told, sys.stdout)
        else:
            found = count(made.findings, "finding") if made.findings else "nothing found"
            named = text.one_line(str(file))
            text.raw(f"Wrote {named}, {in_bytes(size)}: {found}.", text.console(sys.stdout))
    if not made.ok:
        raise typer.Exit(FOUND)


def _made(
    model: str,
    read: inputs.Inputs,
    seed: int | None,
    input: list[str] | None,
    draws: int,
    file: Path,
) -> Report:
    """Look at the model in every way that the page tells of."""
    import torch

    from initpolicy.field import DRAW_VERSION
    from initpolicy.model import read as read_model
    from initpolicy.report.page import Report

    batch = inputs.batch(input)
    read, plan, uncovered = _lenient(read, seed, input)
    advice = initpolicy.lint(read.model, read.policy, seed=seed, vars=read.variables, input=batch)
    probe = None
    digest = ""
    if batch is not None:
        probe = initpolicy.probe(read.model, plan, input=batch, draws=draws)
        plan = initpolicy.apply(read.model, plan, data=batch if plan.steps else None)
        if len(plan.given) == len(plan.decisions):  # else some values are not the policy's
            digest = initpolicy.digest(read.model)
    inventory = read_model(read.model)
    classes = {entry.name: type(entry.module).__name__ for entry in inventory.modules}
    parts = {slot.name: slot.sites[0].part_of for slot in inventory.slots if slot.sites[0].part_of}
    versions = {
        "initpolicy": initpolicy.__version__,
        "draws": f"version {DRAW_VERSION}",
        "torch": torch.__version__.partition("+")[0],
    }
    return Report(
        model,
        plan,
        advice,
        classes=classes,
        parts=parts,
        uncovered=uncovered,
        probe=probe,
        digest=digest,
        versions=versions,
        folder=file.resolve().parent,
    )


def _lenient(
    read: inputs.Inputs, seed: int | None, input: list[str] | None
) -> tuple[inputs.Inputs, Plan, tuple[Problem, ...]]:
    """The plan; where tensors are uncovered, that of a policy that lets them be so."""
    try:
        return read, read.plan(seed, input), ()
    except InitPolicyError as error:
        if any(problem.code != _UNCOVERED for problem in error.problems):
            raise
        lenient = replace(read, policy=replace(read.policy, uncovered="keep"))
        return lenient, lenient.plan(seed, input), error.problems


def _write(made: Report, file: Path) -> int:
    """Write the page, which replaces what was there when it is complete; gives its bytes."""
    from initpolicy.materialization.replacing import replacing
    from initpolicy.report.page import document

    content = document(made).encode("utf-8")
    try:
        with replacing(file.resolve()) as written:
            written.write(0, content)
    except OSError as error:
        raise saving.unwritable(str(file), error.strerror or str(error)) from error
    return len(content)
