"""The command that checks policies against the models that they name."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Annotated

import typer

from initpolicy.cli.options import AsWhat, Output, Strict, app, reporting
from initpolicy.report import machine, text
from initpolicy.report.summary import count

if TYPE_CHECKING:
    from initpolicy.report.findings import Case
    from initpolicy.testing.folder import Tested


@app.command("test")
def examples(
    policies: Annotated[
        str, typer.Argument(metavar="POLICIES", help="a folder of policies, or one policy's file")
    ],
    strict: Strict = False,
    output: AsWhat = Output.text,
) -> None:
    """Check policies against the models that they name in lines `#:model file.py:callable`."""
    from initpolicy.testing import folder

    tested: list[Tested] = []
    with reporting(output) as cases:
        to = text.console(sys.stdout)
        outcomes = folder.check(policies)
        while True:
            # What a model's file prints is no part of a report.
            with redirect_stdout(sys.stderr):
                one = next(outcomes, None)
            if one is None:
                break
            tested.append(one)
            cases += _cases(one)
            if output is not Output.json:
                _show(one, to)
        failed = sum(not one.ok for one in tested)
        if output is Output.json:
            told = {"ok": not failed, "policies": [one.to_json() for one in tested]}
            machine.write(told, sys.stdout)
        else:
            text.raw(_summary(tested, failed), to)
    if failed or (strict and any(one.all_problems for one in tested)):
        raise typer.Exit(1)


def _cases(tested: Tested) -> Iterator[Case]:
    """Each model that the policy names, and what is about no model alone."""
    from initpolicy.report import findings

    for example in tested.examples:
        yield findings.of_problems(f"{tested.policy} with {example.model}", example.problems)
    if tested.problems or not tested.examples:
        yield findings.of_problems(tested.policy, tested.problems)


def _show(tested: Tested, to: text.Console) -> None:
    """A line for each model, or for the policy if it names none, and what is wrong below."""
    if tested.left_out:
        text.raw(f"{text.one_line(tested.policy)}: left out", to)
    elif not tested.examples and tested.ok:
        text.raw(f"{text.one_line(tested.policy)}: no model, for it is to be extended", to)
    for example in tested.examples:
        what = f"{text.one_line(tested.policy)} with {text.one_line(example.model)}"
        filled = f"{count(example.tensors, 'tensor')}, {count(example.values, 'value')}"
        text.raw(f"{what}: {filled if example.ok else 'failed'}", to)
        text.problems(example.problems, to)
    if not tested.examples and not tested.ok:
        text.raw(f"{text.one_line(tested.policy)}: failed", to)
    text.problems(tested.problems, to)


def _summary(tested: list[Tested], failed: int) -> str:
    models = sum(len(one.examples) for one in tested)
    left_out = sum(one.left_out for one in tested)
    number = len(tested) - left_out
    policies = "1 policy" if number == 1 else f"{number:,} policies"
    outcome = f"{failed} failed" if failed else "all hold"
    if left_out:
        outcome = f"{left_out:,} left out, {outcome if number else 'nothing was checked'}"
    return f"{policies} checked with {count(models, 'model')}: {outcome}."
