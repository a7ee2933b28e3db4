"""What holds for every command: help, version, usage, terminals, and quick starts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import initpolicy

EXAMPLES = Path(__file__).parents[2] / "examples"


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {
        key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR")
    }
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**kept, **environment},
    )


def test_the_version(run) -> None:
    ran = run("--version")
    assert (ran.code, ran.out, ran.err) == (0, f"initpolicy {initpolicy.__version__}\n", "")


@pytest.mark.parametrize("command", ["plan", "apply", "explain", "list", "show", "schema"])
def test_every_command_has_help(run, command) -> None:
    ran = run(command, "--help")
    assert ran.code == 0
    assert ran.out.startswith(f"Usage: initpolicy {command} ")
    assert command in run("--help").out


@pytest.mark.parametrize(
    "arguments",
    [
        ["paln"],
        ["plan"],
        ["plan", "a:b"],
        ["plan", "a:b", "torch", "--sed", "1"],
        ["plan", "a:b", "torch", "--seed", "one"],
        ["plan", "a:b", "torch", "--output", "xml"],
        ["apply", "a:b", "torch", "--threads", "0"],
        ["apply", "a:b", "torch", "--draws", "numpy"],
        ["list", "models"],
        ["show"],
    ],
)
def test_what_cannot_be_parsed_is_misuse(run, arguments) -> None:
    ran = run(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert "Usage: initpolicy" in ran.err
    assert "Error: " in ran.err


def test_a_module_is_the_same_command() -> None:
    ran = python("-m", "initpolicy", "explain", "IP999")
    assert ran.returncode == 2
    assert ran.stderr.startswith("IP406 there is no code IP999; ")


@pytest.mark.parametrize(
    ("arguments", "spared"),
    [
        (["--help"], {"torch", "numba", "rich.table"}),
        (["explain", "IP203"], {"torch", "numba"}),
        (["list"], {"numba", "triton", "torch._dynamo", "torch._inductor", "safetensors"}),
        (["plan", "torch.nn:PReLU", "torch"], {"numba", "triton", "safetensors"}),
    ],
)
def test_a_command_imports_no_more_than_it_needs(arguments, spared) -> None:
    program = (
        "import sys\n"
        "from initpolicy.cli import main\n"
        f"sys.argv = ['initpolicy', *{arguments!r}]\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        f"    print(sorted({spared!r} & set(sys.modules)), file=sys.stderr)\n"
    )
    ran = python("-c", program)
    assert ran.returncode == 0
    assert ran.stderr == "[]\n"


def test_nothing_but_text_goes_into_a_pipe_whatever_its_width(run, monkeypatch) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    told: list[str] = []
    for columns in ("200", "20"):
        monkeypatch.setenv("COLUMNS", columns)
        told.append(run("apply", f"{EXAMPLES}/mlp.py:mlp", "mlp", "--output", "text").out)
        told[-1] = told[-1].partition("Filled")[0] + run("list").out
    assert told[0] == told[1]
    assert "\x1b" not in told[0]
    assert not any(line != line.rstrip() for line in told[0].splitlines())


def test_letters_that_the_output_has_not_are_escaped(tmp_path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text('format = 1\ntitle = "Größe"\n[[rule]]\ninit."*" = 0\n', encoding="utf-8")
    ran = python(
        "-m", "initpolicy", "plan", f"{EXAMPLES}/mlp.py:mlp", str(file), PYTHONIOENCODING="ascii"
    )
    assert ran.returncode == 0
    assert ran.stdout.startswith("Gr\\xf6\\xdfe, seed 0\n")
    assert "\x1b" not in ran.stdout
