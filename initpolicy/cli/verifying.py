"""`initpolicy verify`: are the values of a model or of a checkpoint what a policy says?"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

import initpolicy
from initpolicy.cli import arguments, inputs
from initpolicy.cli.options import (
    AsWhat,
    Data,
    Kwarg,
    ModelOrFile,
    Output,
    PlanFile,
    PolicyOrPlan,
    Seed,
    Var,
    app,
    reporting,
)
from initpolicy.problems import InitPolicyError, Problem
from initpolicy.report import machine, text
from initpolicy.report import verdict as report

if TYPE_CHECKING:
    from initpolicy.digests import Source
    from initpolicy.lockfile import Lock
    from initpolicy.plans import Plan
    from initpolicy.report.findings import Case

FOUND = 1


@app.command()
def verify(
    source: ModelOrFile,
    policy: PolicyOrPlan = None,
    plan: PlanFile = None,
    model: Annotated[
        str | None, typer.Option(metavar="MODEL", help="what a checkpoint is a checkpoint of")
    ] = None,
    lock: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="a lock: compare the values with it, and the policy too"),
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
    data: Data = None,
    output: AsWhat = Output.text,
) -> None:
    """Say whether values are what a policy or a lock says; exit with 1 if they are not."""
    from initpolicy import lockfile
    from initpolicy.application import check_use
    from initpolicy.plans import Plan
    from initpolicy.report import findings

    with reporting(output) as cases:
        stored = os.path.exists(source) or ":" not in source
        _check(source, policy, plan, model, seed, var, data, stored, lock, law)
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
        kept = attempts.of(lockfile.read, lock) if lock is not None else None
        if attempts.problems or (given is None and kept is None):
            raise InitPolicyError(attempts.problems)
        judged = source if stored else built
        assert judged is not None
        if kept is None:
            assert given is not None
            verdict = initpolicy.verify(
                judged,
                given,
                model=built if stored else None,
                seed=seed,
                vars=values or None,
                exact=not law,
                alpha=alpha,
                data=inputs.batch(data),
            )
            cases += findings.of_verdict(verdict)
            if output is Output.json:
                machine.write(verdict.to_json(), sys.stdout)
            else:
                report.text(verdict, text.console(sys.stdout))
            ok = verdict.ok
        else:
            if given is not None and not isinstance(given, Plan):
                assert built is not None
                batch = inputs.batch(data)
                check_use(given, batch)
                given = initpolicy.plan(built, given, seed=seed, vars=values or None, input=batch)
            ok = _locked(kept, judged, given, cases, output)
    if not ok:
        raise typer.Exit(FOUND)


def _locked(
    lock: Lock, source: Source, plan: Plan | None, cases: list[Case], output: Output
) -> bool:
    """Compare a lock with values, and with a plan if there is one; say whether all is the same."""
    from initpolicy import lockfile
    from initpolicy.report import changes, differences

    found = lockfile.check_values(lock, source)
    cases += changes.of_differences(found, lock)
    changed = None
    if plan is not None:
        # Draws follow from what else is compared: there is no need to draw them.
        changed = lockfile.differences(lock, lockfile.lock(plan, digests=False))
        cases += changes.of_differences(changed)
    same = found.same and (changed is None or changed.same)
    if output is Output.json:
        told = None if changed is None else changed.to_json()
        machine.write({"same": same, "values": found.to_json(), "plan": told}, sys.stdout)
        return same
    to = text.console(sys.stdout)
    if changed is not None and not changed.same:
        differences.differences(changed, to)
    differences.value_differences(found, to)
    return same


def _check(
    source: str,
    policy: str | None,
    plan: str | None,
    model: str | None,
    seed: int | None,
    var: list[str] | None,
    data: list[str] | None,
    stored: bool,
    lock: str | None,
    law: bool,
) -> None:
    """Raise for what means nothing together."""
    problems: list[Problem] = []
    if lock is not None:
        problems += _check_lock(policy, plan, model, seed, var, data, stored, law)
    if (policy is None) == (plan is None) and (lock is None or plan is not None):
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


def _check_lock(
    policy: str | None,
    plan: str | None,
    model: str | None,
    seed: int | None,
    var: list[str] | None,
    data: list[str] | None,
    stored: bool,
    law: bool,
) -> Iterator[Problem]:
    if law:
        hint = "leave out `--law` or `--lock`"
        yield Problem("IP404", "a lock says which values, and not only which laws", hint)
    if data and policy is None:
        hint = "leave out `--data`, or give the policy too"
        yield Problem("IP404", "values are compared with a lock as they are, without data", hint)
    if policy is None and plan is None and (seed is not None or var):
        hint = "leave out `--seed` and `--var`, or give the policy too"
        yield Problem("IP404", "a lock has its seed and its variables", hint)
    if policy is not None and stored and model is None:
        hint = "add `--model MODEL`, or leave out the policy"
        yield Problem("IP404", "a policy says nothing of a checkpoint without its model", hint)
