"""`initpolicy verify`: exit codes, and what it prints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from initpolicy.cli.app import app

MODEL = "net.py:net"


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(
        "from torch import nn\n\n\ndef net(width=30):\n    return nn.Linear(width, 20)\n"
    )
    Path("p.toml").write_text('format = 1\n[[rule]]\ninit."*" = "normal"\n')


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.stdout, result.stderr


def saved(*options: str) -> None:
    code, _, err = run("apply", MODEL, "p.toml", "--out", "m.safetensors", "-q", *options)
    assert (code, err) == (0, "")


def test_a_checkpoint_that_is_as_stated_exits_with_0() -> None:
    saved("--seed", "3")
    code, out, err = run("verify", "m.safetensors", "p.toml", "--model", MODEL, "--seed", "3")
    assert (code, err) == (0, "")
    assert out == "p.toml, seed 3: as stated (2 tensors: 2 exactly)\n"
    assert run("verify", "m.safetensors", "p.toml", "--model", MODEL, "--law")[0] == 0


def test_findings_exit_with_1() -> None:
    saved("--seed", "3")
    code, out, err = run("verify", "m.safetensors", "p.toml", "--model", MODEL)
    assert (code, err) == (1, "")
    assert out.startswith("p.toml, seed 0: 2 findings (2 tensors: 2 exactly)\n")
    assert "from another seed" in out


def test_a_plan_needs_no_model() -> None:
    saved()
    _, plan, _ = run("plan", MODEL, "p.toml", "--output", "json")
    Path("plan.json").write_text(plan)
    code, out, _ = run("verify", "m.safetensors", "--plan", "plan.json", "--output", "json")
    assert code == 0
    assert json.loads(out)["ok"] is True


def test_a_model_is_judged_as_it_is_built() -> None:
    code, out, _ = run("verify", MODEL, "p.toml", "--law", "--output", "json")
    assert code == 1
    found = json.loads(out)["findings"]
    assert {item["name"] for item in found} == {"weight", "bias"}
    assert found[0]["file"] == "p.toml"
    assert run("verify", MODEL, "torch", "--law", "--kwarg", "width=80")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("m.safetensors",), "IP404 verify is given neither a policy nor a plan"),
        ((MODEL, "p.toml", "--model", MODEL), "IP404 net.py:net is a model itself"),
        ((MODEL, "--plan", "x.json", "--seed", "1"), "IP404 a plan has its seed"),
        (("m.safetensors", "p.toml"), "IP601 a checkpoint does not say what modules"),
        (("none.safetensors", "p.toml", "--model", MODEL), "IP504 none.safetensors"),
        ((MODEL, "p.toml", "--law", "--alpha", "2"), "IP601 alpha must lie between 0 and 1"),
    ],
)
def test_misuse_exits_with_2(arguments: tuple[str, ...], told: str) -> None:
    saved()
    code, out, err = run("verify", *arguments)
    assert (code, out) == (2, "")
    assert told in err


def locked(*options: str) -> None:
    saved("--seed", "3")
    code, _, err = run("lock", MODEL, "p.toml", "--seed", "3", *options)
    assert (code, err) == (0, "")


@pytest.mark.parametrize("options", [(), ("--no-digests",)])
def test_a_lock_is_compared_with_values_and_needs_no_model(options: tuple[str, ...]) -> None:
    locked(*options)
    ran = run("verify", "m.safetensors", "--lock", "p.lock")
    assert ran == (0, "2 tensors compared: nothing differs.\n", "")
    saved("--seed", "4")
    code, out, err = run("verify", "m.safetensors", "--lock", "p.lock")
    assert (code, err) == (1, "")
    assert out == (
        "2 tensors with other values: bias, weight\n"
        "  law  N(0, 1)\n"
        "  rule  for every module p.toml:3\n"
        "2 tensors compared: 2 differ.\n"
    )
    code, out, _ = run("verify", "m.safetensors", "--lock", "p.lock", "--output", "github")
    assert code == 1
    assert out.splitlines()[-1].startswith("::error file=p.toml,line=3,title=values-values::weight")


def test_a_lock_is_compared_with_a_policy_too() -> None:
    locked()
    verify = ("verify", "m.safetensors", "p.toml", "--lock", "p.lock", "--model", MODEL)
    assert run(*verify, "--seed", "3") == (0, "2 tensors compared: nothing differs.\n", "")
    code, out, _ = run(*verify)
    assert (code, out.splitlines()[0]) == (1, "seed  3 -> 0")
    Path("p.toml").write_text('format = 1\nseed = 3\n[[rule]]\ninit."*" = "ones"\n')
    code, out, _ = run(*verify, "--output", "json")
    assert code == 1
    told = json.loads(out)
    assert (told["same"], told["values"]["same"], told["plan"]["same"]) == (False, True, False)
    _, plan, _ = run("plan", MODEL, "p.toml", "--output", "json")
    Path("plan.json").write_text(plan)
    assert run("verify", "m.safetensors", "--lock", "p.lock", "--plan", "plan.json")[0] == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("m.safetensors", "--law"), "IP404 a lock says which values, and not only which laws"),
        (("m.safetensors", "--seed", "1"), "IP404 a lock has its seed and its variables"),
        (("m.safetensors", "p.toml"), "IP404 a policy says nothing of a checkpoint without its"),
        (("none.safetensors",), "IP504 none.safetensors"),
    ],
)
def test_misuse_of_a_lock_exits_with_2(arguments: tuple[str, ...], told: str) -> None:
    locked()
    code, out, err = run("verify", *arguments, "--lock", "p.lock")
    assert (code, out) == (2, "")
    assert told in err
