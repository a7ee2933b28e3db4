"""Policies, checked against the models that they name."""

from __future__ import annotations

import json
import re
from pathlib import Path
from textwrap import dedent

import pytest
from typer.testing import CliRunner

from initpolicy.cli.app import app
from initpolicy.testing import assert_policies
from initpolicy.testing.assertions import PoliciesError

NET = """
    from torch import nn

    def mlp(width=4, depth=1):
        print("building")
        return nn.Sequential(*(nn.Linear(width, width) for _ in range(depth)), nn.LayerNorm(width))
    """
RULES = """
    format = 1

    [[rule]]
    type = "Linear"
    init.weight = "xavier_uniform"
    init.bias = 0

    [[rule]]
    type = "LayerNorm"
    init.weight = 1
    init.bias = 0
    """


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Writes policies beside a model, and gives the outcome of the command."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "net.py").write_text(dedent(NET))

    def write(**policies):
        for name, text in policies.items():
            (tmp_path / "policies" / f"{name}.toml").write_text(dedent(text).lstrip())

    return write


def run(*arguments):
    result = CliRunner().invoke(app, ["test", *arguments], prog_name="initpolicy")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def test_policies_that_hold(folder):
    folder(
        deep="#:model net.py:mlp { depth = 3 }\n#:model net.py:mlp" + dedent(RULES),
        base="#:schema policy.schema.json\n#:model none\nformat = 1",
    )
    code, out, err = run("policies")
    assert code == 0
    assert out.splitlines() == [
        "policies/base.toml: no model, for it is to be extended",
        "policies/deep.toml with net.py:mlp { depth = 3 }: 8 tensors, 68 values",
        "policies/deep.toml with net.py:mlp: 4 tensors, 28 values",
        "2 policies checked with 2 models: all hold.",
    ]
    assert "building" in err
    assert_policies("policies")
    assert run("policies/deep.toml")[1].endswith("1 policy checked with 2 models: all hold.\n")


def test_everything_that_is_wrong_is_told(folder):
    folder(
        uncovered="#:model net.py:mlp\nformat = 1\n[[rule]]\ntype = 'Linear'\ninit.'*' = 0",
        unreadable="#:model net.py:mlp\nformat = ",
        unnamed=RULES,
        unbuilt="#:model net.py:mpl" + dedent(RULES),
        misspelt="#:modle net.py:mlp" + dedent(RULES),
        fine="#:model net.py:mlp" + dedent(RULES),
    )
    code, out, _ = run("policies")
    assert code == 1
    lines = out.splitlines()
    assert lines[-1] == "6 policies checked with 3 models: 5 failed."
    told = [line for line in lines[:-1] if ": IP" in line]
    assert [line.partition(" ")[2].split(" ")[0] for line in told] == [
        "IP567",
        "IP401",
        "IP201",
        "IP566",
        "IP101",
    ]
    assert (
        "policies/misspelt.toml:1: IP567 `#:modle` means nothing here; did you mean `#:model`?"
        in out
    )
    assert "policies/unbuilt.toml:1: IP401 " in out
    with pytest.raises(PoliciesError) as caught:
        assert_policies("policies")
    assert [problem.code for problem in caught.value.problems] == [
        line.partition(" ")[2].split(" ")[0] for line in told
    ]


def test_a_key_that_no_model_needs_is_a_warning(folder):
    more = "[[rule]]\ntype = 'Conv2d'\noptional = true\ninit.weight = 0"
    folder(one="#:model net.py:mlp" + dedent(RULES) + more)
    code, out, _ = run("policies")
    assert code == 0
    assert (
        "policies/one.toml:16: IP568 rule type Conv2d: `init.weight` is not needed by any of the "
        "models named; name a model that has such a tensor, or take it out" in out
    )
    assert run("policies", "--strict")[0] == 1
    assert_policies("policies")
    with pytest.raises(PoliciesError, match="IP568"):
        assert_policies("policies", strict=True)


