from __future__ import annotations

import json
import os
import re

import pytest
import torch
from safetensors.torch import load_file

import initpolicy
from initpolicy.model import load_model as build


def timeless(text: str) -> str:
    return re.sub(r"in \d+\.\d\d s", "in TIME s", text)


def test_the_files_hold_what_the_library_gives(run, mlp, policy) -> None:
    ran = run("materialize", mlp, policy, "--out", "out", "--seed", "5", "--threads", "1")
    size = os.path.getsize("out/model.safetensors")
    assert (ran.code, ran.err) == (0, "")
    assert timeless(ran.out) == f"Two layers, seed 5\nWrote out: 1 file, {size} bytes, in TIME s.\n"
    model = build(mlp, {})
    initpolicy.apply(model, policy, seed=5)
    saved = load_file("out/model.safetensors")
    assert set(saved) == set(model.state_dict())
    assert all(torch.equal(saved[name], value) for name, value in model.state_dict().items())


def test_parts_sizes_types_and_what_is_kept(run, mlp, policy) -> None:
    options = ("--out", "out", "--max-shard-size", "80", "--dtype", "bfloat16")
    ran = run("materialize", mlp, policy, *options, "--part", "2/2")
    assert ran.code == 0
    assert ran.out.endswith("The index follows when the other parts are written.\n")
    ran = run("materialize", mlp, policy, *options, "--part", "1/2")
    assert ran.code == 0
    assert "All 2 files are there, " in ran.out
    assert ran.out.endswith(", and model.safetensors.index.json.\n")
    ran = run("materialize", mlp, policy, *options, "--resume")
    assert "Kept 2 files that were complete.\n" in ran.out
    assert load_file("out/model-00001-of-00002.safetensors")["0.weight"].dtype == torch.bfloat16


def test_json_tells_the_same(run, mlp, policy) -> None:
    ran = run("materialize", mlp, policy, "--out", "out", "--output", "json")
    told = json.loads(ran.out)
    size = os.path.getsize("out/model.safetensors")
    assert told["written"] == [
        {"name": "model.safetensors", "size": size, "tensors": 4, "kept": False}
    ]
    assert (told["folder"], told["files"], told["size"]) == ("out", 1, size)
    assert (told["complete"], told["index"], told["plan"]["seed"]) == (True, None, 3)


def test_a_plan_is_enough(run, mlp, policy, write) -> None:
    write("plan.json", run("plan", mlp, policy, "--seed", "9", "--output", "json").out)
    run("apply", mlp, policy, "--seed", "9", "--out", "one.safetensors")
    ran = run("materialize", "--plan", "plan.json", "--out", "out")
    assert ran.code == 0
    one, two = load_file("one.safetensors"), load_file("out/model.safetensors")
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_variables_and_arguments_reach_the_plan(run, mlp, policy) -> None:
    ran = run("materialize", mlp, policy, "--out", "out", "--var", "spread=0", "--kwarg", "width=6")
    assert ran.code == 0
    saved = load_file("out/model.safetensors")
    assert saved["0.weight"].shape == (6, 8)
    assert not saved["2.weight"].any()


def test_quiet_tells_warnings_alone(run, mlp, policy, write) -> None:
    ran = run("materialize", mlp, policy, "--out", "out", "--quiet")
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    text = 'format = 1\n[[rule]]\ntype = "Linear"\ninit.weight = 0\n[[rule]]\ninit."*" = 1\n'
    write("policy.toml", text)
    ran = run("materialize", mlp, policy, "--out", "other", "-q")
    assert (ran.code, ran.out) == (0, "")
    assert "IP204" in ran.err


def test_the_model_is_built_without_memory(run, write, policy) -> None:
    write(
        "net.py",
        """
        from torch import nn

        def net():
            layer = nn.Linear(8, 4)
            assert layer.weight.is_meta
            return nn.Sequential(layer, nn.ReLU(), nn.Linear(4, 2))
        """,
    )
    assert run("materialize", "net.py:net", policy, "--out", "out").code == 0


def test_ctrl_c_tells_how_to_go_on(run, mlp, policy, monkeypatch) -> None:
    from initpolicy.materialization import task

    def interrupted(folder, files, seed, threads, progress) -> None:
        progress(10)
        raise KeyboardInterrupt

    monkeypatch.setattr(task, "write", interrupted)
    ran = run("materialize", mlp, policy, "--out", "out")
    assert (ran.code, ran.out) == (130, "")
    assert re.fullmatch(
        r"stopped after 10 of \d+ bytes: of the files in out those that are complete stay; go on "
        r"with `resume=True` \(`--resume`\)\n",
        ran.err,
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            [],
            "IP404 materialize is given no folder; write `--out DIR`\n"
            "IP404 materialize is given neither a model with a policy nor a plan; "
            "write `materialize MODEL POLICY` or `--plan FILE`\n",
        ),
        (
            ["net.py:mlp", "--out", "out"],
            "IP404 materialize is given neither a model with a policy nor a plan; "
            "write `materialize MODEL POLICY` or `--plan FILE`\n",
        ),
        (
            ["--plan", "plan.json", "--seed", "1", "--out", "out"],
            "IP404 a plan has its model, its seed and its variables; "
            "leave them out, or give the model and the policy instead\n"
            "IP403 plan.json cannot be read: No such file or directory\n",
        ),
        (
            ["net.py:mlp", "policy.toml", "--out", "out", "--part", "0/8"],
            "IP515 there is no part 0/8; parts are counted from 1: 1/8, 2/8 ... 8/8\n",
        ),
        (
            ["net.py:mlp", "policy.toml", "--out", "out", "--max-shard-size", "5XB"],
            'IP514 \'5XB\' is no size; write "5GB", "5GiB" or a number of bytes\n',
        ),
        (
            ["net.py:mlp", "policy.toml", "--out", "missing/out"],
            "IP518 missing/out cannot be written: there is no folder missing; make it first\n",
        ),
        (
            ["net.py:mlp", "policy.toml", "--out", "out", "--dtype", "bf16"],
            "IP513 bf16 is no floating-point type; write `bfloat16`, `float16`, `float32`, "
            "`float64`, or an 8-bit type of torch\n",
        ),
    ],
)
def test_misuse_is_told_word_by_word(run, mlp, policy, arguments, told) -> None:
    ran = run("materialize", *arguments)
    assert (ran.code, ran.out, ran.err) == (2, "", told)
    assert not os.path.exists("out")
