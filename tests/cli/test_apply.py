from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, load_model
from torch import nn

import initpolicy
import initpolicy.field
from initpolicy.model import load_model as build

EXAMPLES = Path(__file__).parents[2] / "examples"

TEXT = """\
Two layers, seed 3
policy.toml: a test

             begins as           tensors  values
type Linear
  weight     U(-0.7071, 0.7071)        1      32
             xavier_uniform
  bias       0                         2       6
"the head"
  weight     N(0, 0.5)                 1       8
             normal(std=spread)

Filled 4 parameter tensors (46 values) in TIME s.
Every tensor is filled.
"""


def timeless(text: str) -> str:
    return re.sub(r"in \d+\.\d\d s", "in TIME s", text)


def metadata(file: str) -> dict[str, str]:
    with safe_open(file, "pt") as opened:
        return opened.metadata()


def test_a_summary_tells_what_each_rule_gave_and_where_the_file_is(run, mlp, policy) -> None:
    ran = run("apply", mlp, policy, "--out", "mlp.safetensors")
    size = os.path.getsize("mlp.safetensors")
    assert (ran.code, ran.err) == (0, "")
    assert timeless(ran.out) == f"{TEXT}Saved mlp.safetensors, {size} bytes.\n"


def test_without_a_file_nothing_is_saved_and_the_summary_says_so(
    run, mlp, policy, tmp_path
) -> None:
    before = sorted(tmp_path.iterdir())
    ran = run("apply", mlp, policy)
    assert timeless(ran.out) == f"{TEXT}Nothing was saved; `--out FILE` keeps the values.\n"
    assert [file for file in sorted(tmp_path.iterdir()) if file.name != "__pycache__"] == before


def test_the_file_holds_what_the_library_gives(run, mlp, policy) -> None:
    run("apply", mlp, policy, "--seed", "5", "--out", "mlp.safetensors", "--threads", "1")
    model = build(mlp, {})
    initpolicy.apply(model, policy, seed=5)
    saved = load_file("mlp.safetensors")
    assert set(saved) == set(model.state_dict())
    assert all(torch.equal(saved[name], value) for name, value in model.state_dict().items())
    assert metadata("mlp.safetensors") == {
        "format": "pt",
        "policy": "policy.toml",
        "title": "Two layers",
        "seed": "5",
        "draws": "1",
    }


def test_as_many_threads_draw_as_are_asked_for(run, mlp, policy, monkeypatch) -> None:
    asked: list[int | None] = []
    fill = initpolicy.field.fill

    def noting(fills, *, threads, progress) -> None:
        asked.append(threads)
        fill(fills, threads=threads, progress=progress)

    monkeypatch.setattr(initpolicy.field, "fill", noting)
    run("apply", mlp, policy, "--threads", "3")
    run("apply", mlp, policy)
    assert asked == [3, None]


def test_densenet_121(run) -> None:
    ran = run(
        "apply", f"{EXAMPLES}/densenet.py:densenet121", "densenet.toml", "--seed", "0",
        "--out", "densenet121.safetensors",
    )  # fmt: skip
    assert (ran.code, ran.err) == (0, "")
    assert (
        "Filled 364 parameter tensors (7,978,856 values) and 363 buffers (83,769 values) in "
        in ran.out
    )
    model = build(f"{EXAMPLES}/densenet.py:densenet121", {})
    assert load_model(model, "densenet121.safetensors") == (set(), [])
    expected = build(f"{EXAMPLES}/densenet.py:densenet121", {})
    initpolicy.apply(expected, "densenet", seed=0)
    assert all(map(torch.equal, model.state_dict().values(), expected.state_dict().values()))


def test_json_tells_the_same(run, mlp, policy) -> None:
    ran = run("apply", mlp, policy, "--out", "mlp.safetensors", "--output", "json")
    told = json.loads(ran.out)
    assert told["filled"] == {"tensors": 4, "values": 46}
    assert told["left"] == []
    assert told["saved"] == {
        "file": "mlp.safetensors",
        "bytes": os.path.getsize("mlp.safetensors"),
    }
    assert [(rule["rule"], rule["law"], rule["tensors"]) for rule in told["rules"]] == [
        ("type Linear", "U(-0.7071, 0.7071)", ["0.weight"]),
        ("type Linear", "0", ["0.bias", "2.bias"]),
        ('"the head"', "N(0, 0.5)", ["2.weight"]),
    ]
    assert told["plan"]["seed"] == 3