def test_a_library_that_is_not_installed(folder):
    needs = "#:needs no_such_library\n#:needs torch\n#:model no_such_library:Model"
    folder(one=needs + dedent(RULES), two="#:needs torch\n#:model net.py:mlp" + dedent(RULES))
    code, out, _ = run("policies")
    assert code == 0
    assert out.splitlines() == [
        "policies/one.toml: left out",
        "policies/one.toml:1: IP569 `no_such_library` is not installed: the policy was not "
        "checked; install it to check the policy",
        "policies/two.toml with net.py:mlp: 4 tensors, 28 values",
        "1 policy checked with 1 model: 1 left out, all hold.",
    ]
    assert run("policies", "--strict")[0] == 1
    assert run("policies/one.toml")[1].endswith(
        "0 policies checked with 0 models: 1 left out, nothing was checked.\n"
    )
    assert_policies("policies")
    with pytest.raises(PoliciesError, match="IP569"):
        assert_policies("policies", strict=True)


def test_a_library_that_is_missing_without_being_announced(folder):
    folder(one="#:model no_such_library:Model" + dedent(RULES))
    code, out, _ = run("policies")
    assert code == 1
    assert "policies/one.toml:1: IP401 there is no module 'no_such_library'" in out


def test_json(folder):
    folder(one="#:model net.py:mlp" + dedent(RULES), two=RULES)
    code, out, _ = run("policies", "--output", "json")
    assert code == 1
    document = json.loads(out)
    assert document["ok"] is False
    one, two = document["policies"]
    assert one == {
        "policy": "policies/one.toml",
        "ok": True,
        "examples": [
            {"model": "net.py:mlp", "ok": True, "tensors": 4, "values": 28, "problems": []}
        ],
        "problems": [],
    }
    assert two["problems"][0]["code"] == "IP566"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "#:model net.py",
            "`#:model net.py` names no model with its arguments: net.py names no callable",
        ),
        ("#:model", "`#:model` names no model with its arguments: nothing names no callable"),
        (
            "#:model net.py:mlp 3",
            "`#:model net.py:mlp 3` names no model with its arguments: it is no table",
        ),
        (
            "#:model net.py:mlp { depth = }",
            "`#:model net.py:mlp { depth = }` names no model with its arguments: ",
        ),
        (
            "#:model net.py:mlp\n#:model none",
            "the policy names models, and says that it names none; ",
        ),
    ],
)
def test_lines_that_name_no_model(folder, line, message):
    folder(one=f"{line}{dedent(RULES)}")
    code, out, _ = run("policies")
    assert code == 1
    assert f"policies/one.toml:1: IP567 {message}" in out


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("#:needs", "`#:needs` names no library; write `#:needs timm`, one a line"),
        ("#:needs a, b", "`#:needs a, b` names no library; write `#:needs timm`, one a line"),
        ("#:need timm", "`#:need` means nothing here; did you mean `#:needs`?"),
    ],
)
def test_lines_that_name_no_library(folder, line, message):
    folder(one=f"{line}\n#:model net.py:mlp{dedent(RULES)}")
    code, out, _ = run("policies")
    assert code == 1
    assert f"policies/one.toml:1: IP567 {message}" in out


def test_misuse(folder):
    assert run("nowhere") == (
        2,
        "",
        "IP565 nowhere is no folder; name a folder of TOML files, or one of them\n",
    )
    assert run("policies")[2].startswith("IP565 policies has no policies; ")


def test_values_that_differ_are_told(folder, monkeypatch):
    """Two weights share memory and are not the same: what one was given, the other is not."""
    folder(one="#:model net2.py:two\nformat = 1\n[[rule]]\ninit.weight = 'normal'")
    Path("policies/net2.py").write_text(
        "import torch\n"
        "from torch import nn\n"
        "def two():\n"
        "    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 2, bias=False))\n"
        "    model[1].weight.data = model[0].weight.data[:2]\n"
        "    return model\n"
    )
    code, out, _ = run("policies")
    assert code == 1
    assert "policies/one.toml with net2.py:two: failed" in out
    assert "policies/one.toml:4: IP604 0.weight: 8 of 16 values differ" in out


def test_the_example_of_the_documentation(folder):
    text = (Path(__file__).parents[2] / "docs" / "testing.md").read_text(encoding="utf-8")
    policy = re.search(r"```toml\n(#:model.*?)```", text, re.S)
    shown = re.search(r"```\n\$ initpolicy test policies\n(.*?)```", text, re.S)
    folder(mlp=policy[1])
    Path("policies/models.py").write_text(
        "from torch import nn\n"
        "def mlp(depth, act):\n"
        "    return nn.Sequential(*(nn.Linear(4, 4) for _ in range(depth)))\n"
        "def tiny_mlp():\n"
        "    return mlp(1, 'relu')\n"
    )
    assert run("policies") == (0, shown[1], "")
