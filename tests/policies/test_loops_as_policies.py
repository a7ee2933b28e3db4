"""Policies against the loops that they replace, bit for bit under the same `manual_seed`.

Each loop is written out here with torch.nn.init, as it stands in constructors all over.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn
from torch.nn import init

import initpolicy

Example = Callable[..., nn.Module]
Spoil = Callable[[nn.Module], nn.Module]
Check = Callable[[nn.Module, nn.Module], None]


def densenet_loop(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            init.ones_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            init.normal_(module.weight, 0, 0.01)
            init.zeros_(module.bias)


@pytest.mark.parametrize("seed", [0, 1])
def test_densenet_on_the_example(
    seed: int, example: Example, poison: Spoil, assert_same: Check
) -> None:
    expected = example("densenet.py:densenet121")
    found = poison(deepcopy(expected))
    torch.manual_seed(seed)
    densenet_loop(expected)
    torch.manual_seed(seed)
    plan = initpolicy.apply(found, "densenet", draws="torch")
    assert_same(found, expected)
    assert len(plan.filled) == len(plan) == 364 + 3 * 121
    assert plan.warnings == ()


@pytest.mark.parametrize("name", ["densenet121", "efficientnet_b0", "resnet18"])
def test_densenet_on_models_of_others(
    name: str, zoo: ModuleType, poison: Spoil, assert_same: Check
) -> None:
    expected = getattr(zoo, name)(num_classes=10)  # some of EfficientNet's convolutions have biases
    found = poison(deepcopy(expected))
    torch.manual_seed(2)
    densenet_loop(expected)
    torch.manual_seed(2)
    initpolicy.apply(found, "densenet", draws="torch")
    assert_same(found, expected)


class Wider(nn.Linear):
    """A linear layer of another class, which `type(m) == nn.Linear` passes over."""


def test_mlp(example: Example, assert_same: Check) -> None:
    expected = nn.Sequential(
        example("mlp.py:mlp"), Wider(10, 10), nn.BatchNorm1d(10), nn.MultiheadAttention(10, 2)
    )
    found = deepcopy(expected)

    def init_weights(module: nn.Module) -> None:
        if type(module) == nn.Linear:  # noqa: E721
            init.normal_(module.weight, std=0.01)

    torch.manual_seed(3)
    expected.apply(init_weights)
    torch.manual_seed(3)
    plan = initpolicy.apply(found, "mlp", draws="torch")
    assert_same(found, expected)
    assert [decision.name for decision in plan.filled] == ["0.1.weight", "0.3.weight"]


def conv_xavier_loop(module: nn.Module) -> None:
    classname = module.__class__.__name__
    if classname.find("Conv") != -1:
        init.xavier_normal_(module.weight)
        if module.bias is not None:
            init.zeros_(module.bias)  # xavier_normal_ raises here


def every_convolution() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(4, 6, 3),
        nn.ConvTranspose2d(4, 6, 3, groups=2),
        nn.Conv3d(2, 3, 2, bias=False),
        nn.Linear(3, 2),
        nn.BatchNorm2d(3),
    )


@pytest.mark.parametrize(
    "name", ["resnet18", "squeezenet1_1", "every convolution", "vgg19 encoder"]
)
def test_conv_xavier(name: str, zoo: ModuleType, example: Example, assert_same: Check) -> None:
    if name == "every convolution":
        expected = every_convolution()
    elif name == "vgg19 encoder":
        expected = example("vgg19_encoder.py:vgg19_encoder", width=8, code_size=4)
    else:
        expected = getattr(zoo, name)(num_classes=10)
    found = deepcopy(expected)
    torch.manual_seed(4)
    expected.apply(conv_xavier_loop)
    torch.manual_seed(4)
    initpolicy.apply(found, "conv-xavier", draws="torch")
    assert_same(found, expected)


def test_xavier_on_a_bias_is_an_error_here_too(tmp_path: Path) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text(
        """
        format = 1
        extends = ["conv-xavier"]
        uncovered = "keep"

        [[rule]]
        type = "*Conv*"
        init.bias = "xavier_normal"
        """
    )
    with pytest.raises(ValueError, match="fewer than 2 dimensions"):
        init.xavier_normal_(torch.empty(3))
    with pytest.raises(initpolicy.InitPolicyError, match=r"wrong\.toml:8: .*write `0`"):
        initpolicy.plan(every_convolution(), file)


def vgg_new_layers_loop(model: nn.Module) -> None:
    """Initialize what is new in the example's encoder, and leave the pretrained stages."""
    for number in range(5):
        conv = model.heads[number].conv
        init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
        init.zeros_(conv.bias)
    for number in range(5):
        layer = getattr(model, f"fc{number}")
        init.xavier_normal_(layer.weight)
        init.zeros_(layer.bias)


