"""`initpolicy report`: one file, whole or not at all, and an exit code that says what was found."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from initpolicy.cli import inputs, publishing
from initpolicy.plans import Plan
from initpolicy.problems import InitPolicyError, Problem


@pytest.fixture
def net(write) -> str:
    write(
        "net.py",
        """
        import torch
        from torch import nn

        def build(width=16):
            print("a model that talks")
            return nn.Sequential(nn.Linear(8, width), nn.Tanh(), nn.Linear(width, 4))

        def broken(width=16):
            class Broken(nn.Linear):
                def forward(self, input):
                    raise ValueError("no forward pass")
            return Broken(8, width)
        """,
    )
    write("good.toml", 'format = 1\n[[rule]]\ninit."*" = "xavier_normal"\ninit.bias = 0\n')
    write("wide.toml", 'format = 1\n[[rule]]\ninit.weight = { fn = "normal", std = 9 }\n'
                       "init.bias = 0\n")  # fmt: skip
    write("some.toml", 'format = 1\n[[rule]]\nname = "0"\ninit.weight = "xavier_normal"\n')
    return "net.py:build"


def test_a_page_is_written_and_its_size_is_told(run, net):
    ran = run("report", net, "good.toml", "--out", "report.html")
    assert ran.code == 0
    content = Path("report.html").read_bytes()
    assert content.startswith(b"<!DOCTYPE html>")
    assert content.endswith(b"</html>\n")
    size = f"{len(content) / 1000:.1f} kB"
    assert ran.out == f"Wrote report.html, {size}: nothing found.\n"
    assert not [name for name in os.listdir() if name.endswith(".partial")]


def test_a_probe_is_made_of_an_input_and_the_values_have_a_digest(run, net):
    run("report", net, "good.toml", "--out", "a.html", "--seed", "5")
    ran = run("report", net, "good.toml", "--out", "b.html", "--seed", "5", "--input", "32,8")
    assert ran.code == 0
    without, with_it = (Path(name).read_text() for name in ("a.html", "b.html"))
    assert "Not measured" in without
    assert "Not measured" not in with_it
    run("apply", net, "good.toml", "--seed", "5", "--out", "m.safetensors")
    digest = run("digest", "m.safetensors").out.split()[0]
    assert re.fullmatch("[0-9a-f]{32}", digest)
    assert digest in with_it
    assert digest not in without
    # Of values that are not all the policy's a digest would say nothing.
    run("report", net, "some.toml", "--out", "c.html", "--input", "32,8")
    assert "digest of all values" in with_it
    assert "digest of all values" not in Path("c.html").read_text()


def test_findings_give_the_exit_code_1(run, net):
    ran = run("report", net, "wide.toml", "--out", "report.html", "--input", "32,8",
              "--output", "json")  # fmt: skip
    assert ran.code == 1
    told = json.loads(ran.out)
    page = Path("report.html").read_text()
    assert told["file"] == "report.html"
    assert told["bytes"] == len(page.encode())
    assert told["ok"] is False
    probed = json.loads(run("probe", net, "wide.toml", "--input", "32,8", "--output", "json").out)
    advice = json.loads(run("lint", net, "wide.toml", "--output", "json").out)
    found = sum(len(one["findings"]) for one in probed["conditions"])
    assert told["findings"] == found + len(advice["findings"]) > 0
    assert 'id="IP761"' in page


def test_what_no_rule_covers_is_shown_and_is_a_finding(run, net):
    ran = run("report", net, "some.toml", "--out", "report.html", "--output", "github")
    assert ran.code == 1
    page = Path("report.html").read_text()
    assert "3 tensors that no rule covers" in page
    assert 'id="IP201"' in page
    assert "::error file=some.toml,title=IP201::3 parameters are covered by no rule" in ran.out


def test_other_outputs_tell_what_was_found(run, net):
    ran = run("report", net, "wide.toml", "--out", "r.html", "--input", "32,8", "--output", "sarif")
    results = json.loads(ran.out)["runs"][0]["results"]
    assert {one["ruleId"] for one in results} >= {"IP761"}


def test_steps_with_data_are_carried_out_and_told(run, net, write):
    steps = '\n[[calibrate]]\nfn = "lsuv"\n'
    write("steps.toml", Path("good.toml").read_text() + steps)
    ran = run("report", net, "steps.toml", "--out", "r.html", "--input", "32,8")
    assert ran.code in (0, 1)
    page = Path("r.html").read_text()
    run("apply", net, "steps.toml", "--data", "32,8", "--out", "m.safetensors")
    assert run("digest", "m.safetensors").out.split()[0] in page
    assert "lsuv of 2 layers, data " in page
    assert "What it did" in page


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ["{net}", "good.toml", "--out", "missing/report.html"],
            "IP403 missing/report.html cannot be written: there is no folder missing; "
            "make it first\n",
        ),
        (
            ["{net}", "good.toml", "--out", "."],
            "IP403 . cannot be written: it is a folder; write --out report.html\n",
        ),
        (
            ["{net}", "good.toml", "--out", "report.html", "--input", "8 x 8"],
            "IP751 ",
        ),
        (
            ["net.py:broken", "good.toml", "--out", "report.html", "--input", "2,8"],
            "IP752 the model cannot be run on this input: ValueError: no forward pass; ",
        ),
        (
            ["{net}", "missing.toml", "--out", "report.html"],
            "IP110 there is no policy `missing.toml`, ",
        ),
    ],
)
def test_a_mistake_leaves_what_was_there(run, net, arguments, told):
    Path("report.html").write_text("what was there")
    ran = run("report", *(one.format(net=net) for one in arguments))
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.removeprefix("a model that talks\n").startswith(told)
    assert Path("report.html").read_text() == "what was there"


def test_what_was_there_is_replaced_by_a_whole_file_only(run, net, monkeypatch):
    Path("report.html").write_text("what was there")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    ran = run("report", net, "good.toml", "--out", "report.html")
    assert ran.code == 2
    assert ran.err.endswith("IP403 report.html cannot be written: No space left on device\n")
    assert Path("report.html").read_text() == "what was there"
    assert not [name for name in os.listdir() if name.endswith(".partial")]
    monkeypatch.undo()


def test_the_same_command_writes_the_same_bytes(run, net):
    for name in ("a.html", "b.html"):
        run("report", net, "some.toml", "--out", name, "--input", "32,8")
    assert Path("a.html").read_bytes() == Path("b.html").read_bytes()


def test_only_uncovered_tensors_are_forgiven(monkeypatch):
    errors = (Problem("IP201", "uncovered"), Problem("IP203", "nothing matches"))

    def fail(self: inputs.Inputs, seed: int | None, input: object) -> Plan:
        raise InitPolicyError(errors)

    monkeypatch.setattr(inputs.Inputs, "plan", fail)
    with pytest.raises(InitPolicyError) as raised:
        publishing._lenient(inputs.Inputs(None, None, {}), None, None)  # type: ignore[arg-type]
    assert raised.value.problems == errors
