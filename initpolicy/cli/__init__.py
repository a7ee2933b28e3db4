"""The command line: parse, call the face, render, exit code."""

from initpolicy.cli import (  # noqa: F401  # pyright: ignore[reportUnusedImport]
    digest,
    linting,
    locking,
    materializing,
    probing,
    publishing,
    testing,
    verifying,
)
from initpolicy.cli.app import main

__all__ = ["main"]
