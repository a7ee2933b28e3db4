"""The commands. Each reads its input, calls the library and hands the outcome to the reports.

Exit codes: 0 if all is well, 1 if something was found, 2 for any mistake, 130 if interrupted.
What a command needs is imported inside it, so that none waits for what it does not use.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from enum import Enum
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

import initpolicy
from initpolicy.cli import inputs
from initpolicy.cli.options import (
    AsWhat,
    Data,
    Example,
    Kwarg,
    Model,
    Output,
    PlanFile,
    Policies,
    PolicyOrPlan,
    Quiet,
    Seed,
    Strict,
    Threads,
    Var,
    app,
    reporting,
)
from initpolicy.problems import InitPolicyError, Problem
from initpolicy.report import machine, text

if TYPE_CHECKING:
    from initpolicy.plans import Plan


class Draws(str, Enum):
    """Whose random numbers."""

    initpolicy = "initpolicy"
    torch = "torch"


class Kind(str, Enum):
    """What `list` lists."""

    policies = "policies"
    initializers = "initializers"


def main() -> None:
    """Run the command line, and exit."""
    for stream in (sys.stdout, sys.stderr):
        # Names may hold letters that an old terminal or a pipe has not.
        reconfigure: Callable[..., None] | None = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
    app(prog_name="initpolicy")


def _print_version(wanted: bool) -> None:
    if wanted:
        text.raw(f"initpolicy {initpolicy.__version__}", text.console(sys.stdout))
        raise typer.Exit


@app.callback()
def top(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="print the version"),
    ] = False,
) -> None:
    """How the weights of neural networks begin, as a file."""


@app.command()
def plan(
    model: Model,
    policy: Policies,
    seed: Seed = None,
    var: Var = None,
    kwarg: Kwarg = None,
    input: Example = None,
    strict: Strict = False,
    output: AsWhat = Output.text,
) -> None:
    """Show what each tensor of a model would begin with."""
    from initpolicy.report import findings

    with reporting(output) as cases:
        read = inputs.read(model, policy, kwarg or [], var or [], device="meta")
        decided = read.plan(seed, input)
        cases += findings.of_plan(decided)
        if output is Output.json:
            machine.write(decided.to_json(), sys.stdout)
        else:
            text.plan(decided, text.console(sys.stdout))
    if strict and decided.warnings:
        raise typer.Exit(1)


@app.command()
def apply(
    model: Model,
    policy: PolicyOrPlan = None,
    plan: PlanFile = None,
    seed: Seed = None,
    var: Var = None,
    kwarg: Kwarg = None,
    data: Data = None,
    out: Annotated[
        str | None, typer.Option(metavar="FILE", help="the safetensors file to write")
    ] = None,
    draws: Annotated[
        Draws, typer.Option(help="whose random numbers: ours, or torch's after manual_seed(seed)")
    ] = Draws.initpolicy,
    threads: Threads = None,
    quiet: Quiet = False,
    output: AsWhat = Output.text,
) -> None:
    """Initialize a model, and save it."""
    from initpolicy.application import uses_data
    from initpolicy.cli import saving
    from initpolicy.report import findings

    with reporting(output) as cases:
        attempts = inputs.Attempts([])
        file = attempts.of(saving.check, out) if out is not None else None
        built, decided = _decided(model, policy, plan, seed, var, kwarg, data, attempts)
        cases += findings.of_plan(decided)
        if draws is Draws.torch:
            import torch

            torch.manual_seed(decided.seed)  # pyright: ignore[reportUnknownMemberType]
        start = perf_counter()
        shown = text.console(sys.stderr)
        total = 0 if quiet else _bytes(decided)
        with text.progress(total, shown) as progress:
            decided = initpolicy.apply(
                built,
                decided,
                draws=draws.value,
                data=inputs.batch(data) if uses_data(decided) else None,
                threads=threads,
                progress=progress,
            )
        seconds = perf_counter() - start
        saved = None if file is None else (str(file), saving.save(built, decided, file))
        if output is Output.json:
            machine.write(machine.applied(decided, seconds, saved), sys.stdout)
        elif quiet:
            text.problems(decided.warnings, shown)
        else:
            text.applied(decided, seconds, saved, text.console(sys.stdout))


def _decided(
    model: str,
    policy: str | None,
    file: str | None,
    seed: int | None,
    var: list[str] | None,
    kwarg: list[str] | None,
    data: list[str] | None,
    attempts: inputs.Attempts,
) -> tuple[Any, Plan]:
    """The model on the CPU, and the plan for it: from a policy or from a file."""
    from initpolicy.application import check_use

    if (policy is None) == (file is None):
        many = "both a policy and a plan" if file else "neither a policy nor a plan"
        attempts.problems.append(
            Problem(
                "IP404", f"apply is given {many}", "write `apply MODEL POLICY` or `--plan FILE`"
            )
        )
        raise InitPolicyError(attempts.problems)
    if file is None:
        assert policy is not None
        read = inputs.read(model, policy, kwarg or [], var or [], device="cpu", attempts=attempts)
        check_use(read.policy, inputs.batch(data))
        return read.model, read.plan(seed, data)
    if seed is not None or var:
        attempts.problems.append(
            Problem(
                "IP404",
                "a plan has its seed and its variables",
                "leave out `--seed` and `--var`, or give the policy instead",
            )
        )
    decided = attempts.of(inputs.read_plan, file)
    built = attempts.of(inputs.build, model, kwarg or [], "cpu")
    if attempts.problems or decided is None or built is None:
        raise InitPolicyError(attempts.problems)
    check_use(decided, inputs.batch(data))
    return built, decided


def _bytes(decided: Plan) -> int:
    """What progress is told of in all: tensors that are filled, and once more what steps change."""
    changed = [decided[name] for step in decided.steps for name in step.tensors]
    return sum(decision.nbytes for decision in (*decided.filled, *changed))


@app.command()
def explain(
    subject: Annotated[
        str, typer.Argument(metavar="MODEL|CODE", help="a model, or a problem's code such as IP203")
    ],
    policy: PolicyOrPlan = None,
    parameters: Annotated[
        list[str] | None,
        typer.Argument(metavar="PARAMETER", help="names of tensors, or globs"),
    ] = None,
    seed: Seed = None,
    var: Var = None,
    kwarg: Kwarg = None,
    output: AsWhat = Output.text,
) -> None:
    """Tell which rule decides on a tensor, or what a code means."""
    with reporting(output):
        if policy is None and re.fullmatch(r"(?i)IP\d+", subject):
            _explain_code(subject.upper(), output)
            return
        if policy is None or not parameters:
            raise InitPolicyError(
                Problem(
                    "IP404",
                    "explain is given neither a code nor a model, a policy and a parameter",
                    "write `explain MODEL POLICY PARAMETER` or `explain IP203`",
                )
            )
        from initpolicy.cli import explaining

        read = inputs.read(subject, policy, kwarg or [], var or [], device="meta")
        explained = explaining.explained(read, seed, parameters)
        if output is Output.json:
            machine.write([machine.explanation(*item) for item in explained], sys.stdout)
            return
        to = text.console(sys.stdout)
        for number, item in enumerate(explained):
            if number:
                to.print()
            text.explanation(*item, to)


def _explain_code(code: str, output: Output) -> None:
    from initpolicy.problems import codes, page

    if code not in codes():
        raise InitPolicyError(
            Problem("IP406", f"there is no code {code}", f"the codes are {', '.join(codes())}")
        )
    if output is Output.json:
        machine.write({"code": code, "page": page(code)}, sys.stdout)
    else:
        text.page(page(code), text.console(sys.stdout))


@app.command("list")
def list_(
    kind: Annotated[Kind | None, typer.Argument(help="which; both by default")] = None,
    output: AsWhat = Output.text,
) -> None:
    """List the built-in policies and the initializers."""
    from initpolicy import initializers
    from initpolicy.policy import builtins

    with reporting(output):
        to = text.console(sys.stdout)
        document: dict[str, Any] = {}
        if kind is not Kind.initializers:
            found = [(name, initpolicy.load(name)) for name in builtins()]
            document["policies"] = machine.policies(found)
            if output is not Output.json:
                text.policies(found, to)
        if kind is None and output is not Output.json:
            to.print()
        if kind is not Kind.policies:
            known = [initializers.get(name) for name in initializers.names()]
            document["initializers"] = machine.initializers(known)
            if output is not Output.json:
                text.initializers(known, to)
        if output is Output.json:
            machine.write(document, sys.stdout)


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="a policy, or an initializer")],
    output: AsWhat = Output.text,
) -> None:
    """Print a policy as it is written, or document an initializer."""
    from initpolicy.cli import showing

    with reporting(output):
        to = text.console(sys.stdout)
        shown = showing.find(name)
        if isinstance(shown, str):
            if output is Output.json:
                machine.write({"policy": name, "text": shown}, sys.stdout)
            else:
                text.raw(shown, to)
            return
        documentation = showing.documentation(shown)
        if output is Output.json:
            machine.write(machine.initializer(shown, documentation), sys.stdout)
        else:
            text.initializer(shown, documentation, to)


@app.command()
def schema() -> None:
    """Print the JSON Schema of policies."""
    from initpolicy.policy.schema import schema

    machine.write(schema(), sys.stdout)
