"""What docs/lock.md shows is what happens."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

DOCUMENT = (Path(__file__).parents[2] / "docs" / "lock.md").read_text(encoding="utf-8")

MODEL = """
from torch import nn


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)


class Gpt(nn.Module):
    def __init__(self, depth=12, width=64):
        super().__init__()
        self.wte = nn.Embedding(96, width)
        self.h = nn.ModuleList([Block(width) for _ in range(depth)])
        self.head = nn.Linear(width, 96, bias=False)
        self.head.weight = self.wte.weight
"""
POLICY = """
format = 1
title = "A small GPT"

[[rule]]
type = ["Linear", "Embedding"]
init.weight = { fn = "normal", std = 0.02 }
init.bias = 0
"""
RESIDUAL = """
[[rule]]
name = "h.*.proj"
note = "residual projections shrink with depth"
init.weight = { fn = "normal", std = "0.02 / sqrt(2 * 12)" }
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCUMENT, re.DOTALL)


@pytest.fixture
def locked(run, write) -> None:
    write("gpt.py", MODEL)
    write("gpt.toml", POLICY)
    assert run("lock", "gpt.py:Gpt", "gpt.toml").code == 0


def shown(block: str, run) -> tuple[str, str, int]:
    command, _, expected = block.partition("\n")
    assert command.startswith("$ initpolicy ")
    ran = run(*shlex.split(command)[2:])
    return ran.out, expected, ran.code


def test_the_commands_give_what_is_shown(run, locked, tmp_path) -> None:
    (text,) = blocks("text")
    assert (tmp_path / "gpt.lock").read_text().startswith(text)
    written, checked = blocks("console")
    (tmp_path / "gpt.lock").unlink()
    out, expected, code = shown(written, run)
    assert (out, code) == (expected, 0)
    with (tmp_path / "gpt.toml").open("a") as file:
        file.write(RESIDUAL)
    out, expected, code = shown(checked, run)
    assert (out, code) == (expected, 1)


def test_the_hook_and_the_action_run_commands_that_there_are(run, locked, tmp_path) -> None:
    hook, action = map(yaml.safe_load, blocks("yaml"))
    ((hook,),) = [repository["hooks"] for repository in hook["repos"]]
    assert all(re.search(hook["files"], name) for name in ("gpt.toml", "gpt.lock", "gpt.py"))
    (tmp_path / "base.lock").write_bytes((tmp_path / "gpt.lock").read_bytes())
    steps = [step["run"] for step in action["jobs"]["lock"]["steps"] if "run" in step]
    for text in (hook["entry"], *steps):
        for line in text.splitlines():
            words = shlex.split(line.partition(" >> ")[0])
            if words[0] == "initpolicy":
                assert run(*words[1:]).code == 0


def test_the_table_of_what_is_compared(run, locked, write, tmp_path) -> None:
    write("old.toml", POLICY)
    write("new.toml", POLICY)
    for name in ("old", "new"):
        write(f"{name}.py", MODEL)
        (tmp_path / f"{name}.lock").write_bytes((tmp_path / "gpt.lock").read_bytes())
        plan = run("plan", "gpt.py:Gpt", "gpt.toml", "--output", "json").out
        (tmp_path / f"{name}.json").write_text(plan)
    with (tmp_path / "gpt.py").open("a") as file:
        file.write("\ndef trained():\n    import initpolicy\n    model = Gpt()\n")
        file.write('    initpolicy.apply(model, "gpt.toml")\n    return model\n')
    run("apply", "gpt.py:Gpt", "gpt.toml", "--out", "model.safetensors")
    rows = re.findall(r"^\| `(diff .*?)` \|", DOCUMENT, re.MULTILINE)
    assert len(rows) == 8
    for row in rows:
        words = row.replace("MODEL", "gpt.py:Gpt").replace("POLICY", "gpt.toml").split()
        ran = run(*words)
        assert (ran.code, ran.err) == (0, ""), row


def test_the_python_runs(locked, tmp_path) -> None:
    import initpolicy
    from initpolicy.model import load_model

    (block,) = blocks("python")
    model = load_model("gpt.py:Gpt", {})
    initpolicy.apply(model, "gpt.toml")
    names = {"initpolicy": initpolicy, "model": model}
    exec(block, names)
    assert names["found"].same
