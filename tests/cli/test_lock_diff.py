from __future__ import annotations

import json
from pathlib import Path

import pytest

NEW = """
format = 1
seed = 3

[[rule]]
type = "Linear"
init.weight = { fn = "normal", std = "0.1 * fan_in" }
init.bias = 0
"""


@pytest.fixture
def new(write) -> str:
    write("new.toml", NEW)
    return "new.toml"


RESOLVED = """\
var spread  0.5 -> nothing
changed 1 tensor: 0.weight
  law  U(-0.7071, 0.7071) -> N(0, 0.8)
  rule  type Linear policy.toml:11 -> type Linear new.toml:6
changed 1 tensor: 2.weight
  law  N(0, 0.5) -> N(0, 0.4)
  rule  "the head" policy.toml:17 -> type Linear new.toml:6
"""


def test_two_policies_for_a_model(run, mlp, policy, new) -> None:
    ran = run("diff", policy, new, mlp)
    assert (ran.code, ran.out, ran.err) == (1, RESOLVED, "")
    ran = run("diff", policy, policy, mlp)
    assert (ran.code, ran.out, ran.err) == (0, "Nothing changed.\n", "")


def test_two_policies_as_they_are_written(run, policy, new) -> None:
    ran = run("diff", policy, new)
    assert (ran.code, ran.err) == (1, "")
    assert ran.out == (
        "var spread  0.5 -> nothing\n"
        "rule type Linear\n"
        "  init.weight  xavier_uniform -> normal(std=0.1 * fan_in)  policy.toml:11 -> new.toml:6\n"
        'rule "the head"\n'
        "  init.weight  normal(std=spread) -> nothing  policy.toml:17\n"
        "  note  the head -> nothing  policy.toml:14\n"
    )
    assert run("diff", policy, policy).code == 0


def test_locks_plans_and_policies_in_any_pair(run, mlp, policy, new) -> None:
    for name in (policy, new):
        run("lock", mlp, name)
        Path(f"{name}.json").write_text(run("plan", mlp, name, "--output", "json").out)
    for before in ("policy.lock", "policy.toml.json"):
        for after in ("new.lock", "new.toml.json"):
            ran = run("diff", before, after)
            assert ran.code == 1
            assert [line for line in ran.out.splitlines() if "digest" not in line] == (
                RESOLVED.splitlines()
            )
        ran = run("diff", before, new, mlp)
        assert (ran.code, ran.out) == (1, RESOLVED)
        assert run("diff", before, policy, mlp).code == 0
        assert run("diff", before, "policy.lock").code == 0


def test_two_versions_of_a_model(run, mlp, policy, write) -> None:
    write(
        "other.py",
        """
        from torch import nn

        class Block(nn.Sequential):
            pass

        def mlp():
            return nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2), nn.Linear(2, 2))

        def moved():
            return nn.Sequential(Block(nn.Linear(8, 4)), nn.ReLU(), nn.Linear(4, 2))
        """,
    )
    ran = run("diff", mlp, "other.py:mlp", policy)
    assert (ran.code, ran.err) == (1, "")
    assert ran.out == (
        "added 1 tensor: 3.bias\n"
        "  law  0\n"
        "  rule  type Linear policy.toml:11\n"
        "added 1 tensor: 3.weight\n"
        "  law  U(-1.225, 1.225)\n"
        "  rule  type Linear policy.toml:11\n"
    )
    ran = run("diff", mlp, "other.py:moved", policy)
    assert ran.out == (
        "renamed 1 tensor: 0.bias -> 0.0.bias\n"
        "  law  0\n"
        "  rule  type Linear policy.toml:11\n"
        "renamed 1 tensor: 0.weight -> 0.0.weight\n"
        "  law  U(-0.7071, 0.7071)\n"
        "  rule  type Linear policy.toml:11\n"
    )
    ran = run("diff", mlp, mlp, policy, "--kwarg", "width=3")
    assert (ran.code, ran.out) == (0, "Nothing changed.\n")


