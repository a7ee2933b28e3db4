"""Commands that write a lock, check it, and show what changed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from initpolicy.cli import inputs
from initpolicy.cli.options import (
    AsWhat,
    Data,
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
from initpolicy.report import machine, text

if TYPE_CHECKING:
    from initpolicy.lockfile import Lock
    from initpolicy.plans import Plan

FINDINGS = 1

Every = Annotated[
    bool, typer.Option("--tensors", help="name every tensor, and not only patterns of names")
]


@app.command()
def lock(
    model: Model,
    policy: Policies,
    seed: Seed = None,
    var: Var = None,
    kwarg: Kwarg = None,
    data: Data = None,
    out: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="the lock; the policy's name with .lock by default"),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="write nothing, and exit with 1 if the lock is outdated")
    ] = False,
    digests: Annotated[
        bool,
        typer.Option(
            "--digests/--no-digests", help="whether to draw all values, for a digest of each tensor"
        ),
    ] = True,
    tensors: Every = False,
    output: AsWhat = Output.text,
) -> None:
    """Write what each tensor begins with into a file, to review what changes."""
    from initpolicy import lockfile
    from initpolicy.application import check_use, told
    from initpolicy.report import changes, differences, findings

    with reporting(output) as cases:
        file = Path(out if out is not None else f"{Path(policy).stem}.lock")
        before = lockfile.read(file) if check else _present(file)
        read = inputs.read(model, policy, kwarg or [], var or [], device="meta")
        check_use(read.policy, inputs.batch(data))
        plan = told(read.plan(seed, data), read.model, inputs.batch(data))
        if check and before is not None:
            digests = before.digests == "values"
        after = _drawn(plan, digests)
        found = None if before is None else lockfile.differences(before, after)
        if not check:
            _write(file, lockfile.write(after))
        cases += findings.of_plan(plan)
        if check and found is not None:
            cases += changes.of_differences(found, after)
        to = text.console(sys.stdout)
        if output is Output.json:
            told = {"file": str(file), "tensors": len(after), "written": not check}
            machine.write(
                told | {"differences": None if found is None else found.to_json()}, sys.stdout
            )
        else:
            text.problems(plan.warnings, text.console(sys.stderr))
            differences.locked(str(file), len(after), found, to, written=not check, every=tensors)
    if check and found is not None and not found.same:
        raise typer.Exit(FINDINGS)


@app.command()
def diff(
    before: Annotated[str, typer.Argument(metavar="A", help="a policy, lock, plan or model")],
    after: Annotated[str, typer.Argument(metavar="B", help="what to compare it with")],
    with_: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODEL|POLICY]", help="the model of two policies, or the policy of two models"
        ),
    ] = None,
    seed: Seed = None,
    var: Var = None,
    kwarg: Kwarg = None,
    tensors: Every = False,
    output: AsWhat = Output.text,
) -> None:
    """Show what changed between two policies, locks, plans or models, or a model and its lock."""
    from initpolicy.cli import comparing
    from initpolicy.lockfile import Differences, PolicyDifferences
    from initpolicy.report import changes, differences

    with reporting(output) as cases:
        options = comparing.Options(seed, var or [], kwarg or [])
        found, lock = comparing.found(before, after, with_, options)
        cases += changes.of_differences(found, lock)
        to = text.console(sys.stdout)
        if output is Output.json:
            machine.write(found.to_json(), sys.stdout)
        elif isinstance(found, Differences):
            differences.differences(found, to, every=tensors)
        elif isinstance(found, PolicyDifferences):
            differences.policy_differences(found, to)
        else:
            differences.value_differences(found, to, every=tensors)
    if not found.same:
        raise typer.Exit(FINDINGS)


def _present(file: Path) -> Lock | None:
    """The lock that is about to be replaced; None if there is none, or none that can be read."""
    from initpolicy import lockfile

    if not file.exists():
        return None
    try:
        with file.open("rb") as opened:
            beginning = opened.read(4096).decode("utf-8", "replace")
        if not lockfile.is_lock(beginning):
            raise _unwritable(file, "there is a file that is no lock", "name another with `--out`")
        return lockfile.read(file)
    except OSError as error:
        raise _unwritable(file, error.strerror or str(error)) from error
    except InitPolicyError as error:
        if any(problem.code == "IP403" for problem in error.problems):
            raise
        return None  # a merge may have left it so


def _drawn(plan: Plan, digests: bool) -> Lock:
    """The lock of a plan, with a bar while its values are drawn."""
    from initpolicy import lockfile

    total = lockfile.bytes_to_draw(plan) if digests else 0
    with text.progress(total, text.console(sys.stderr)) as progress:
        return lockfile.lock(plan, digests=digests, progress=progress)


def _write(file: Path, content: str) -> None:
    """Replace a file wholly, or not at all."""
    from initpolicy.materialization.replacing import replacing

    try:
        with replacing(file.resolve()) as written:  # a link stays one: what it names is replaced
            written.write(0, content.encode("utf-8"))
    except OSError as error:
        raise _unwritable(file, error.strerror or str(error)) from error


def _unwritable(file: Path, reason: str, hint: str = "") -> InitPolicyError:
    return InitPolicyError(Problem("IP403", f"{file} cannot be written: {reason}", hint))
