"""What was once met with a traceback, without end, or not at all, each as it was found."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from torch import nn
from typer.testing import CliRunner

import initpolicy
from initpolicy.cli.app import app
from initpolicy.plans import Plan
from initpolicy.policy.files import LARGEST_FILE
from initpolicy.policy.load import load, parse
from initpolicy.policy.mistakes import MOST_BRACED, MOST_PROBLEMS
from initpolicy.problems import InitPolicyError

RULE = 'format = 1\n[[rule]]\ninit."*" = '
HUGE = "1" * 400  # too large for a float, and small enough for Python to read


def refused(code: str, read: Any, *given: Any, **named: Any) -> str:
    with pytest.raises(InitPolicyError) as caught:
        read(*given, **named)
    assert {problem.code for problem in caught.value.problems} == {code}
    return caught.value.problems[0].message


# Policies


def test_a_whole_number_of_thousands_of_digits() -> None:
    message = refused("IP101", parse, f"format = 1\nseed = {'1' * 5000}")
    assert message == "a number has thousands of digits"


@pytest.mark.parametrize("key", ["a" + ".a" * 40, "[" + "a." * 40 + "a]\nb", '"a"' + ' . "b"' * 40])
def test_a_key_of_more_parts_than_parsers_can_bear(key: str) -> None:
    message = refused("IP101", parse, f"format = 1\n{key} = 1")
    assert message == "not valid TOML, column 1: a key has more than 32 parts"


@pytest.mark.parametrize("text", ["...." * 100, "a.b." * 100, 'a\\".b.' * 100])
def test_dots_in_texts_are_no_parts_of_keys(text: str) -> None:
    assert parse(f'format = 1\ntitle = "{text}"\n[[rule]]\ninit.a = 0\n').title


def test_names_of_files_that_no_system_takes() -> None:
    for name in ("a" * 5000, "a/" * 5000, "a\0b"):
        refused("IP110", load, name)
        refused("IP110", parse, f"format = 1\nextends = [{json.dumps(name)}]\n[[rule]]\ninit.a = 0")


def test_a_pipe_is_no_policy(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "policy.toml")
    refused("IP110", load, tmp_path / "policy.toml")


def test_a_policy_that_never_ends() -> None:
    refused("IP110", load, "/dev/zero")


def test_a_policy_that_is_too_large(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text("#" * (LARGEST_FILE + 1))
    refused("IP101", load, tmp_path / "policy.toml")


def test_more_mistakes_than_anyone_reads() -> None:
    rules = "\n".join(f'init.w{number} = "nrmal"' for number in range(MOST_PROBLEMS + 10))
    with pytest.raises(InitPolicyError) as caught:
        parse(f"format = 1\n[[rule]]\n{rules}")
    assert len(caught.value.problems) == MOST_PROBLEMS


def test_more_globs_with_braces_than_anyone_writes() -> None:
    globs = ", ".join(f'"{{a,b}}{number}"' for number in range(MOST_BRACED + 1))
    message = refused("IP106", parse, f"format = 1\n[[rule]]\nname = [{globs}]\ninit.a = 0")
    assert message.endswith('a policy has more than 1000 globs with braces; write "*" in some')


def test_policies_that_extend_each_other(tmp_path: Path) -> None:
    for one, other in (("a", "b"), ("b", "a")):
        (tmp_path / f"{one}.toml").write_text(f'format = 1\nextends = ["{other}.toml"]\n')
    refused("IP105", load, tmp_path / "a.toml")


def test_a_chain_of_many_policies(tmp_path: Path) -> None:
    for number in range(100):
        text = f'format = 1\nextends = ["{number + 1}.toml"]\n[[rule]]\ninit.a = 0\n'
        (tmp_path / f"{number}.toml").write_text(text)
    refused("IP105", load, tmp_path / "0.toml")


def test_policies_that_would_double_at_each_step_are_read_once(tmp_path: Path) -> None:
    for number in range(14):
        text = f'format = 1\nextends = ["{number + 1}.toml", "{number + 1}.toml"]\n'
        (tmp_path / f"{number}.toml").write_text(text + "[[rule]]\ninit.a = 0\n")
    (tmp_path / "14.toml").write_text("format = 1\n[[rule]]\ninit.a = 0\n")
    assert len(load(tmp_path / "0.toml").rules) == 15


@pytest.mark.parametrize(
    "arguments", [f"chunks = {HUGE}", f"scale = {HUGE}", f"zero_index = {HUGE}"]
)
def test_a_number_that_is_no_float(arguments: str) -> None:
    policy = parse(f'{RULE}{{ fn = "normal", std = 1, {arguments} }}')
    refused("IP205", initpolicy.plan, nn.Linear(4, 4), policy)


@pytest.mark.parametrize(
    "call",
    [
        'fn = "normal", std = 1e308',
        'fn = "trunc_normal", std = 1e308',
        'fn = "uniform", a = -1e308, b = 1e308',
        'fn = "xavier_uniform", gain = "10 ** 300"',
    ],
)
def test_a_law_whose_variance_is_no_float(call: str) -> None:
    refused("IP206", initpolicy.plan, nn.Linear(4, 4), parse(f"{RULE}{{ {call} }}"))


def test_variables_that_lead_from_one_to_the_next() -> None:
    chain = "\n".join(f'vars.v{number} = "v{number + 1} + 1"' for number in range(3000))
    policy = parse(
        f'format = 1\n{chain}\nvars.v3000 = 1\n[[rule]]\ninit."*" = {{ fn = "normal", std = "v0" }}'
    )
    message = refused("IP205", initpolicy.plan, nn.Linear(4, 4), policy)
    assert message.endswith("variable `v0` is defined through too many others, one by the next")


# Plans


def planned(**changed: Any) -> dict[str, Any]:
    data = initpolicy.plan(nn.Linear(4, 4), "torch").to_json()
    if changed.keys() <= data.keys():
        return data | changed
    data["decisions"][0] |= changed
    return data


NORMAL = {"kind": "normal", "mean": 0.0, "std": 1.0}
WARNING = {"code": "IP201", "message": "", "hint": "", "file": None, "line": None}


@pytest.mark.parametrize(
    "changed",
    [
        {"variables": {"a": 10**400}},
        {"seed": 2**64},
        {"warnings": [WARNING | {"severity": "fatal"}]},
        {"warnings": [WARNING | {"severity": "error", "file": 3}]},
        {"dtype": "os"},
        {"dtype": "float31"},
        {"shape": [2**40, 2**40]},
        {"shape": [1] * 65},
        {"law": {"kind": "zero_rows", "law": NORMAL, "rows": [10**30]}},
        {"law": {"kind": "zero_rows", "law": NORMAL, "rows": [4]}},
    ],
)
def test_a_plan_that_no_model_can_have(changed: dict[str, Any]) -> None:
    refused("IP302", Plan.from_json, planned(**changed))


def test_a_plan_in_which_laws_lie_too_deep() -> None:
    law: dict[str, Any] = NORMAL
    for _ in range(5000):
        law = {"kind": "zero_rows", "law": law, "rows": [0]}
    refused("IP302", Plan.from_json, planned(law=law))
    refused("IP302", Plan.from_json, "[" * 100_000)


@pytest.mark.parametrize("exact", [True, False])
def test_a_plan_that_takes_values_from_what_is_no_checkpoint(exact: bool) -> None:
    law = {"kind": "from_file", "path": "/etc/passwd", "key": "a", "rows": None, "repeat": 1}
    plan = Plan.from_json(planned(law=law | {"factor": 1.0}))
    values = nn.Linear(4, 4).state_dict()
    refused("IP216", initpolicy.verify, values, plan, exact=exact)


# The command line


def misused(*arguments: str) -> str:
    ran = CliRunner().invoke(app, arguments)
    assert isinstance(ran.exception, SystemExit)
    assert ran.exit_code == 2
    return ran.stderr


def test_a_plan_that_is_a_pipe_nobody_writes_to(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "plan.json")
    told = misused("apply", "torch.nn:Identity", "--plan", str(tmp_path / "plan.json"))
    assert "IP403" in told
    assert "it is no file" in told.replace("\n", " ")


def test_a_plan_that_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("initpolicy.cli.inputs.LARGEST_PLAN", 1000)
    assert "larger than 1,000 bytes" in misused(
        "apply", "torch.nn:Identity", "--plan", "/dev/zero"
    ).replace("\n", " ")


def test_a_diff_of_names_that_no_system_takes() -> None:
    assert "IP110" in misused("diff", "a" * 5000, "torch")
