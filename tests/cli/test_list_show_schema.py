from __future__ import annotations

import json
from pathlib import Path

from initpolicy import initializers
from initpolicy.policy import builtins
from initpolicy.policy.files import builtin_folder


def test_list_names_everything_with_what_it_is(run) -> None:
    ran = run("list")
    assert (ran.code, ran.err) == (0, "")
    policies, known = ran.out.split("\n\n")
    assert policies.splitlines()[0].split() == ["policy", "title", "source"]
    assert [line.split()[0] for line in policies.splitlines()[1:]] == list(builtins())
    (densenet,) = (line for line in policies.splitlines() if line.startswith("densenet "))
    assert densenet.split()[1:5] == ["DenseNet", "Huang", "et", "al."]
    assert [line.split()[0] for line in known.splitlines()[1:]] == list(initializers.names())
    (normal,) = (line for line in known.splitlines() if line.startswith("normal "))
    assert normal.split(maxsplit=1)[1] == "N(mean, std). As `torch.nn.init.normal_`."


def test_list_of_one_kind(run) -> None:
    both = run("list").out
    assert run("list", "policies").out + "\n" + run("list", "initializers").out == both


def test_list_as_json(run) -> None:
    told = json.loads(run("list", "--output", "json").out)
    assert [item["name"] for item in told["policies"]] == list(builtins())
    assert {"name": "ones", "summary": initializers.get("ones").summary} in told["initializers"]
    assert list(json.loads(run("list", "policies", "--output", "json").out)) == ["policies"]


def test_show_prints_a_policy_as_it_is(run) -> None:
    text = (builtin_folder() / "densenet.toml").read_text()
    assert run("show", "densenet").out == text
    assert run("show", "densenet.toml").out == text
    assert json.loads(run("show", "densenet", "--output", "json").out)["text"] == text


def test_a_file_comes_before_a_built_in(run, write) -> None:
    write("densenet.toml", "format = 1  # mine\n")
    assert run("show", "densenet.toml").out == "format = 1  # mine\n"
    assert run("show", "densenet").out != "format = 1  # mine\n"


def test_show_documents_an_initializer(run) -> None:
    ran = run("show", "trunc_normal")
    assert ran.out.startswith("trunc_normal\n\nN(mean, std) in [a, b], or within `cut` sigma. As ")
    assert "\nstd        a number or an expression  1\n" in ran.out
    assert "\ncorrected  true or false              false\n" in ran.out
    assert ">>>" not in ran.out
    assert "\nsparsity  a number or an expression  required\n" in run("show", "sparse").out
    assert "argument" not in run("show", "ones").out


def test_every_initializer_and_policy_can_be_shown(run) -> None:
    for name in (*initializers.names(), *builtins()):
        ran = run("show", name)
        assert (ran.code, ran.err) == (0, "")
        assert ran.out.endswith("\n")
        assert json.loads(run("show", name, "--output", "json").out)


def test_show_of_nothing(run, write) -> None:
    ran = run("show", "kaimng_normal")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == (
        "IP406 there is no policy and no initializer `kaimng_normal`; did you mean "
        "`kaiming_normal` or `kaiming_uniform`?\n"
    )
    ran = run("show", "wxyz")
    assert ran.err == (
        "IP406 there is no policy and no initializer `wxyz`; `initpolicy list` names them all\n"
    )
    Path("odd.toml").write_bytes(b"\xff\xfe")
    assert run("show", "odd.toml").err.startswith("IP403 odd.toml cannot be read: 'utf-8' codec")


def test_the_committed_schema_is_the_one_that_is_printed(run) -> None:
    committed = (builtin_folder() / "policy.schema.json").read_text(encoding="utf-8")
    assert run("schema").out == committed
