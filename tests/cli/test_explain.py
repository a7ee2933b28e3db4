from __future__ import annotations

import json

import pytest

from initpolicy.problems import page

TEXT = """\
2.weight
  is         parameter of a Linear, 2 x 4 float32, fan_in 4, fan_out 2
  begins as  N(0, 0.5)
  because    policy.toml:17  "the head": normal(std=spread)
  not        policy.toml:11  type Linear: xavier_uniform
"""


def test_the_winner_and_every_loser(run, mlp, policy) -> None:
    ran = run("explain", mlp, policy, "2.weight")
    assert (ran.code, ran.out, ran.err) == (0, TEXT, "")


def test_globs_and_names_each_tensor_once(run, mlp, policy) -> None:
    ran = run("explain", mlp, policy, "**.bias", "0.bias", "2.*")
    assert [block.splitlines()[0] for block in ran.out.split("\n\n")] == [
        "0.bias",
        "2.bias",
        "2.weight",
    ]
    assert "0.bias\n  is         parameter of a Linear, 4 float32\n" in ran.out


def test_aliases_and_streams_are_shown(run, write) -> None:
    write(
        "net.py",
        """
        from torch import nn

        def net():
            model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
            model[1].weight = model[0].weight
            return model
        """,
    )
    write(
        "policy.toml",
        """
        format = 1
        [[rule]]
        init.weight = { fn = "normal", stream = "shared" }
        """,
    )
    ran = run("explain", "net.py:net", "policy.toml", "1.weight", "0.weight", "**.weight")
    assert ran.out == (
        "0.weight\n"
        "  is         parameter of a Linear, 3 x 3 float32, fan_in 3, fan_out 3\n"
        "  is also    1.weight\n"
        "  begins as  N(0, 1)\n"
        "  because    policy.toml:3  for every module: normal(stream=shared)\n"
        "  drawn as   shared\n"
    )


def test_a_parameter_that_no_rule_covers_is_explained_and_no_error(run, mlp, write) -> None:
    write("policy.toml", "format = 1\n[[rule]]\ninit.weight = 0\n")
    ran = run("explain", mlp, "policy.toml", "0.bias")
    assert ran.code == 0
    assert ran.out == (
        "0.bias\n"
        "  is         parameter of a Linear, 4 float32\n"
        "  begins as  left as it is\n"
        "  because    no rule covers it\n"
    )


def test_json_is_the_decision_with_its_facts(run, mlp, policy) -> None:
    told = json.loads(run("explain", mlp, policy, "2.weight", "--output", "json").out)
    assert [item["name"] for item in told] == ["2.weight"]
    assert told[0]["law"] == {"kind": "normal", "mean": 0.0, "std": 0.5}
    assert told[0]["facts"] == {
        "shape": [2, 4],
        "numel": 8,
        "ndim": 2,
        "fan_in": 4,
        "fan_out": 2,
    }
    assert told[0]["losers"][0]["line"] == 11


def test_an_unknown_parameter_comes_with_suggestions(run, mlp, policy) -> None:
    ran = run("explain", mlp, policy, "2.wieght", "h[", "**.kernel")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == (
        "IP405 the model has no parameter or buffer `2.wieght`; "
        "did you mean `2.weight` or `0.weight`?\n"
        'IP405 glob "h[": "[" is never closed; write "[0-9]", or "[[]" for the character\n'
        "IP405 the model has no parameter or buffer `**.kernel`; "
        "it has 0.weight, 0.bias, 2.weight, 2.bias\n"
    )


@pytest.mark.parametrize("code", ["IP203", "ip203"])
def test_a_code_prints_its_page(run, code) -> None:
    ran = run("explain", code)
    assert (ran.code, ran.out, ran.err) == (0, page("IP203"), "")


def test_a_page_as_json(run) -> None:
    told = json.loads(run("explain", "IP203", "--output", "json").out)
    assert told == {"code": "IP203", "page": page("IP203")}


def test_an_unknown_code_comes_with_all_that_there_are(run) -> None:
    ran = run("explain", "IP999")
    assert ran.code == 2
    assert ran.err.startswith("IP406 there is no code IP999; the codes are IP101, IP102, ")


@pytest.mark.parametrize("arguments", [["net.py:mlp"], ["net.py:mlp", "torch"], ["XY203"]])
def test_too_little_is_told(run, arguments) -> None:
    ran = run("explain", *arguments)
    assert ran.code == 2
    assert ran.err == (
        "IP404 explain is given neither a code nor a model, a policy and a parameter; "
        "write `explain MODEL POLICY PARAMETER` or `explain IP203`\n"
    )
