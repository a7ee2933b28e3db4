"""The policies that ship, checked against the models that they name.

Small models are checked in every run, others with `pytest -m zoo`. What each value must be, the zoo
proves against the libraries themselves.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from initpolicy.cli.app import app
from initpolicy.policy.files import builtin_folder
from initpolicy.testing import assert_policies
from initpolicy.testing.folder import check_policy

sys.path.insert(0, str(Path(__file__).parents[1] / "zoo"))
import libraries

POLICIES = sorted(builtin_folder().glob("*.toml"))
LARGE = {
    "beit",
    "convit",
    "convnext",
    "diffusers",
    "edgenext",
    "efficientnet",
    "faster-rcnn",
    "hiera",
    "inception",
    "levit",
    "mnasnet",
    "mobilenet",
    "nfnet",
    "pit",
    "poolformer",
    "regnet",
    "resnetv2",
    "retinanet",
    "rt-detr",
    "segmentation",
    "squeezenet",
    "ssd",
    "ssdlite",
    "timm",
    "timm-efficientnet",
    "timm-maxvit",
    "timm-regnet",
    "transformers-vision",
}
KEYS_WITHOUT_A_MODEL = {
    "mamba",  # whose key waits for a variable that the line of a model cannot set
    "timm",
    "transformers",
}
"""Policies to be extended: a key of theirs is needed by none of the models that they name."""


@pytest.fixture(autouse=True)
def torchvision():
    """The libraries import it, and its operators may not load beside this torch."""
    libraries.torchvision_models()


@pytest.mark.parametrize(
    "file",
    [
        pytest.param(file, id=file.stem, marks=[pytest.mark.zoo] if file.stem in LARGE else [])
        for file in POLICIES
    ],
)
@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
def test_it_holds_for_its_models(file):
    tested = check_policy(file)
    codes = {problem.code for problem in tested.all_problems}
    assert codes <= ({"IP568"} if file.stem in KEYS_WITHOUT_A_MODEL else set()), [
        str(problem) for problem in tested.all_problems
    ]
    assert tested.ok
    assert tested.examples
    assert all(example.values for example in tested.examples)


def test_a_shipped_policy_that_is_changed_does_not_hold(tmp_path):
    """The models are of use: without a rule that they need, the check fails."""
    (tmp_path / "models.py").write_text((builtin_folder() / "models.py").read_text())
    text = (builtin_folder() / "densenet.toml").read_text(encoding="utf-8")
    assert 'type = "BatchNorm2d"' in text
    (tmp_path / "densenet.toml").write_text(text.replace('"BatchNorm2d"', '"BatchNorm3d"'))
    with pytest.raises(AssertionError, match="BatchNorm3d"):
        assert_policies(tmp_path)


@pytest.mark.parametrize("named", ["mlp", "mlp.toml", str(builtin_folder() / "mlp.toml")])
def test_the_command(named, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["test", named])
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == "1 policy checked with 1 model: all hold."
