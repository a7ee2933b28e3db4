"""The command line: parse, call the face, render, exit code."""

from initpolicy.cli import digest, linting, locking, materializing, probing, publishing, testing, verifying  # noqa: F401  # pyright: ignore[reportUnusedImport]
from initpolicy.cli.app import main

__all__ = ["main"]
