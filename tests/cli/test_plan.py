from __future__ import annotations

import json

import initpolicy
from initpolicy import Plan

TEXT = """\
Two layers, seed 3
policy.toml: a test

tensor    shape  type     begins as           because
0.weight  4 x 8  float32  U(-0.7071, 0.7071)  policy.toml:11  xavier_uniform
0.bias    4      float32  0                   policy.toml:12  constant(val=0)
2.weight  2 x 4  float32  N(0, 0.5)           policy.toml:17  normal(std=spread)
2.bias    2      float32  0                   policy.toml:12  constant(val=0)

It would fill 4 parameter tensors (46 values).
Every tensor is filled.
"""


def test_a_plan_shows_every_tensor_that_is_filled(run, mlp, policy) -> None:
    ran = run("plan", mlp, policy)
    assert (ran.code, ran.out, ran.err) == (0, TEXT, "")


def test_seed_variables_and_arguments_are_those_of_the_command_line(run, mlp, policy) -> None:
    ran = run(
        "plan", mlp, policy, "--seed", "7", "--var", "spread=1 / 8", "--kwarg", "width=2",
        "--kwarg", "bias=false",
    )  # fmt: skip
    assert ran.out.splitlines()[0] == "Two layers, seed 7"
    assert "2.weight  2 x 2  float32  N(0, 0.125)" in ran.out
    assert "bias" not in ran.out
    assert ran.code == 0


def test_json_is_the_plan(run, mlp, policy) -> None:
    ran = run("plan", mlp, policy, "--output", "json")
    plan = Plan.from_json(ran.out)
    assert str(plan["2.weight"].law) == "N(0, 0.5)"
    assert plan.seed == 3
    assert (ran.code, ran.err) == (0, "")


def test_what_is_left_is_told_with_the_reason(run, mlp, write) -> None:
    write(
        "policy.toml",
        """
        format = 1
        uncovered = "keep"

        [[rule]]
        name = "0"
        init.weight = "keep"

        [[rule]]
        name = "2"
        init.weight = 0
        """,
    )
    assert run("plan", mlp, "policy.toml").out == (
        "policy.toml, seed 0\n"
        "\n"
        "tensor    shape  type     begins as  because\n"
        "2.weight  2 x 4  float32  0          policy.toml:10  constant(val=0)\n"
        "\n"
        "It would fill 1 parameter tensor (8 values).\n"
        "Left as they are: 3 tensors.\n"
        "  0.weight (Linear): rule name 0 keeps it\n"
        "  0.bias, 2.bias (Linear): no rule covers them\n"
    )


def test_warnings_are_findings_only_if_strict(run, mlp, write) -> None:
    write(
        "policy.toml",
        """
        format = 1
        uncovered = "warn"

        [[rule]]
        init.weight = "xavier_uniform"
        """,
    )
    told = (
        "1 warning:\n"
        "  policy.toml: IP201 2 parameters are covered by no rule: 0.bias (Linear), 2.bias (Linear)"
        '; write a rule for them, with "keep" to leave them as they are, or `uncovered = "keep"` '
        "at the top of the policy\n"
    )
    ran = run("plan", mlp, "policy.toml")
    assert ran.code == 0
    assert ran.out.endswith(told)
    ran = run("plan", mlp, "policy.toml", "--strict")
    assert ran.code == 1
    assert ran.out.endswith(told)
    assert run("plan", mlp, "torch", "--strict").code == 0


def test_every_mistake_is_told_at_once_each_on_a_line(run, mlp, write) -> None:
    write(
        "broken.toml",
        """
        format = 1
        titel = "Two layers"

        [[rule]]
        init."*" = "xavier_unifrom"
        """,
    )
    ran = run("plan", "net.py:mpl", "broken.toml", "--var", "x")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == (
        "broken.toml:2: IP102 unknown key `titel` in a policy; did you mean `title`?\n"
        "broken.toml:5: IP108 there is no initializer `xavier_unifrom`; "
        "did you mean `xavier_uniform`?\n"
        "IP402 `--var x` is no name with a value; write NAME=VALUE\n"
        "IP401 net.py:mpl does not exist: net.py has no 'mpl'; did you mean mlp?\n"
    )


def test_mistakes_are_json_where_json_is_asked_for(run, mlp) -> None:
    ran = run("plan", mlp, "densnet", "--output", "json")
    assert (ran.code, ran.err) == (2, "")
    assert json.loads(ran.out) == {
        "problems": [
            {
                "code": "IP110",
                "severity": "error",
                "message": "there is no policy `densnet`, neither a file nor a built-in",
                "hint": "did you mean `densenet`?",
                "file": None,
                "line": None,
            }
        ]
    }


def test_resolving_finds_every_problem(run, mlp, write) -> None:
    write(
        "policy.toml",
        """
        format = 1

        [[rule]]
        type = "Liner"
        init.weight = 0

        [[rule]]
        type = "Linear"
        init.weigth = 0
        """,
    )
    ran = run("plan", mlp, "policy.toml")
    assert ran.code == 2
    assert [line.split(" ")[:2] for line in ran.err.splitlines()] == [
        ["policy.toml:", "IP201"],
        ["policy.toml:3:", "IP202"],
        ["policy.toml:9:", "IP203"],
    ]


def test_what_the_model_prints_is_no_part_of_the_report(run, write) -> None:
    write("net.py", "from torch import nn\nprint('hello')\ndef net(): return nn.Linear(2, 2)\n")
    ran = run("plan", "net.py:net", "torch", "--output", "json")
    assert ran.code == 0
    assert len(Plan.from_json(ran.out)) == 2
    assert ran.err == "hello\n"


def test_a_model_that_cannot_be_built_without_values_is_built_with_them(run, write) -> None:
    write(
        "net.py",
        """
        import torch
        from torch import nn

        def net():
            rates = [rate.item() for rate in torch.linspace(0, 0.1, 3)]
            return nn.Sequential(*[nn.Sequential(nn.Linear(2, 2), nn.Dropout(r)) for r in rates])
        """,
    )
    ran = run("plan", "net.py:net", "torch")
    assert ran.code == 0
    assert "6 parameter tensors (18 values)" in ran.out


def test_a_model_without_tensors(run) -> None:
    ran = run("plan", "torch.nn:Identity", "torch")
    assert ran.code == 0
    assert ran.out.endswith("\n\nIt would fill nothing.\nThe model has no tensors.\n")


def test_a_model_that_raises_is_a_line_and_no_traceback(run, write) -> None:
    write("net.py", "def net():\n    raise ValueError('two\\nlines')\n")
    ran = run("plan", "net.py:net", "torch")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == "IP401 net.py:net failed: net.py, line 2: ValueError: two lines\n"


def test_an_interrupted_command_says_so(run, write) -> None:
    write("net.py", "def net():\n    raise KeyboardInterrupt\n")
    ran = run("plan", "net.py:net", "torch")
    assert (ran.code, ran.out, ran.err) == (130, "", "interrupted\n")


def test_planning_leaves_the_random_numbers_alone(run, mlp) -> None:
    import torch

    before = torch.get_rng_state()
    run("plan", mlp, "torch")
    assert torch.equal(before, torch.get_rng_state())


def test_the_plan_of_the_command_is_that_of_the_library(run, mlp, policy) -> None:
    from initpolicy.model import load_model

    expected = initpolicy.plan(load_model(mlp, {}), policy, vars={"spread": 2.0}, seed=5)
    ran = run("plan", mlp, policy, "--var", "spread=2", "--seed", "5", "--output", "json")
    assert Plan.from_json(ran.out) == expected
