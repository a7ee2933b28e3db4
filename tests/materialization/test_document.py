"""The examples of docs/checkpoints.md do what the text around them says."""

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import initpolicy

DOCUMENT = Path(__file__).parents[2] / "docs" / "checkpoints.md"


@pytest.mark.filterwarnings("ignore::UserWarning")  # of one process that saves alone
def test_the_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.S):
        exec(block, names)
    model = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))
    for folder, dtype in (("checkpoint", torch.bfloat16), ("shared", torch.float32)):
        initpolicy.apply(model.to(dtype), "torch", seed=0)
        found: dict[str, torch.Tensor] = {}
        for file in (tmp_path / folder).glob("*.safetensors"):
            found |= load_file(file)
        assert found.keys() == model.state_dict().keys()
        assert all(torch.equal(found[name], value) for name, value in model.state_dict().items())
    loaded = names["loaded"].state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in model.state_dict().items())
    assert names["done"].complete
