"""What the commands share: the application, its options, and how a mistake is reported."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from enum import Enum
from typing import Annotated

import typer

from initpolicy.problems import InitPolicyError
from initpolicy.report import machine, text

MISUSE = 2
INTERRUPTED = 130


class Output(str, Enum):
    """For whom a report is."""

    text = "text"
    json = "json"


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
Seed = Annotated[int | None, typer.Option(metavar="N", help="in place of the policy's seed")]
Var = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=VALUE", help="a number or expression for a variable of the policy"),
]
Kwarg = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=VALUE", help="an argument of the model, as in TOML"),
]
AsWhat = Annotated[Output, typer.Option(help="for people or for programs")]


@contextmanager
def reporting(output: Output) -> Generator[None, None, None]:
    """Report what is wrong, and exit as the exit codes say."""
    try:
        yield
    except InitPolicyError as error:
        if output is Output.json:
            machine.write(machine.problems(error.problems), sys.stdout)
        else:
            text.problems(error.problems, text.console(sys.stderr))
        raise typer.Exit(MISUSE) from None
    except KeyboardInterrupt as error:
        text.raw(str(error) or "interrupted", text.console(sys.stderr))
        raise typer.Exit(INTERRUPTED) from None
