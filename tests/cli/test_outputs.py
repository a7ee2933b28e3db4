"""`--output sarif`, `junit` and `github` of the commands that find something."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
import typer

from initpolicy.cli.options import Output, reporting
from initpolicy.report.findings import Case, Found

DRAWN = "torch.nn:Linear"
SIZE = ("--kwarg", "in_features=30", "--kwarg", "out_features=20")


def results(out: str) -> list[dict]:
    (run,) = json.loads(out)["runs"]
    return run["results"]


def cases(out: str) -> dict[str, list[str]]:
    """The names of the tests, and what is inside each."""
    return {
        test.attrib["name"]: [child.tag for child in test]
        for test in ElementTree.fromstring(out).findall("./testsuite/testcase")
    }


@pytest.fixture
def normal(write) -> str:
    write("p.toml", 'format = 1\n[[rule]]\ninit.weight = "normal"\ninit.bias = "keep"\n')
    return "p.toml"


def test_findings_of_verify(run, normal):
    verify = ("verify", DRAWN, normal, "--law", *SIZE, "--output")
    ran = run(*verify, "sarif")
    assert (ran.code, ran.err) == (1, "")
    (place,) = results(ran.out)[0]["locations"]
    assert place == {
        "physicalLocation": {
            "artifactLocation": {"uri": "p.toml"},
            "region": {"startLine": 3},
        },
        "logicalLocations": [{"fullyQualifiedName": "weight", "kind": "variable"}],
    }
    ran = run(*verify, "junit")
    assert (ran.code, ran.err) == (1, "")
    assert cases(ran.out) == {"weight": ["failure"], "bias": ["skipped"]}
    ran = run(*verify, "github")
    assert (ran.code, ran.err) == (1, "")
    told, annotation = ran.out.splitlines()[0], ran.out.splitlines()[-1]
    assert told.startswith("p.toml: ")
    assert annotation.startswith("::error file=p.toml,line=3,title=IP607::weight: ")


def test_values_that_are_as_stated_have_no_results(run, normal):
    verify = ("verify", DRAWN, "torch", "--law", *SIZE, "--output")
    ran = run(*verify, "sarif")
    assert (ran.code, results(ran.out)) == (0, [])
    assert cases(run(*verify, "junit").out) == {"weight": [], "bias": []}
    assert not [line for line in run(*verify, "github").out.splitlines() if line[:2] == "::"]


def test_warnings_of_plan(run, mlp, policy):
    Path(policy).write_text(
        Path(policy).read_text() + '\n[[rule]]\ntype = "Linear"\ninit.weight = 1\n'
    )
    ran = run("plan", mlp, policy, "--output", "sarif")
    assert (ran.code, ran.err) == (0, "")
    assert {one["level"] for one in results(ran.out)} == {"warning"}
    ran = run("plan", mlp, policy, "--strict", "--output", "junit")
    assert (ran.code, cases(ran.out)) == (1, {"policy.toml": ["system-out"]})
    ran = run("plan", mlp, policy, "--output", "github")
    assert (
        '::warning file=policy.toml,line=14,title=IP204::rule "the head" decides nothing' in ran.out
    )


@pytest.mark.parametrize(
    "command",
    [
        ("plan", DRAWN, "broken.toml", *SIZE),
        ("apply", DRAWN, "broken.toml", *SIZE),
        ("verify", DRAWN, "broken.toml", *SIZE),
        ("lock", DRAWN, "broken.toml", *SIZE),
        ("diff", "broken.toml", "broken.toml"),
    ],
    ids=lambda command: command[0],
)
def test_problems_of_any_command(run, write, command):
    write("broken.toml", "format = 1\ntitel = 3\n")
    ran = run(*command, "--output", "sarif")
    assert (ran.code, ran.err) == (2, "")
    assert [one["ruleId"] for one in results(ran.out)] == ["IP102"] * len(results(ran.out)) != []
    ran = run(*command, "--output", "junit")
    assert (ran.code, ran.err, cases(ran.out)) == (2, "", {"initpolicy": ["error"]})
    ran = run(*command, "--output", "github")
    assert ran.code == 2
    assert "IP102" in ran.err
    assert ran.out.startswith("::error file=broken.toml,line=2,title=IP102::unknown key `titel`")


def test_an_outdated_lock(run, mlp, policy):
    run("lock", mlp, policy)
    assert cases(run("lock", mlp, policy, "--check", "--output", "junit").out) == {
        "policy.toml": [],
        **{f"{layer}.{name}": [] for layer in (0, 2) for name in ("bias", "weight")},
    }
    Path(policy).write_text(Path(policy).read_text().replace("spread = 0.5", "spread = 0.25"))
    check = ("lock", mlp, policy, "--check", "--output")
    ran = run(*check, "github")
    assert ran.code == 1
    assert [line for line in ran.out.splitlines() if line[:2] == "::"] == [
        "::error title=lock-setting::var spread 0.5 -> 0.25",
        "::error file=policy.toml,line=17,title=lock-changed::2.weight: changed: "
        'law N(0, 0.5) -> N(0, 0.25); rule "the head" policy.toml:17',
    ]
    failed = cases(run(*check, "junit").out)
    assert [name for name, inside in failed.items() if inside] == ["var spread", "2.weight"]
    assert len(results(run(*check, "sarif").out)) == 2


def test_values_that_differ_from_a_lock_point_at_their_rule(run, mlp, policy):
    assert run("lock", mlp, policy).code == 0
    ran = run("diff", "policy.lock", mlp, "--output", "github")
    assert ran.code == 1
    told = [line for line in ran.out.splitlines() if line.startswith("::error")]
    assert told
    assert all(",line=" in line and "file=policy.toml" in line for line in told)


def test_differences_of_two_policies(run, policy):
    Path("new.toml").write_text(Path(policy).read_text().replace("init.bias = 0", "init.bias = 1"))
    ran = run("diff", policy, "new.toml", "--output", "github")
    assert ran.code == 1
    assert ran.out.splitlines()[-1] == (
        "::error file=new.toml,line=12,title=policy-key::rule type Linear: "
        "init.bias constant(val=0) -> constant(val=1)"
    )
    assert results(run("diff", policy, policy, "--output", "sarif").out) == []


def test_a_folder_of_policies(run, write):
    write("net.py", "from torch import nn\n\ndef net():\n    return nn.Linear(3, 2)\n")
    write("good.toml", 'format = 1\n#:model net.py:net\n[[rule]]\ninit."*" = 0\n')
    write("bad.toml", "format = 1\n#:model net.py:net\n[[rule]]\ninit.weight = 0\n")
    ran = run("test", ".", "--output", "junit")
    assert (ran.code, ran.err) == (1, "")
    assert cases(ran.out) == {
        "bad.toml with net.py:net": ["failure"],
        "good.toml with net.py:net": [],
    }
    ran = run("test", ".", "--output", "github")
    assert ran.out.splitlines()[-1].startswith("::error file=bad.toml,title=IP201::")
    assert "2 policies checked with 2 models: 1 failed." in ran.out
    assert {one["ruleId"] for one in results(run("test", ".", "--output", "sarif").out)} == {
        "IP201"
    }


def test_a_command_without_findings_gives_an_empty_document(run):
    ran = run("digest", "torch.nn:Identity", "--output", "sarif")
    assert (ran.code, results(ran.out)) == (0, [])


def test_warnings_of_apply(run, mlp, policy):
    Path(policy).write_text(
        Path(policy).read_text() + '\n[[rule]]\ntype = "Linear"\ninit.weight = 1\n'
    )
    ran = run("apply", mlp, policy, "--output", "junit")
    assert (ran.code, cases(ran.out)) == (0, {"policy.toml": ["system-out"]})


def test_findings_are_told_where_a_command_exits_early(capsys):
    def command() -> None:
        with reporting(Output.github) as found:
            found.append(Case("w", (Found("error", "IP604", "differs"),)))
            raise typer.Exit(1)

    with pytest.raises(typer.Exit):
        command()
    assert capsys.readouterr().out == "::error title=IP604::differs\n"
