"""`initpolicy probe`: exit codes, and what it prints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from initpolicy.cli.app import app

MODEL = "net.py:net"
POLICY = 'format = 1\n[[rule]]\ninit."*" = {{ fn = "normal", std = {} }}\n'


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(
        "import torch\nfrom torch import nn\n\n\n"
        "def net(width=30):\n"
        "    print('building')\n"
        "    return nn.Sequential(nn.Linear(8, width), nn.Tanh(), nn.Linear(width, 2))\n\n\n"
        "def batch():\n    return torch.randn(16, 8)\n"
    )
    Path("good.toml").write_text(POLICY.format(0.3))
    Path("bad.toml").write_text(POLICY.format(30))


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["probe", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.stdout, result.stderr


def test_a_healthy_model_exits_with_0_and_a_saturated_one_with_1() -> None:
    code, out, err = run(MODEL, "good.toml", "--input", "16,8")
    assert (code, err) == (0, "building\n")
    header, first, second, *_ = out.splitlines()
    names = ["layer", "function", "mean", "std", "zero", "dead", "saturated", "gradient"]
    assert header.split() == names
    assert first.split()[:2] == ["0", "linear"]
    assert second.split()[:2] == ["1", "tanh"]
    assert "good.toml, 3 draws from seed 0: healthy (3 layers)\n" in out
    code, out, _ = run(MODEL, "bad.toml", "--input", "16,8", "--draws", "1", "--seed", "4")
    assert code == 1
    assert "bad.toml, 1 draw seed 4: not healthy" in out
    assert "  NO   no layer is saturated\n         IP761 1 (tanh): 9" in out


def test_limits_can_be_set() -> None:
    assert run(MODEL, "bad.toml", "--input", "16,8", "--max-saturated", "1")[0] == 0
    assert run(MODEL, "good.toml", "--input", "16,8", "--min-signal", "1")[0] == 1


def test_two_policies_stand_side_by_side() -> None:
    code, out, _ = run(MODEL, "good.toml", "bad.toml", "--input", "16,8")
    assert code == 1
    assert out.split("\n")[0].split()[2:6] == ["std", "A", "std", "B"]
    assert "good.toml, 3 draws from seed 0: healthy" in out
    assert "bad.toml, 3 draws from seed 0: not healthy" in out
    code, out, _ = run(MODEL, "good.toml", "bad.toml", "--input", "16,8", "--output", "json")
    assert code == 1
    assert [one["ok"] for one in json.loads(out)] == [True, False]


def test_json_is_the_probe() -> None:
    code, out, _ = run(MODEL, "good.toml", "--input", "16,8", "--output", "json")
    assert code == 0
    found = json.loads(out)
    assert (found["policy"], found["seeds"], found["ok"]) == ("good.toml", [0, 1, 2], True)
    assert [one["name"] for one in found["parameters"]][:2] == ["0.weight", "0.bias"]


def test_a_callable_gives_the_batch_and_parameters_are_shown() -> None:
    code, out, _ = run(MODEL, "good.toml", "--input", "net.py:batch", "--parameters")
    assert code == 0
    assert "parameter" in out
    assert "2.weight" in out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((MODEL, "good.toml"), "IP751 probe is given no input; write `--input 8,3,224,224`"),
        ((MODEL, "good.toml", "--input", "8;8"), "IP751 there is no input '8;8'"),
        ((MODEL, "good.toml", "--input", "8,9"), "IP752 the model cannot be run on this input"),
        ((MODEL, "good.toml", "--input", "8,8", "--loss", "x"), "IP753 there is no loss 'x'"),
        ((MODEL, "good.toml", "--input", "8,8", "--max-dead", "2"), "IP753 the limit dead=2.0"),
        ((MODEL, "no.toml", "none.toml", "--input", "8,8"), "none.toml"),
    ],
)
def test_misuse_exits_with_2(arguments: tuple[str, ...], told: str) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert told in err
