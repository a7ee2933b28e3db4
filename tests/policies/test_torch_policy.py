"""The policy `torch` against the constructors of torch.nn, class by class."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor, nn

import initpolicy

Build = Callable[[], nn.Module]
Spoil = Callable[[nn.Module], nn.Module]
Check = Callable[[nn.Module, nn.Module], None]

# Torch draws for these what the policy draws, in the order in which the tensors are registered.
SAME_DRAWS: dict[str, Build] = {
    "Linear": lambda: nn.Linear(5, 3),
    "Linear without bias": lambda: nn.Linear(5, 3, bias=False),
    "Linear in float64": lambda: nn.Linear(5, 3, dtype=torch.float64),
    "Linear in bfloat16": lambda: nn.Linear(5, 3, dtype=torch.bfloat16),
    "Bilinear": lambda: nn.Bilinear(3, 5, 2),
    "Bilinear without bias": lambda: nn.Bilinear(3, 5, 2, bias=False),
    "Conv1d": lambda: nn.Conv1d(4, 6, 3, groups=2),
    "Conv2d": lambda: nn.Conv2d(4, 6, (3, 2)),
    "Conv2d without bias": lambda: nn.Conv2d(4, 6, 3, bias=False),
    "Conv3d": lambda: nn.Conv3d(2, 3, (3, 1, 2)),
    "ConvTranspose1d": lambda: nn.ConvTranspose1d(4, 6, 3, groups=2),
    "ConvTranspose2d": lambda: nn.ConvTranspose2d(4, 6, (3, 2)),
    "ConvTranspose3d": lambda: nn.ConvTranspose3d(2, 3, (3, 1, 2)),
    "BatchNorm1d": lambda: nn.BatchNorm1d(3),
    "BatchNorm2d": lambda: nn.BatchNorm2d(3),
    "BatchNorm3d": lambda: nn.BatchNorm3d(3),
    "BatchNorm2d of one kind": lambda: nn.BatchNorm2d(3, affine=False),
    "BatchNorm2d without statistics": lambda: nn.BatchNorm2d(3, track_running_stats=False),
    "SyncBatchNorm": lambda: nn.SyncBatchNorm(3),
    "InstanceNorm1d": lambda: nn.InstanceNorm1d(3, affine=True, track_running_stats=True),
    "InstanceNorm2d": lambda: nn.InstanceNorm2d(3, affine=True, track_running_stats=True),
    "InstanceNorm3d": lambda: nn.InstanceNorm3d(3, affine=True, track_running_stats=True),
    "InstanceNorm2d without tensors": lambda: nn.InstanceNorm2d(3),
    "GroupNorm": lambda: nn.GroupNorm(2, 4),
    "LayerNorm": lambda: nn.LayerNorm((2, 4)),
    "RMSNorm": lambda: nn.RMSNorm(4),
    "Embedding": lambda: nn.Embedding(7, 3),
    "Embedding with padding": lambda: nn.Embedding(7, 3, padding_idx=2),
    "Embedding with padding at the end": lambda: nn.Embedding(7, 3, padding_idx=-1),
    "Embedding with padding first": lambda: nn.Embedding(7, 3, padding_idx=0),
    "EmbeddingBag": lambda: nn.EmbeddingBag(7, 3),
    "EmbeddingBag with padding": lambda: nn.EmbeddingBag(7, 3, padding_idx=2),
    "RNN": lambda: nn.RNN(3, 5, num_layers=2),
    "RNN both ways": lambda: nn.RNN(3, 5, bidirectional=True, bias=False),
    "LSTM": lambda: nn.LSTM(3, 5, num_layers=2),
    "LSTM with projection": lambda: nn.LSTM(3, 5, num_layers=2, proj_size=2, bidirectional=True),
    "GRU": lambda: nn.GRU(3, 5, num_layers=2, bidirectional=True),
    "RNNBase": lambda: nn.RNNBase("LSTM", 3, 5),
    "RNNCell": lambda: nn.RNNCell(3, 5),
    "RNNCellBase": lambda: nn.RNNCellBase(3, 5, bias=True, num_chunks=2),
    "LSTMCell": lambda: nn.LSTMCell(3, 5),
    "GRUCell": lambda: nn.GRUCell(3, 5, bias=False),
    "PReLU": lambda: nn.PReLU(),
    "PReLU for each channel": lambda: nn.PReLU(4, init=0.1),
    "AdaptiveLogSoftmaxWithLoss": lambda: nn.AdaptiveLogSoftmaxWithLoss(
        8, 20, [5, 10], div_value=2.0, head_bias=True
    ),
    "LinearCrossEntropyLoss": lambda: nn.LinearCrossEntropyLoss(5, 3, bias=True),
    "Sequential": lambda: nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)),
    "ModuleList": lambda: nn.ModuleList([nn.Linear(3, 4), nn.GRUCell(4, 2)]),
    "ModuleDict": lambda: nn.ModuleDict({"a": nn.Linear(3, 4), "b": nn.Bilinear(3, 4, 2)}),
    "LazyLinear": lambda: materialised(nn.LazyLinear(3), (2, 5)),
    "LazyConv1d": lambda: materialised(nn.LazyConv1d(3, 2), (2, 5, 8)),
    "LazyConv2d": lambda: materialised(nn.LazyConv2d(3, 2), (2, 5, 8, 8)),
    "LazyConv3d": lambda: materialised(nn.LazyConv3d(3, 2), (2, 5, 8, 8, 8)),
    "LazyConvTranspose1d": lambda: materialised(nn.LazyConvTranspose1d(3, 2), (2, 5, 8)),
    "LazyConvTranspose2d": lambda: materialised(nn.LazyConvTranspose2d(3, 2), (2, 5, 8, 8)),
    "LazyConvTranspose3d": lambda: materialised(nn.LazyConvTranspose3d(3, 2), (2, 5, 4, 4, 4)),
    "LazyBatchNorm1d": lambda: materialised(nn.LazyBatchNorm1d(), (2, 5, 8)),
    "LazyBatchNorm2d": lambda: materialised(nn.LazyBatchNorm2d(), (2, 5, 8, 8)),
    "LazyBatchNorm3d": lambda: materialised(nn.LazyBatchNorm3d(), (2, 5, 4, 4, 4)),
    "LazyInstanceNorm1d": lambda: materialised(nn.LazyInstanceNorm1d(), (2, 5, 8)),
    "LazyInstanceNorm2d": lambda: materialised(nn.LazyInstanceNorm2d(), (2, 5, 8, 8)),
    "LazyInstanceNorm3d": lambda: materialised(nn.LazyInstanceNorm3d(), (2, 5, 4, 4, 4)),
}

# Torch makes attention's output as a linear layer, with a bias that it draws and then sets to
# zero, before it draws the other weights; layers of a Transformer are copies of one, and
# nn.Transformer draws everything twice. The laws are the same, the draws are not.
SAME_LAWS: dict[str, Build] = {
    "MultiheadAttention": lambda: nn.MultiheadAttention(32, 2, add_bias_kv=True),
    "MultiheadAttention of three sizes": lambda: nn.MultiheadAttention(32, 2, kdim=8, vdim=96),
    "MultiheadAttention without bias": lambda: nn.MultiheadAttention(32, 2, bias=False),
    "TransformerEncoderLayer": lambda: encoder_layer(),
    "TransformerDecoderLayer": lambda: nn.TransformerDecoderLayer(16, 2, 64),
    "TransformerEncoder": lambda: nn.TransformerEncoder(
        encoder_layer(), 2, nn.LayerNorm(16), enable_nested_tensor=False
    ),
    "TransformerDecoder": lambda: nn.TransformerDecoder(nn.TransformerDecoderLayer(16, 2, 64), 2),
    "Transformer": lambda: nn.Transformer(16, 2, 1, 1, 64, batch_first=True),
}

# What these hold was given to them: there is no default to come back to.
GIVEN: dict[str, Build] = {
    "BCELoss": lambda: nn.BCELoss(torch.rand(3)),
    "BCEWithLogitsLoss": lambda: nn.BCEWithLogitsLoss(torch.rand(3), pos_weight=torch.rand(3)),
    "CrossEntropyLoss": lambda: nn.CrossEntropyLoss(torch.rand(3)),
    "MultiLabelSoftMarginLoss": lambda: nn.MultiLabelSoftMarginLoss(torch.rand(3)),
    "MultiMarginLoss": lambda: nn.MultiMarginLoss(weight=torch.rand(3)),
    "NLLLoss": lambda: nn.NLLLoss(torch.rand(3)),
    "NLLLoss2d": lambda: nn.NLLLoss2d(torch.rand(3)),
    "FractionalMaxPool2d": lambda: nn.FractionalMaxPool2d(
        2, output_size=2, _random_samples=torch.rand(1, 3, 2)
    ),
    "FractionalMaxPool3d": lambda: nn.FractionalMaxPool3d(
        2, output_size=2, _random_samples=torch.rand(1, 3, 3)
    ),
}

# Small arguments for the other classes that cannot do without.
WITHOUT_TENSORS: dict[str, tuple[Any, ...]] = {
    "AdaptiveAvgPool1d": (1,),
    "AdaptiveAvgPool2d": (1,),
    "AdaptiveAvgPool3d": (1,),
    "AdaptiveMaxPool1d": (1,),
    "AdaptiveMaxPool2d": (1,),
    "AdaptiveMaxPool3d": (1,),
    "AvgPool1d": (2,),
    "AvgPool2d": (2,),
    "AvgPool3d": (2,),
    "ChannelShuffle": (2,),
    "CircularPad1d": (1,),
    "CircularPad2d": (1,),
    "CircularPad3d": (1,),
    "ConstantPad1d": (1, 0.0),
    "ConstantPad2d": (1, 0.0),
    "ConstantPad3d": (1, 0.0),
    "CrossMapLRN2d": (2,),
    "DataParallel": (nn.Flatten(),),
    "Fold": (2, 2),
    "LPPool1d": (2.0, 2),
    "LPPool2d": (2.0, 2),
    "LPPool3d": (2.0, 2),
    "LocalResponseNorm": (2,),
    "MaxPool1d": (2,),
    "MaxPool2d": (2,),
    "MaxPool3d": (2,),
    "MaxUnpool1d": (2,),
    "MaxUnpool2d": (2,),
    "MaxUnpool3d": (2,),
    "PixelShuffle": (2,),
    "PixelUnshuffle": (2,),
    "ReflectionPad1d": (1,),
    "ReflectionPad2d": (1,),
    "ReflectionPad3d": (1,),
    "ReplicationPad1d": (1,),
    "ReplicationPad2d": (1,),
    "ReplicationPad3d": (1,),
    "Threshold": (0.1, 0.0),
    "Unflatten": (1, (2, 2)),
    "Unfold": (2,),
    "ZeroPad1d": (1,),
    "ZeroPad2d": (1,),
    "ZeroPad3d": (1,),
}


def encoder_layer() -> nn.Module:
    return nn.TransformerEncoderLayer(16, 2, 64, batch_first=True)


def materialised(module: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    """Run a batch of ones, which draws the tensors, through a lazy module."""
    module.eval()(torch.ones(shape))
    return module.train()


def tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()


@pytest.mark.parametrize("build", SAME_DRAWS.values(), ids=SAME_DRAWS)
def test_the_policy_draws_what_the_constructor_draws(
    build: Build, poison: Spoil, assert_same: Check
) -> None:
    torch.manual_seed(11)
    expected = build()
    found = poison(build())
    torch.manual_seed(11)
    initpolicy.apply(found, "torch", draws="torch")
    assert_same(found, expected)


def assert_same_laws(build: Build, spoil: Spoil, policy: str | Path, draws: Any) -> None:
    """Compare many tensors that torch makes with as many that the policy makes."""
    torch.manual_seed(12)
    repeats = 10
    theirs = [build().state_dict() for _ in range(repeats)]
    ours: list[dict[str, Tensor]] = []
    for seed in range(repeats):
        model = spoil(build())
        initpolicy.apply(model, policy, seed=seed, draws=draws)
        ours.append(model.state_dict())
    assert theirs[0]
    for name, first in theirs[0].items():
        if first.unique().numel() == 1:
            assert all(torch.equal(tensors[name], first) for tensors in ours), name
            continue
        expected = torch.cat([tensors[name].flatten() for tensors in theirs])
        found = torch.cat([tensors[name].flatten() for tensors in ours])
        # Of 320 values or more each: the shape by one test, the scale by the other.
        assert stats.ks_2samp(found, expected).pvalue > 1e-4, name
        assert float(found.std()) == pytest.approx(float(expected.std()), rel=0.2), name


@pytest.mark.parametrize("build", SAME_LAWS.values(), ids=SAME_LAWS)
@pytest.mark.parametrize("draws", ["initpolicy", "torch"])
def test_the_policy_follows_the_laws_of_the_constructor(
    build: Build, poison: Spoil, draws: Any
) -> None:
    assert_same_laws(build, poison, "torch", draws)


@pytest.mark.filterwarnings("ignore:.*NLLLoss2d")
@pytest.mark.parametrize("build", GIVEN.values(), ids=GIVEN)
def test_what_a_module_was_given_is_kept(build: Build, assert_same: Check) -> None:
    torch.manual_seed(13)
    expected = build()
    assert list(tensors(expected))
    torch.manual_seed(13)
    found = build()
    plan = initpolicy.apply(found, "torch")
    assert_same(found, expected)
    assert all(decision.winner is not None for decision in plan)


def public_classes() -> list[str]:
    return sorted(
        name
        for name, value in vars(nn).items()
        if inspect.isclass(value) and issubclass(value, nn.Module)
    )


@pytest.mark.filterwarnings("ignore:.*NLLLoss2d")
@pytest.mark.parametrize("name", public_classes())
def test_every_class_of_torch_nn_is_covered(name: str) -> None:
    if name in ("Module", "Container", "ParameterList", "ParameterDict"):
        return  # they have the tensors that their users put there
    tables = {**SAME_DRAWS, **SAME_LAWS, **GIVEN}
    if name in tables:
        model = tables[name]()
    else:
        model = getattr(nn, name)(*WITHOUT_TENSORS.get(name, ()))
        assert not list(tensors(model)), f"{name} has tensors: compare it with its constructor"
    # Nothing may be left for the constructor to have done, buffers included.
    plan = initpolicy.plan(model, "torch")
    assert [decision.name for decision in plan if decision.winner is None] == []
    assert len(plan) == len(list(tensors(model)))


@pytest.mark.parametrize("kind", [nn.Embedding, nn.EmbeddingBag])
def test_padding_rows_stay_zero_and_no_others(kind: type[nn.Embedding], poison: Spoil) -> None:
    model = poison(kind(9, 4, padding_idx=3))
    initpolicy.apply(model, "torch", seed=0)
    zero = (model.weight == 0).all(dim=1)
    assert zero.nonzero().flatten().tolist() == [3]
    assert (model.weight[:3] != 0).all()


@pytest.mark.filterwarnings("ignore:Initializing zero-element")
def test_layers_without_inputs_have_a_zero_bias() -> None:
    with pytest.warns(UserWarning, match="zero-element"):
        expected = nn.Linear(0, 5)
    found = nn.Linear(0, 5, device="meta").to_empty(device="cpu")
    initpolicy.apply(found, "torch")
    assert torch.equal(expected.bias, torch.zeros(5))
    assert torch.equal(found.bias, expected.bias)


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_b0", "shufflenet_v2_x0_5"])
def test_a_whole_model_is_as_after_reset_parameters(
    name: str, zoo: ModuleType, poison: Spoil, assert_same: Check
) -> None:
    expected = getattr(zoo, name)(num_classes=10)
    found = poison(getattr(zoo, name)(num_classes=10))
    torch.manual_seed(14)
    for module in expected.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    torch.manual_seed(14)
    initpolicy.apply(found, "torch", draws="torch")
    assert_same(found, expected)


def test_parameters_of_other_classes_are_not_covered() -> None:
    class Scaled(nn.Linear):
        def __init__(self) -> None:
            super().__init__(3, 4)
            self.scale = nn.Parameter(torch.ones(4))

    class Linear(nn.Module):  # not torch's, whatever it is called
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(4, 4))

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scaled = Scaled()
            self.linear = Linear()

    with pytest.raises(initpolicy.InitPolicyError) as caught:
        initpolicy.plan(Net(), "torch")
    (problem,) = caught.value.problems
    assert problem.code == "IP201"
    assert "scaled.scale (Scaled), linear.weight (Linear)" in problem.message
    assert "scaled.weight" not in problem.message


def test_other_policies_extend_it(tmp_path: Path, poison: Spoil, assert_same: Check) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(
        """
        format = 1
        extends = ["torch"]

        [[rule]]
        type = "Linear"
        init.weight = { fn = "normal", std = 0.5 }
        """
    )

    def build() -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(8, 2))

    expected, found = build(), poison(build())
    torch.manual_seed(15)
    expected[0].reset_parameters()
    nn.init.normal_(expected[3].weight, std=0.5)
    nn.init.uniform_(expected[3].bias, -(8**-0.5), 8**-0.5)
    torch.manual_seed(15)
    plan = initpolicy.apply(found, file, draws="torch")
    assert_same(found, expected)
    assert plan.warnings == ()
    assert plan["3.weight"].losers[0].rule == '"linear layers"'
