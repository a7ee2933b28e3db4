"""The pages of the codes: one Markdown file each, beside this one."""

from __future__ import annotations

from importlib.resources import files

_PACKAGE = "initpolicy.problems"


def codes() -> tuple[str, ...]:
    """Every code that has a page, in order.

    >>> codes()[0]
    'IP101'
    """
    names = (entry.name for entry in files(_PACKAGE).iterdir())
    return tuple(sorted(name[:-3] for name in names if name.endswith(".md")))


def page(code: str) -> str:
    """The page of a code, as Markdown; raises `KeyError` if there is no such code.

    >>> print(page("IP201").splitlines()[0])
    # IP201: a parameter that no rule covers
    """
    if code not in codes():
        raise KeyError(code)
    return files(_PACKAGE).joinpath(f"{code}.md").read_text(encoding="utf-8")
