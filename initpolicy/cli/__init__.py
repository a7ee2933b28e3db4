"""The command line: parse, call the face, render, exit code."""

from initpolicy.cli.app import main

__all__ = ["main"]
