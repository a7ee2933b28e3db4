"""What was written of a checkpoint, for people and for programs."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from initpolicy.report.summary import count, in_bytes
from initpolicy.report.text import one_line

if TYPE_CHECKING:
    from initpolicy.materialization import Checkpoint
    from initpolicy.plans import Plan


def text(decided: Plan, done: Checkpoint, seconds: float, to: Console) -> None:
    """The files that were written and those that were kept, and whether any is missing."""
    title = one_line(decided.title or decided.policy)
    to.print(Text.assemble((title, "bold"), f", seed {decided.seed}"), soft_wrap=True)
    new = [file for file in done.written if not file.kept]
    kept = len(done.written) - len(new)
    size = sum(file.size for file in new)
    folder = (one_line(done.folder), "bold")
    told = f": {count(len(new), 'file')}, {in_bytes(size)}, in {seconds:.2f} s."
    to.print(Text.assemble("Wrote ", folder, told), soft_wrap=True)
    if kept:
        to.print(f"Kept {count(kept, 'file')} that {'was' if kept == 1 else 'were'} complete.")
    if not done.complete:
        to.print("The index follows when the other parts are written.")
    elif done.index is not None:
        to.print(f"All {done.files:,} files are there, {in_bytes(done.size)}, and {done.index}.")


def json(decided: Plan, done: Checkpoint, seconds: float) -> dict[str, Any]:
    """What `text` tells, and the plan."""
    return {**asdict(done), "seconds": round(seconds, 6), "plan": decided.to_json()}