@pytest.mark.parametrize("inside", [False, True])
def test_vgg19_encoder(inside: bool, example: Example, poison: Spoil, assert_same: Check) -> None:
    encoder = example("vgg19_encoder.py:vgg19_encoder", width=8, code_size=4)
    expected = encoder
    found = deepcopy(encoder)
    for number in range(5):
        poison(found.heads[number])
        poison(getattr(found, f"fc{number}"))
    torch.manual_seed(5)
    vgg_new_layers_loop(expected)
    torch.manual_seed(5)
    if inside:  # as the part of a larger model
        initpolicy.apply(nn.ModuleDict({"encoder": found}), "vgg19-encoder", draws="torch")
    else:
        initpolicy.apply(found, "vgg19-encoder", draws="torch")
    assert_same(found, expected)


def test_vgg19_encoder_says_what_it_does_not_know(example: Example) -> None:
    model = example("vgg19_encoder.py:vgg19_encoder", width=8, code_size=4)
    model.fc5 = nn.Linear(8, 4)
    with pytest.raises(initpolicy.InitPolicyError, match=r"fc5\.weight \(Linear\)"):
        initpolicy.plan(model, "vgg19-encoder")


def resnet_loop(model: nn.Module) -> None:
    """The loop of torchvision's ResNet, after the default of its linear layer."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
            init.constant_(module.weight, 1)
            init.constant_(module.bias, 0)
        elif isinstance(module, nn.Linear):
            module.reset_parameters()


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnext50_32x4d"])
def test_resnet(name: str, zoo: ModuleType, poison: Spoil, assert_same: Check) -> None:
    expected = getattr(zoo, name)(num_classes=10)
    found = poison(deepcopy(expected))
    torch.manual_seed(6)
    resnet_loop(expected)
    torch.manual_seed(6)
    plan = initpolicy.apply(found, "resnet", draws="torch")
    assert_same(found, expected)
    assert plan.warnings == ()


def constants(model: nn.Module) -> dict[str, float]:
    return {
        name: float(parameter.detach()[0])
        for name, parameter in model.named_parameters()
        if parameter.ndim == 1 and bool((parameter == parameter[0]).all())
    }


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
@pytest.mark.parametrize("zero", [False, True])
def test_resnet_may_begin_its_blocks_as_the_identity(
    name: str, zero: bool, zoo: ModuleType, poison: Spoil
) -> None:
    expected = getattr(zoo, name)(num_classes=10, zero_init_residual=zero)
    found = poison(deepcopy(expected))
    initpolicy.apply(found, "resnet", vars={"branch_scale": 0.0 if zero else 1.0})
    assert constants(found) == constants(expected)
    zeros = [name for name, value in constants(found).items() if "weight" in name and value == 0]
    assert len(zeros) == ({"resnet18": 8, "resnet50": 16}[name] if zero else 0)


def test_resnet_with_group_normalization(zoo: ModuleType, poison: Spoil) -> None:
    def groups(channels: int) -> nn.Module:
        return nn.GroupNorm(4, channels)

    expected = zoo.resnet18(num_classes=10, norm_layer=groups)
    found = poison(deepcopy(expected))
    initpolicy.apply(found, "resnet")
    assert constants(found) == constants(expected)


def vit_loop(model: nn.Module) -> None:
    """The loop of timm's VisionTransformer, for one made of torch's own attention."""
    init.normal_(model.class_token, std=1e-6)
    for module in model.modules():
        if hasattr(module, "pos_embedding"):
            init.trunc_normal_(module.pos_embedding, std=0.02)
        elif isinstance(module, nn.MultiheadAttention):
            init.trunc_normal_(module.in_proj_weight, std=0.02)
            init.zeros_(module.in_proj_bias)
        elif isinstance(module, nn.Linear):
            init.trunc_normal_(module.weight, std=0.02)
            init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm | nn.Conv2d):
            module.reset_parameters()


def test_vit(zoo: ModuleType, poison: Spoil, assert_same: Check) -> None:
    expected = zoo.VisionTransformer(32, 8, 2, 2, 24, 48, num_classes=10)
    found = poison(deepcopy(expected))
    # The walk is by module, and the token is the root's: it is drawn first in both.
    torch.manual_seed(7)
    vit_loop(expected)
    torch.manual_seed(7)
    plan = initpolicy.apply(found, "vit", draws="torch")
    assert_same(found, expected)
    assert plan.warnings == ()


def test_vit_b_16_is_covered(zoo: ModuleType) -> None:
    with torch.device("meta"):
        model = zoo.vit_b_16()
    plan = initpolicy.plan(model, "vit")
    assert plan.warnings == ()
    assert all(decision.law is not None for decision in plan)
    assert len(plan) == 152
    # The bounds are timm's, as far away as they are.
    assert str(plan["heads.head.weight"].law) == "N(0, 0.02) in [-2, 2]"


def test_vit_truncates_where_it_is_told_to(zoo: ModuleType) -> None:
    model = zoo.VisionTransformer(32, 8, 1, 2, 48, 96, num_classes=10)
    weight = model.encoder.layers[0].mlp[0].weight
    initpolicy.apply(model, "vit", seed=0)
    assert float(weight.detach().abs().max()) > 0.05  # of 4,608 values, 57 are expected beyond
    initpolicy.apply(model, "vit", seed=0, vars={"bound": 0.04})
    assert float(weight.detach().abs().max()) <= 0.04
