from __future__ import annotations

import json

import pytest
import torch

from initpolicy import digests, lockfile

LOCK = """\
# What each tensor begins with. `initpolicy lock` writes this file: review it, do not edit it.
lock = 1
draws = 1
policy = "policy.toml"
title = "Two layers"
seed = 3
digests = "none"
var spread = 0.5
rule 'type Linear' = policy.toml:11
rule "the head" = policy.toml:17

0.bias  [4] float32  constant(value=0.0)  by 'type Linear'
0.weight  [4, 8] float32  uniform(low=-0.7071067811865475, high=0.7071067811865475)  by 'type Linear'
2.bias  [2] float32  constant(value=0.0)  by 'type Linear'
2.weight  [2, 4] float32  normal(mean=0.0, std=0.5)  by "the head"
"""  # noqa: E501


def test_a_lock_is_written_and_then_up_to_date(run, mlp, policy, tmp_path) -> None:
    ran = run("lock", mlp, policy, "--no-digests")
    assert (ran.code, ran.out, ran.err) == (0, "Wrote policy.lock: 4 tensors.\n", "")
    assert (tmp_path / "policy.lock").read_text() == LOCK
    assert sorted(file.name for file in tmp_path.iterdir() if file.is_file()) == [
        "net.py", "policy.lock", "policy.toml",
    ]  # fmt: skip
    ran = run("lock", mlp, policy, "--check")
    assert (ran.code, ran.out, ran.err) == (0, "policy.lock is up to date: 4 tensors.\n", "")


def test_digests_are_those_of_the_values(run, mlp, policy, tmp_path) -> None:
    run("lock", mlp, policy, "--out", "other.lock")
    lock = lockfile.read(tmp_path / "other.lock")
    run("apply", mlp, policy, "--out", "model.safetensors")
    held = digests.digests(tmp_path / "model.safetensors")
    assert {entry.name: entry.digest for entry in lock} == held


def test_an_outdated_lock_is_a_finding(run, mlp, policy, tmp_path) -> None:
    run("lock", mlp, policy, "--no-digests")
    text = (tmp_path / "policy.toml").read_text()
    changed = text.replace("spread = 0.5", "spread = 0.25\n")
    (tmp_path / "policy.toml").write_text(changed)
    told = (
        "var spread  0.5 -> 0.25\n"
        "changed 1 tensor: 2.weight\n"
        "  law  N(0, 0.5) -> N(0, 0.25)\n"
        '  rule  "the head" policy.toml:17 -> "the head" policy.toml:18\n'
        "\n"
    )
    ran = run("lock", mlp, policy, "--check")
    outdated = "policy.lock is outdated; `initpolicy lock` writes it anew.\n"
    assert (ran.code, ran.out, ran.err) == (1, told + outdated, "")
    assert (tmp_path / "policy.lock").read_text() == LOCK
    ran = run("lock", mlp, policy, "--no-digests")
    assert (ran.code, ran.out) == (0, f"{told}Wrote policy.lock: 4 tensors.\n")
    assert run("lock", mlp, policy, "--check").code == 0


def test_a_comment_in_the_policy_changes_nothing(run, mlp, policy, tmp_path) -> None:
    run("lock", mlp, policy)
    text = (tmp_path / "policy.toml").read_text()
    (tmp_path / "policy.toml").write_text(f"# a comment\n{text}")
    assert run("lock", mlp, policy, "--check").code == 0
    before = (tmp_path / "policy.lock").read_text().splitlines()
    run("lock", mlp, policy)
    after = (tmp_path / "policy.lock").read_text().splitlines()
    assert [line for line in after if line not in before] == [
        "rule 'type Linear' = policy.toml:12",
        'rule "the head" = policy.toml:18',
    ]


def test_one_changed_tensor_is_one_changed_line(run, mlp, policy, tmp_path) -> None:
    run("lock", mlp, policy, "--out", "a.lock")
    text = (tmp_path / "policy.toml").read_text().replace('"spread"', '"spread * 123456789"')
    (tmp_path / "policy.toml").write_text(text)
    run("lock", mlp, policy, "--out", "b.lock")
    before, after = ((tmp_path / f"{name}.lock").read_text().splitlines() for name in "ab")
    changed = [new for old, new in zip(before, after, strict=True) if old != new]
    assert [line.split("  ")[0] for line in changed] == ["2.weight"]


def test_as_json(run, mlp, policy) -> None:
    ran = run("lock", mlp, policy, "--output", "json")
    assert json.loads(ran.out) == {
        "file": "policy.lock", "tensors": 4, "written": True, "differences": None,
    }  # fmt: skip
    ran = run("lock", mlp, policy, "--check", "--seed", "4", "--output", "json")
    assert ran.code == 1
    found = json.loads(ran.out)["differences"]
    assert found["settings"] == [{"name": "seed", "before": "3", "after": "4"}]
    assert [(change["name"], change["fields"]) for change in found["changes"]] == [
        ("0.weight", ["digest"]),
        ("2.weight", ["digest"]),
    ]


def test_a_lock_that_a_merge_left_is_written_anew(run, mlp, policy, tmp_path) -> None:
    run("lock", mlp, policy)
    whole = (tmp_path / "policy.lock").read_text()
    (tmp_path / "policy.lock").write_text(f"{whole}<<<<<<< ours\n")
    ran = run("lock", mlp, policy, "--check")
    assert (ran.code, ran.out, ran.err) == (
        2,
        "",
        "policy.lock:16: IP531 this is no lock: a merge left its conflict here; "
        "write it anew with `initpolicy lock MODEL POLICY`\n",
    )
    assert run("lock", mlp, policy).out == "Wrote policy.lock: 4 tensors.\n"
    assert (tmp_path / "policy.lock").read_text() == whole


def test_what_is_no_lock_is_not_replaced(run, mlp, policy, tmp_path) -> None:
    text = (tmp_path / "policy.toml").read_text()
    ran = run("lock", mlp, policy, "--out", "policy.toml")
    assert (ran.code, ran.out, ran.err) == (
        2,
        "",
        "IP403 policy.toml cannot be written: there is a file that is no lock; "
        "name another with `--out`\n",
    )
    assert (tmp_path / "policy.toml").read_text() == text
    ran = run("lock", mlp, policy, "--out", "no/where.lock")
    assert ran.code == 2
    assert ran.err == "IP403 no/where.lock cannot be written: No such file or directory\n"


def test_a_lock_that_is_not_there_cannot_be_checked(run, mlp, policy) -> None:
    ran = run("lock", mlp, policy, "--check")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == (
        "policy.lock: IP531 there is no such lock; write it with `initpolicy lock MODEL POLICY`\n"
    )


def test_the_built_in_policies_have_locks_of_their_own_name(run, mlp, tmp_path) -> None:
    assert run("lock", mlp, "torch").out == "Wrote torch.lock: 4 tensors.\n"
    assert run("lock", mlp, "torch.toml", "--check").code == 0
    assert "/" not in (tmp_path / "torch.lock").read_text().replace("policies/torch.toml", "")


@pytest.mark.parametrize("threads", [1, 2])
def test_locking_leaves_the_random_numbers_alone(run, mlp, policy, threads: int) -> None:
    before = torch.get_rng_state()
    run("lock", mlp, policy)
    assert torch.equal(before, torch.get_rng_state())
