from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

import pytest
from typer.testing import CliRunner

from initpolicy.cli.app import app


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


Run = Callable[..., Ran]
Write = Callable[[str, str], Path]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command line in an empty folder; nothing but an exit code may come out of it."""
    monkeypatch.chdir(tmp_path)

    def run_it(*arguments: str | Path) -> Ran:
        result = CliRunner().invoke(app, list(map(str, arguments)), prog_name="initpolicy")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ran(result.exit_code, result.stdout, result.stderr)

    return run_it


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a file into an empty current folder."""
    monkeypatch.chdir(tmp_path)

    def write_it(name: str, text: str) -> Path:
        file = tmp_path / name
        file.write_text(dedent(text).lstrip("\n"), encoding="utf-8")
        return file

    return write_it


@pytest.fixture
def mlp(write: Write) -> str:
    write(
        "net.py",
        """
        from torch import nn

        def mlp(width=4, bias=True):
            return nn.Sequential(nn.Linear(8, width, bias), nn.ReLU(), nn.Linear(width, 2, bias))
        """,
    )
    return "net.py:mlp"


@pytest.fixture
def policy(write: Write) -> str:
    write(
        "policy.toml",
        """
        format = 1
        title = "Two layers"
        source = "a test"
        seed = 3

        [vars]
        spread = 0.5

        [[rule]]
        type = "Linear"
        init.weight = "xavier_uniform"
        init.bias = 0

        [[rule]]
        name = "2"
        note = "the head"
        init.weight = { fn = "normal", std = "spread" }
        """,
    )
    return "policy.toml"
