"""Where policies are: the files that users name, and those that ship with the package."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from initpolicy.problems import Location, Problem, suggest

LARGEST_FILE = 2**20  # bytes; a policy for every layer of a large model is far below it


@cache
def builtin_folder() -> Path:
    """The folder of the policies that ship with the package."""
    package = Path(__file__).parent.parent
    inside = package / "policies"  # in a wheel; in a checkout they stand beside the package
    return inside if inside.is_dir() else package.parent / "policies"


@cache
def builtins() -> tuple[str, ...]:
    """The names of the policies that ship with the package.

    >>> "densenet" in builtins()
    True
    """
    folder = builtin_folder()
    return tuple(
        sorted(
            file.relative_to(folder).with_suffix("").as_posix() for file in folder.rglob("*.toml")
        )
    )


def name_of(given: str, file: Path) -> str:
    """Say what messages call a policy: built-ins go by their place among the built-in policies."""
    folder = builtin_folder()
    if file.is_relative_to(folder):
        return f"policies/{file.relative_to(folder).as_posix()}"
    return given


def find(given: str, folder: Path) -> Path | None:
    """Give the file that a path or a built-in's name means, seen from `folder`."""
    file = folder / given
    if os.path.isfile(file):  # which is false also for what can be no name of a file
        return file
    name = given.removesuffix(".toml")
    return builtin_folder() / f"{name}.toml" if name in builtins() else None


def read(file: Path, location: Location) -> str | Problem:
    """Give what a file says, or why it cannot be read."""
    try:
        with file.open("rb") as opened:
            content = opened.read(LARGEST_FILE + 1)
        if len(content) > LARGEST_FILE:
            return Problem("IP101", f"the file is larger than {LARGEST_FILE} bytes", "", location)
        return content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        return Problem("IP101", f"the file cannot be read: {error}", "", location)


def not_found(given: str, location: Location | None) -> Problem:
    """Say that there is no such policy, and which ones there are."""
    near = suggest(given.removesuffix(".toml"), builtins())
    return Problem(
        "IP110",
        f"there is no policy `{given}`, neither a file nor a built-in",
        f"did you mean `{near[0]}`?" if near else f"the built-ins are {', '.join(builtins())}",
        location,
    )
