"""`initpolicy digest`: of a model, of a file, of each tensor."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import initpolicy
import initpolicy.cli  # registers the command
from initpolicy import digests
from initpolicy.model import load_model

NAMES = ["0.bias", "0.weight", "2.bias", "2.weight"]


@pytest.fixture
def saved(run, mlp, policy) -> dict[str, torch.Tensor]:
    assert run("apply", mlp, policy, "--seed", "5", "--out", "mlp.safetensors").code == 0
    return load_file("mlp.safetensors")


def test_of_a_file(run, saved) -> None:
    ran = run("digest", "mlp.safetensors")
    assert (ran.code, ran.out, ran.err) == (0, f"{initpolicy.digest(saved)}\n", "")
    Path("folder").mkdir()
    Path("mlp.safetensors").rename("folder/model.safetensors")
    assert run("digest", "folder").out == ran.out


def test_a_file_has_the_digest_of_the_model_it_was_saved_from(run, mlp, policy, saved) -> None:
    model = load_model(mlp, {})
    initpolicy.apply(model, policy, seed=5)
    assert run("digest", "mlp.safetensors").out == f"{initpolicy.digest(model)}\n"


def test_of_each_tensor(run, saved) -> None:
    lines = [f"{digests.of_tensor(saved[name])}  {name}\n" for name in NAMES]
    ran = run("digest", "mlp.safetensors", "--tensors")
    assert (ran.code, ran.out) == (0, "".join(lines) + f"{initpolicy.digest(saved)}\n")


def test_of_a_model_that_is_built(run, write) -> None:
    write(
        "net.py",
        """
        import torch

        def net(value=0.0):
            model = torch.nn.Module()
            model.weight = torch.nn.Parameter(torch.full((2, 3), value))
            return model
        """,
    )
    for value in ("0.0", "1.5"):
        expected = initpolicy.digest({"weight": torch.full((2, 3), float(value))})
        assert run("digest", "net.py:net", "--kwarg", f"value={value}").out == f"{expected}\n"


def test_json(run, saved) -> None:
    whole = {"digest": initpolicy.digest(saved), "version": 1}
    assert json.loads(run("digest", "mlp.safetensors", "--output", "json").out) == whole
    ran = run("digest", "mlp.safetensors", "--tensors", "--output", "json")
    tensors = {name: digests.of_tensor(saved[name]) for name in NAMES}
    assert json.loads(ran.out) == whole | {"tensors": tensors}


def test_names_do_not_steer_the_terminal(run, tmp_path) -> None:
    save_file({"a\x1b[31m\nb": torch.zeros(1)}, tmp_path / "x.safetensors")
    ran = run("digest", "x.safetensors", "--tensors")
    assert ran.out.splitlines()[0].endswith("  a\\x1b[31m b")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ["x.safetensors"],
            "IP504 x.safetensors cannot be read: there is no such file or folder\n",
        ),
        (["net.py"], "IP504 net.py is of no kind that is known; its name must end in "),
        (
            ["net.py", "--kwarg", "width=3"],
            "IP404 net.py takes no arguments; leave out `--kwarg`\n",
        ),
        (["net.py:mpl"], "IP401 net.py:mpl does not exist: net.py has no 'mpl'"),
    ],
)
def test_misuse_is_told_word_by_word(run, mlp, arguments, told) -> None:
    ran = run("digest", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(told)
