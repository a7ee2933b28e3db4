"""Find what `show` is asked for: an initializer, or the text of a policy."""

from __future__ import annotations

import inspect
from pathlib import Path

from initpolicy import initializers
from initpolicy.cli.inputs import unreadable
from initpolicy.initializers import Initializer
from initpolicy.policy import builtins
from initpolicy.policy.files import builtin_folder
from initpolicy.problems import InitPolicyError, Problem, suggest


def find(name: str) -> Initializer | str:
    """The initializer of that name, or the text of the policy.

    With `.toml` a name is always a policy's. A file comes before a built-in, as everywhere.
    """
    if name in initializers.names():
        return initializers.get(name)
    file = Path(name)
    if not file.is_file():
        bare = name.removesuffix(".toml")
        if bare not in builtins():
            raise InitPolicyError(_unknown(bare))
        file = builtin_folder() / f"{bare}.toml"
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InitPolicyError(unreadable(name, error)) from error


def documentation(initializer: Initializer) -> str:
    """What the initializer's author wrote about it, without the examples for Python."""
    written = inspect.getdoc(initializer.function) or initializer.summary
    return written.partition("\n>>> ")[0].rstrip()


def _unknown(name: str) -> Problem:
    near = suggest(name, [*builtins(), *initializers.names()], n=2)
    hint = "`initpolicy list` names them all"
    if near:
        hint = f"did you mean {' or '.join(f'`{other}`' for other in near)}?"
    return Problem("IP406", f"there is no policy and no initializer `{name}`", hint)
