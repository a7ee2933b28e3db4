from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from initpolicy.model import load_model, read

EXAMPLES = Path(__file__).parents[2] / "examples"


def build(spec: str, **kwargs: int) -> nn.Module:
    return load_model(f"{EXAMPLES}/{spec}", kwargs)


def meta(spec: str, **kwargs: int) -> nn.Module:
    return load_model(f"{EXAMPLES}/{spec}", kwargs, device="meta")


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


DENSENET_CHILDREN = [
    *("conv0", "norm0", "relu0", "pool0"),
    *("denseblock1", "transition1", "denseblock2", "transition2"),
    *("denseblock3", "transition3", "denseblock4", "norm5"),
]


def test_densenet121_has_the_published_size() -> None:
    model = meta("densenet.py:densenet121")
    assert count(model) == 7_978_856
    assert len(list(model.parameters())) == 364
    # 120 convolutions and one linear layer; a normalization before each convolution but the
    # first, after the first, and after the last block.
    kinds = [type(module) for module in model.modules()]
    assert [kinds.count(kind) for kind in (nn.Conv2d, nn.BatchNorm2d, nn.Linear)] == [120, 121, 1]


def test_densenet121_has_the_usual_names() -> None:
    model = meta("densenet.py:densenet121")
    assert [name for name, _ in model.named_children()] == ["features", "classifier"]
    assert [name for name, _ in model.features.named_children()] == DENSENET_CHILDREN
    blocks = [getattr(model.features, f"denseblock{number}") for number in (1, 2, 3, 4)]
    assert [list(block._modules) for block in blocks] == [
        [f"denselayer{number}" for number in range(1, depth + 1)] for depth in (6, 12, 24, 16)
    ]
    layer = blocks[0].denselayer1
    assert list(layer._modules) == ["norm1", "relu1", "conv1", "norm2", "relu2", "conv2"]
    assert list(model.features.transition1._modules) == ["norm", "relu", "conv", "pool"]


def test_densenet121_has_the_published_shapes() -> None:
    slots = read(meta("densenet.py:densenet121")).by_name
    shapes = {
        "features.conv0.weight": (64, 3, 7, 7),
        "features.denseblock1.denselayer1.conv1.weight": (128, 64, 1, 1),
        "features.denseblock1.denselayer6.conv2.weight": (32, 128, 3, 3),
        "features.transition1.conv.weight": (128, 256, 1, 1),
        "features.transition3.conv.weight": (512, 1024, 1, 1),
        "features.denseblock4.denselayer16.norm1.weight": (992,),
        "features.norm5.running_var": (1024,),
        "classifier.weight": (1000, 1024),
    }
    assert {name: slots[name].shape for name in shapes} == shapes


@pytest.mark.parametrize("size", [32, 64, 224])
def test_densenet121_runs(size: int) -> None:
    model = build("densenet.py:densenet121", num_classes=10, growth=8, stem_channels=16)
    assert model(torch.randn(2, 3, size, size)).shape == (2, 10)


def test_densenet121_is_halved_to_a_seventh_of_224() -> None:
    features = meta("densenet.py:densenet121").features
    assert features(torch.empty(1, 3, 224, 224, device="meta")).shape == (1, 1024, 7, 7)


def test_densenet_layers_see_all_layers_before_them() -> None:
    model = build("densenet.py:densenet121", growth=4, stem_channels=8)
    block = model.features.denseblock1.eval()
    features = torch.randn(1, 8, 5, 5)
    output = block(features)
    assert torch.equal(output[:, :8], features)
    assert torch.equal(output[:, 8:12], block.denselayer1(features))
    assert torch.equal(output[:, 12:16], block.denselayer2(output[:, :12]))


def test_perceptron() -> None:
    model = build("mlp.py:mlp")
    assert [slot.shape for slot in read(model).slots] == [(256, 784), (256,), (10, 256), (10,)]
    assert model(torch.zeros(3, 1, 28, 28)).shape == (3, 10)


def test_vgg19_stages_have_the_published_size() -> None:
    assert count(meta("vgg19_encoder.py:vgg19_encoder").stages) == 20_024_384


def test_vgg19_encoder_has_readable_names() -> None:
    model = meta("vgg19_encoder.py:vgg19_encoder", width=4)
    linear = [name for name, module in model.named_modules() if type(module) is nn.Linear]
    assert linear == ["fc0", "fc1", "fc2", "fc3", "fc4"]
    convolutions = [name for name, module in model.named_modules() if type(module) is nn.Conv2d]
    depths = (2, 2, 4, 4, 4)
    assert convolutions == [
        *(f"stages.{i}.conv{k + 1}" for i, depth in enumerate(depths) for k in range(depth)),
        *(f"heads.{i}.conv" for i in range(5)),
    ]


@pytest.mark.parametrize("size", [32, 48])
def test_vgg19_encoder_runs(size: int) -> None:
    model = build("vgg19_encoder.py:vgg19_encoder", width=4, code_size=6)
    codes = model(torch.randn(2, 3, size, size))
    assert codes.shape == (2, 5, 6)
    codes.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("name", ["densenet", "mlp", "vgg19_encoder"])
def test_nothing_is_initialized_in_an_example(name: str) -> None:
    text = (EXAMPLES / f"{name}.py").read_text()
    assert not any(word in text for word in ("nn.init", "reset_parameters", ".data", "no_grad"))