def test_quiet_tells_warnings_alone(run, mlp, policy, write) -> None:
    ran = run("apply", mlp, policy, "--quiet")
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    write("policy.toml", 'format = 1\nuncovered = "warn"\n[[rule]]\ninit.weight = 0\n')
    ran = run("apply", mlp, policy, "-q")
    assert (ran.code, ran.out) == (0, "")
    assert ran.err.startswith("policy.toml: IP201 2 parameters are covered by no rule")


def test_the_draws_of_torch_are_those_after_manual_seed(run, mlp, policy) -> None:
    run("apply", mlp, policy, "--draws", "torch", "--seed", "5", "--out", "mlp.safetensors")
    torch.manual_seed(5)
    first = nn.init.xavier_uniform_(torch.empty(4, 8))
    second = nn.init.normal_(torch.empty(2, 4), std=0.5)
    saved = load_file("mlp.safetensors")
    assert torch.equal(saved["0.weight"], first)
    assert torch.equal(saved["2.weight"], second)


def test_a_plan_can_be_kept_and_carried_out(run, mlp, policy, write) -> None:
    write("plan.json", run("plan", mlp, policy, "--seed", "9", "--output", "json").out)
    run("apply", mlp, policy, "--seed", "9", "--out", "one.safetensors")
    ran = run("apply", mlp, "--plan", "plan.json", "--out", "two.safetensors")
    assert ran.code == 0
    one, two = load_file("one.safetensors"), load_file("two.safetensors")
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_plan_for_another_model_is_refused_and_nothing_is_written(
    run, mlp, policy, write
) -> None:
    write("plan.json", run("plan", mlp, policy, "--output", "json").out)
    ran = run("apply", mlp, "--plan", "plan.json", "--kwarg", "width=5", "--out", "x.safetensors")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == (
        "IP301 0.weight: the plan has shape [4, 8], the model [5, 8]; plan it anew for this model\n"
        "IP301 0.bias: the plan has shape [4], the model [5]; plan it anew for this model\n"
        "IP301 2.weight: the plan has shape [2, 4], the model [2, 5]; plan it anew for this model\n"
    )
    assert not os.path.exists("x.safetensors")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            [],
            "IP404 apply is given neither a policy nor a plan; "
            "write `apply MODEL POLICY` or `--plan FILE`\n",
        ),
        (
            ["torch", "--plan", "plan.json"],
            "IP404 apply is given both a policy and a plan; "
            "write `apply MODEL POLICY` or `--plan FILE`\n",
        ),
        (
            ["--plan", "plan.json", "--seed", "1"],
            "IP404 a plan has its seed and its variables; "
            "leave out `--seed` and `--var`, or give the policy instead\n"
            "IP403 plan.json cannot be read: No such file or directory\n",
        ),
        (
            ["--plan", "net.py"],
            "net.py: IP302 this is not a plan: JSONDecodeError: Expecting value: line 1 column 1 "
            "(char 0); write one with `initpolicy plan MODEL POLICY --output json`\n",
        ),
        (
            ["torch", "--seed", "-1"],
            "IP210 the seed is -1; write a whole number from 0 to 2**64 - 1\n",
        ),
        (
            ["torhc", "--out", "missing/x.safetensors"],
            "IP403 missing/x.safetensors cannot be written: there is no folder missing; "
            "make it first\n"
            "IP110 there is no policy `torhc`, neither a file nor a built-in; "
            "did you mean `torch`?\n",
        ),
        (
            ["torch", "--out", "."],
            "IP403 . cannot be written: it is a folder; write --out model.safetensors\n",
        ),
    ],
)
def test_misuse_is_told_word_by_word(run, mlp, arguments, told) -> None:
    ran = run("apply", mlp, *arguments)
    assert (ran.code, ran.out, ran.err) == (2, "", told)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
def test_equal_values_make_equal_files(run, mlp, policy, tmp_path) -> None:
    # Ten orders of five keys are all alike by chance once in 10^18.
    files = [tmp_path / f"{number}.safetensors" for number in range(10)]
    for file in files:
        assert run("apply", mlp, policy, "--seed", "1", "--out", str(file)).code == 0
    assert len({file.read_bytes() for file in files}) == 1
    assert load_file(files[0]).keys() == load_file(files[1]).keys()


def test_what_is_no_ordinary_file_is_never_replaced(run, mlp, tmp_path) -> None:
    # As a device such as /dev/null would be, which a failing test must not be able to replace.
    os.mkfifo(tmp_path / "pipe")
    ran = run("apply", mlp, "torch", "--out", "pipe")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == "IP403 pipe cannot be written: it is no ordinary file; name another\n"
    assert (tmp_path / "pipe").is_fifo()