def test_the_values_of_a_model_or_a_checkpoint_against_its_lock(run, mlp, policy) -> None:
    run("lock", mlp, policy)
    run("apply", mlp, policy, "--out", "model.safetensors")
    same = "4 tensors compared: nothing differs.\n"
    for pair in (("policy.lock", "model.safetensors"), ("model.safetensors", "policy.lock")):
        ran = run("diff", *pair)
        assert (ran.code, ran.out, ran.err) == (0, same, "")
    Path("plan.json").write_text(run("plan", mlp, policy, "--output", "json").out)
    assert run("diff", "plan.json", "model.safetensors").out == same
    run("apply", mlp, policy, "--seed", "4", "--out", "model.safetensors")
    ran = run("diff", "policy.lock", "model.safetensors")
    assert (ran.code, ran.err) == (1, "")
    assert ran.out == (
        "1 tensor with other values: 0.weight\n"
        "  law  U(-0.7071, 0.7071)\n"
        "  rule  type Linear policy.toml:11\n"
        "1 tensor with other values: 2.weight\n"
        "  law  N(0, 0.5)\n"
        '  rule  "the head" policy.toml:17\n'
        "4 tensors compared: 2 differ.\n"
    )
    ran = run("diff", mlp, "policy.lock", "--output", "json")
    assert ran.code == 1
    assert json.loads(ran.out)["compared"] == 4


def test_tensors_with_the_same_change_are_told_once(run, write) -> None:
    write(
        "deep.py",
        """
        from torch import nn

        class Block(nn.Module):
            def __init__(self, width):
                super().__init__()
                self.proj = nn.Linear(width, width, bias=False)

        class Deep(nn.Module):
            def __init__(self):
                super().__init__()
                self.h = nn.ModuleList([Block(4 + 2 * i) for i in range(12)])
        """,
    )
    rule = 'format = 1\n[[rule]]\ninit.weight = { fn = "normal", std = '
    write("a.toml", f"{rule}0.02 }}\n")
    write("b.toml", f'{rule}"0.02 / fan_in" }}\n')
    ran = run("diff", "a.toml", "b.toml", "deep.py:Deep")
    assert (ran.code, ran.out) == (
        1,
        "changed 12 tensors: h.*.proj.weight\n"
        "  law  N(0, 0.02) -> N(0, 0.0007692..0.005)\n"
        "  rule  for every module a.toml:3 -> for every module b.toml:3\n",
    )
    ran = run("diff", "a.toml", "b.toml", "deep.py:Deep", "--tensors")
    assert ran.out.startswith("changed 12 tensors: h.0.proj.weight, h.1.proj.weight, h.2.proj")
    write("c.toml", f"{rule}0.020000000000000004 }}\n")
    ran = run("diff", "a.toml", "c.toml", "deep.py:Deep")
    assert ran.out.splitlines()[1] == (
        "  law  normal(mean=0.0, std=0.02) -> normal(mean=0.0, std=0.020000000000000004)"
    )


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["policy.lock", "torch"], "a lock with a policy; write `diff A B MODEL`"),
        (["net.py:mlp", "net.py:mlp"], "a model with a model; write `diff A B POLICY`"),
        (
            ["policy.lock", "policy.lock", "net.py:mlp"],
            "a lock with a lock, beside a model; write `diff A B` alone",
        ),
        (
            ["policy.toml", "torch", "mlp"],
            "a policy with a policy, beside a policy; write `diff A B MODEL`",
        ),
        (
            ["net.py:mlp", "policy.toml"],
            "a model with a policy; `initpolicy verify` compares values with a policy",
        ),
        (
            ["a.safetensors", "b.safetensors"],
            "a checkpoint with a checkpoint; compare it with a lock",
        ),
    ],
)
def test_what_cannot_be_compared(run, mlp, policy, given: list[str], told: str) -> None:
    run("lock", mlp, policy)
    ran = run("diff", *given)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == f"IP532 diff cannot compare {told}\n"


def test_mistakes_in_both_are_told_at_once(run, mlp) -> None:
    ran = run("diff", "one.lock", "two.lock")
    assert ran.code == 2
    assert [line.split(" ")[:2] for line in ran.err.splitlines()] == [
        ["one.lock:", "IP531"],
        ["two.lock:", "IP531"],
    ]
    ran = run("diff", "densnet", "mpl", mlp)
    assert [line.split(" ")[0] for line in ran.err.splitlines()] == ["IP110", "IP110"]


def test_names_cannot_steer_a_terminal(run, write) -> None:
    write(
        "evil.lock",
        """
        lock = 1
        draws = 1
        policy = "\\u001b[31m"
        title = ""
        seed = 0
        digests = "none"

        "\\u001b[2J"  [2] float32  constant(value=1.0)  by '\\u202e'
        """,
    )
    write("other.lock", Path("evil.lock").read_text().replace("1.0", "2.0"))
    ran = run("diff", "evil.lock", "other.lock")
    assert ran.code == 1
    assert ran.out.replace("\n", "").isprintable()
