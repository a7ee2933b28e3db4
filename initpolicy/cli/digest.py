"""`initpolicy digest`: one hash of all values of a model, or of a checkpoint on disk."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from initpolicy.cli import inputs
from initpolicy.cli.options import AsWhat, Kwarg, ModelOrFile, Output, app, reporting
from initpolicy.problems import InitPolicyError, Problem
from initpolicy.report import machine, text

if TYPE_CHECKING:
    from initpolicy.digests import Source


@app.command()
def digest(
    source: ModelOrFile,
    kwarg: Kwarg = None,
    tensors: Annotated[
        bool, typer.Option("--tensors", help="the digest of each tensor as well")
    ] = False,
    output: AsWhat = Output.text,
) -> None:
    """Print one hash of all values of a model or of a checkpoint."""
    with reporting(output):
        from initpolicy import digests

        held = digests.tensors_of(_source(source, kwarg or []))
        total = sum(tensor.nbytes for tensor in held.values() if not tensor.is_meta)
        with text.progress(total, text.console(sys.stderr), "reading") as progress:
            each = digests.of_tensors(held, progress=progress)
        whole = digests.combined(each)
        if output is Output.json:
            document: dict[str, Any] = {"digest": whole, "version": digests.VERSION}
            machine.write(document | ({"tensors": each} if tensors else {}), sys.stdout)
            return
        lines = [f"{one}  {text.one_line(name)}" for name, one in each.items()] if tensors else []
        text.raw("\n".join([*lines, whole]), text.console(sys.stdout))


def _source(named: str, kwargs: list[str]) -> Source:
    """The path of what exists; a model otherwise."""
    if os.path.exists(named) or ":" not in named:
        if kwargs:
            raise InitPolicyError(
                Problem("IP404", f"{named} takes no arguments", "leave out `--kwarg`")
            )
        return named
    return inputs.build(named, kwargs, "cpu")
