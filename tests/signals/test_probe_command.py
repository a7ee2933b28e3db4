"""`initpolicy probe`: exit codes, and what it prints."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

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
    assert "\nA  good.toml, 3 draws from seed 0: healthy" in out
    assert "\nB  bad.toml, 3 draws from seed 0: not healthy" in out
    code, out, _ = run(MODEL, "good.toml", "bad.toml", "--input", "16,8", "--output", "json")
    assert code == 1
    assert [one["ok"] for one in json.loads(out)] == [True, False]


def test_parameters_and_attention_of_two_policies_stand_side_by_side() -> None:
    Path("net.py").write_text(
        "from torch import nn\n\n\n"
        "def net():\n    return nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)\n"
    )
    both = (MODEL, "good.toml", "bad.toml", "--input", "2,4,8", "--parameters")
    tables = run(*both)[1].split("\n\n")
    head, *rows = (line.split() for line in tables[1].splitlines())
    assert " ".join(head) == "layer attention logit std A logit std B entropy A entropy B"
    single = run(MODEL, "bad.toml", "--input", "2,4,8")[1].split("\n\n")[1].splitlines()[1].split()
    assert [rows[0][3], rows[0][5]] == single[2:]
    head, *rows = (line.split() for line in tables[2].splitlines())
    assert " ".join(head) == "parameter size A size B gradient A gradient B update A update B"
    sizes = next(row for row in rows if row[0] == "linear1.weight")
    assert float(sizes[1]) == pytest.approx(0.3, rel=0.2)
    assert float(sizes[2]) == pytest.approx(30, rel=0.2)


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


FINDING = "98% of its units are saturated; 0.weight begins as N(0, 30) (bad.toml:3)"


def test_findings_for_programs_point_at_the_rule_that_won() -> None:
    probe = (MODEL, "bad.toml", "--input", "16,8", "--draws", "1", "--output")
    code, out, err = run(*probe, "sarif")
    assert (code, err) == (1, "building\n")
    (sarif,) = json.loads(out)["runs"]
    (result,) = sarif["results"]
    assert (result["ruleId"], result["level"]) == ("IP761", "error")
    assert result["message"]["text"] == f"1 (tanh): {FINDING}"
    (place,) = result["locations"]
    assert place["physicalLocation"] == {
        "artifactLocation": {"uri": "bad.toml"},
        "region": {"startLine": 3},
    }
    code, out, _ = run(*probe, "github")
    assert code == 1
    assert out.splitlines()[0].split()[:2] == ["layer", "function"]
    assert out.splitlines()[-1] == (
        f"::error file=bad.toml,line=3,title=IP761::1 (tanh): {FINDING.replace('%', '%25')}"
    )
    code, out, _ = run(*probe, "junit")
    assert code == 1
    tests = ElementTree.fromstring(out).findall("./testsuite/testcase")
    assert [(test.attrib["name"], len(test)) for test in tests] == [
        ("0 (linear)", 0), ("1 (tanh)", 1), ("2 (linear)", 0)
    ]  # fmt: skip
    code, out, _ = run(*probe, "json")
    (finding,) = json.loads(out)["conditions"][0]["findings"]
    assert (finding["weight"], finding["file"], finding["line"]) == ("0.weight", "bad.toml", 3)


def test_a_healthy_model_has_no_results_and_two_policies_are_told_apart() -> None:
    code, out, _ = run(MODEL, "good.toml", "--input", "16,8", "--output", "sarif")
    assert (code, json.loads(out)["runs"][0]["results"]) == (0, [])
    both = (MODEL, "good.toml", "bad.toml", "--input", "16,8", "--draws", "1", "--output")
    tests = ElementTree.fromstring(run(*both, "junit")[1]).findall("./testsuite/testcase")
    failed = [test.attrib["name"] for test in tests if len(test)]
    assert (len(tests), failed) == (6, ["bad.toml: 1 (tanh)"])
    assert (
        run(*both, "github")[1]
        .splitlines()[-1]
        .endswith(f"::bad.toml: 1 (tanh): {FINDING.replace('%', '%25')}")
    )


def test_a_plan_in_place_of_a_policy() -> None:
    command = ["plan", MODEL, "good.toml", "--seed", "5", "--output", "json"]
    Path("plan.json").write_text(CliRunner().invoke(app, command).stdout)
    code, out, _ = run(MODEL, "--plan", "plan.json", "--input", "16,8", "--output", "json")
    same = run(MODEL, "good.toml", "--seed", "5", "--input", "16,8", "--output", "json")
    assert (code, json.loads(out)) == (0, json.loads(same[1]))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((MODEL, "--input", "8,8"), "IP404 probe is given neither a policy nor a plan"),
        (
            (MODEL, "--plan", "x.json", "--seed", "1", "--input", "8,8"),
            "IP404 a plan has its seed and its variables; leave out `--seed`",
        ),
        ((MODEL, "good.toml", "--plan", "x", "--input", "8,8"), "IP404 probe is given both"),
        ((MODEL, "--plan", "x.json", "--input", "8,8"), "IP403 x.json cannot be read"),
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
