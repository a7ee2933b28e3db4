"""The command line: parse, call the face, render, exit code."""

# Each module adds its commands when it is imported.
# pyright: reportUnusedImport=false
from initpolicy.cli import (  # noqa: F401
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
