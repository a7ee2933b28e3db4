"""Every code has a page, and every page is true: its bad example fails with its code alone."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import pytest
import torch
from distributed import run
from torch import nn
from typer.testing import CliRunner

import initpolicy
from initpolicy.cli.app import app
from initpolicy.problems import InitPolicyError, codes, page

SOURCE = Path(initpolicy.__file__).parent


def section(code: str, title: str) -> str:
    return page(code).partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def found(text: str) -> set[str]:
    """The codes that the examples of a section give; those of `torch.distributed` on two ranks."""
    if "torch.distributed" not in text:
        return found_here(text)
    first, second = run(found_on, 2, os.getcwd(), text)
    assert first == second
    return first


def found_on(rank: int, folder: str, text: str) -> set[str]:
    os.chdir(folder)
    return found_here(text)


def found_here(text: str) -> set[str]:
    """Run examples from top to bottom.

    A policy is written to policy.toml, and planned for `model` if it is what comes last. Python
    sees `model`, which is an `nn.Linear` unless it makes another, and what it calls `verdict`
    gives the codes of its findings. Commands are run.
    """
    names = {"torch": torch, "nn": nn, "initpolicy": initpolicy, "model": nn.Linear(4, 2)}
    given: set[str] = set()
    blocks = re.findall(r"```(\w+)\n(.*?)```", text, re.DOTALL)
    assert blocks
    for number, (language, body) in enumerate(blocks, 1):
        try:
            if language == "toml":
                Path("policy.toml").write_text(body)
                if number == len(blocks):
                    plan = initpolicy.plan(names["model"], "policy.toml")
                    given |= {problem.code for problem in plan.warnings}
            elif language == "python":
                exec(body, names)
                given |= {found.code for found in getattr(names.get("verdict"), "findings", ())}
            else:
                assert language == "console"
                given |= from_commands(body)
        except InitPolicyError as error:
            given |= {problem.code for problem in error.problems}
    return given


def from_commands(body: str) -> set[str]:
    given: set[str] = set()
    for line in body.splitlines():
        prompt, command, *arguments = shlex.split(line)
        assert (prompt, command) == ("$", "initpolicy")
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code in (0, 2)
        assert result.exception is None or isinstance(result.exception, SystemExit)
        told = re.findall(r"\bIP\d+\b", result.stderr)
        assert bool(told) == (result.exit_code == 2)
        given |= set(told)
    return given


def test_every_code_that_is_raised_has_a_page_and_the_other_way_round() -> None:
    raised = {
        code
        for file in SOURCE.rglob("*.py")
        for code in re.findall(r"\"(IP\d{3})\"", file.read_text(encoding="utf-8"))
    }
    assert raised == set(codes())


@pytest.mark.parametrize("code", codes())
def test_a_page_has_a_title_a_paragraph_and_three_sections(code: str) -> None:
    text = page(code)
    assert re.match(rf"# {code}: [^\n.]+\n\n[^\n#]", text)
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == ["Bad", "Good", "Why"]
    assert text.endswith("\n")
    assert max(map(len, re.sub(r"```.*?```", "", text, flags=re.DOTALL).splitlines())) <= 99


@pytest.mark.parametrize("code", codes())
def test_the_bad_example_has_this_problem_alone(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert found(section(code, "Bad")) == {code}


@pytest.mark.parametrize("code", codes())
def test_the_good_example_has_no_problem(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert found(section(code, "Good")) == set()


def test_an_unknown_code_has_no_page() -> None:
    with pytest.raises(KeyError):
        page("IP999")
