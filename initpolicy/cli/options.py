"""What the commands share: the application, its options, and how a mistake is reported."""

from __future__ import annotations

import io
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager, redirect_stdout
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

from initpolicy.problems import InitPolicyError
from initpolicy.report import machine, text

if TYPE_CHECKING:
    from initpolicy.report.findings import Case

MISUSE = 2
INTERRUPTED = 130


class Output(str, Enum):
    """For whom a report is."""

    text = "text"
    json = "json"
    sarif = "sarif"
    junit = "junit"
    github = "github"


app = typer.Typer(
    name="initpolicy",
    help="How the weights of neural networks begin, as a file.",
    epilog="MODEL is package.module:callable or path/to/file.py:callable. "
    "POLICY is a TOML file or the name of a built-in policy.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="package.module:callable or file.py:callable")
]
Policies = Annotated[
    str, typer.Argument(metavar="POLICY", help="a TOML file, or a built-in policy's name")
]
PolicyOrPlan = Annotated[
    str | None, typer.Argument(metavar="POLICY", help="a TOML file, or a built-in policy's name")
]
PlanFile = Annotated[
    str | None, typer.Option(metavar="FILE", help="a plan in JSON, in place of a policy")
]
ModelOrFile = Annotated[
    str, typer.Argument(metavar="MODEL|FILE", help="a model, a checkpoint, or the folder of one")
]
Seed = Annotated[int | None, typer.Option(metavar="N", help="in place of the policy's seed")]
Var = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=VALUE", help="a number or expression for a variable of the policy"),
]
Kwarg = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=VALUE", help="an argument of the model, as in TOML"),
]
Data = Annotated[
    list[str] | None,
    typer.Option(
        metavar="BATCH",
        help="a batch for the policy's [[calibrate]] steps, and for finding what follows a layer, "
        "such as file.py:function; several times for several arguments",
    ),
]
Example = Annotated[
    list[str] | None,
    typer.Option(
        metavar="SHAPE|CALLABLE",
        help="run the model once to see what follows its layers: 8,3,224,224 or "
        "ids=8,128:int64:50257 for each argument, or file.py:function that gives a batch",
    ),
]
Threads = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="how many may draw; torch's by default")
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="neither progress nor summary, only warnings")
]
Strict = Annotated[bool, typer.Option("--strict", help="exit with 1 if there are warnings")]
AsWhat = Annotated[
    Output, typer.Option(help="for people, or for programs; sarif, junit and github tell findings")
]


@contextmanager
def reporting(output: Output) -> Generator[list[Case], None, None]:
    """Report what is wrong or was found, and exit as the exit codes say.

    What is added to the list that this gives is written at the end, if `output` is a format of
    findings. SARIF and JUnit are one document, so that nothing else is then printed.
    """
    cases: list[Case] = []
    try:
        if output in (Output.sarif, Output.junit):
            with redirect_stdout(io.StringIO()):
                yield cases
        else:
            yield cases
    except InitPolicyError as error:
        if output is Output.json:
            machine.write(machine.problems(error.problems), sys.stdout)
        else:
            if output not in (Output.sarif, Output.junit):
                text.problems(error.problems, text.console(sys.stderr))
            if output is not Output.text:
                from initpolicy.report.findings import of_problems

                _write(output, [*cases, of_problems("initpolicy", error.problems, broken=True)])
        raise typer.Exit(MISUSE) from None
    except typer.Exit:
        _write(output, cases)
        raise
    except KeyboardInterrupt as error:
        text.raw(str(error) or "interrupted", text.console(sys.stderr))
        raise typer.Exit(INTERRUPTED) from None
    _write(output, cases)


def _write(output: Output, cases: Sequence[Case]) -> None:
    """Write findings in the formats that are for findings."""
    if output is Output.sarif:
        from initpolicy.report import sarif

        machine.write(sarif.document(cases), sys.stdout)
    elif output is Output.junit:
        from initpolicy.report import junit

        sys.stdout.write(junit.document("initpolicy", cases))
    elif output is Output.github:
        from initpolicy.report import github

        for line in github.lines(cases):
            sys.stdout.write(f"{line}\n")