def test_a_folder_that_is_not_writable(run, mlp, tmp_path, monkeypatch) -> None:
    (tmp_path / "folder").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path / "folder")  # not as root
    ran = run("apply", mlp, "torch", "--out", "folder/x.safetensors")
    assert ran.code == 2
    assert ran.err == (
        "IP403 folder/x.safetensors cannot be written: the folder folder is not writable; "
        "name another\n"
    )


def test_a_failing_write_leaves_what_was_there(run, mlp, write, monkeypatch, tmp_path) -> None:
    from initpolicy.materialization.replacing import Replacement

    whole = Replacement.write

    def full(self, offset, data) -> None:
        whole(self, offset, data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    write("x.safetensors", "before")
    monkeypatch.setattr(Replacement, "write", full)
    ran = run("apply", mlp, "torch", "--out", "x.safetensors")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == "IP403 x.safetensors cannot be written: No space left on device\n"
    assert (tmp_path / "x.safetensors").read_text() == "before"
    assert {file.name for file in tmp_path.iterdir()} - {"__pycache__"} == {
        "net.py",
        "x.safetensors",
    }


@pytest.mark.skipif(os.name != "posix", reason="needs limits of POSIX")
def test_a_full_disk_is_told(run, write) -> None:
    import resource
    import signal

    write("net.py", "from torch import nn\ndef net(): return nn.Linear(500, 500)\n")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        ran = run("apply", "net.py:net", "torch", "--out", "x.safetensors")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert ran.code == 2
    assert ran.err.startswith("IP403 x.safetensors cannot be written: ")
    assert "File too large" in ran.err
    assert not os.path.exists("x.safetensors")


def test_a_link_stays_one_and_permissions_are_ordinary(run, mlp, write, tmp_path) -> None:
    target = write("behind.safetensors", "before")
    (tmp_path / "link.safetensors").symlink_to(target)
    run("apply", mlp, "torch", "--out", "link.safetensors")
    assert (tmp_path / "link.safetensors").is_symlink()
    assert set(load_file(target)) == {"0.weight", "0.bias", "2.weight", "2.bias"}
    (tmp_path / "ordinary").touch()
    ordinary = stat.S_IMODE((tmp_path / "ordinary").stat().st_mode)
    run("apply", mlp, "torch", "--out", "new.safetensors")
    assert stat.S_IMODE((tmp_path / "new.safetensors").stat().st_mode) == ordinary


def test_tied_tensors_are_stored_once_and_found_again(run, write) -> None:
    write(
        "net.py",
        """
        from torch import nn

        def net():
            model = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 5, bias=False))
            model[1].weight = model[0].weight
            return model
        """,
    )
    write("policy.toml", 'format = 1\n[[rule]]\ninit.weight = "normal"\n')
    run("apply", "net.py:net", "policy.toml", "--out", "x.safetensors")
    assert list(load_file("x.safetensors")) == ["0.weight"]
    assert metadata("x.safetensors")["1.weight"] == "0.weight"
    model = build("net.py:net", {})
    assert load_model(model, "x.safetensors") == (set(), [])
    assert torch.equal(model[1].weight, load_file("x.safetensors")["0.weight"])


def test_odd_tensors_are_saved_as_state_dict_has_them(run, write) -> None:
    write(
        "net.py",
        """
        import torch
        from torch import nn

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                whole = torch.zeros(4, 3)
                self.whole = nn.Parameter(whole)
                self.part = nn.Parameter(whole[1:3])
                self.turned = nn.Parameter(torch.zeros(3, 2).T)
                self.empty = nn.Parameter(torch.zeros(0, 2))
                self.also_empty = nn.Parameter(torch.zeros(0, 2))
                self.register_buffer("passing", torch.zeros(2), persistent=False)
                self.register_buffer("count", torch.tensor(7))

            def get_extra_state(self):
                return {"version": 2}

            def set_extra_state(self, state):
                pass
        """,
    )
    write("policy.toml", 'format = 1\n[[rule]]\ninit."*" = 2\n')
    assert run("apply", "net.py:Net", "policy.toml", "--out", "x.safetensors").code == 0
    saved = load_file("x.safetensors")
    assert {name: tuple(value.shape) for name, value in saved.items()} == {
        "whole": (4, 3),
        "part": (2, 3),
        "turned": (2, 3),
        "empty": (0, 2),
        "also_empty": (0, 2),
        "count": (),
    }
    assert saved["part"].tolist() == [[2.0] * 3] * 2
    assert saved["count"] == 7
