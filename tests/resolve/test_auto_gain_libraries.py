"""Gains that follow from what follows a layer, in models of libraries."""

from __future__ import annotations

import sys
from collections import Counter
from importlib import import_module
from pathlib import Path

import pytest
import torch
from torch import nn

import initpolicy
from initpolicy.policy import parse
from initpolicy.problems import InitPolicyError

sys.path.insert(0, str(Path(__file__).parents[1] / "zoo"))
libraries = import_module("libraries")

POLICY = """\
format = 1
uncovered = "keep"
[[rule]]
type = ["Linear", "Conv2d", "Conv1D"]
init.weight = { fn = "kaiming_normal", nonlinearity = "auto" }
"""


def names(model: nn.Module, **options) -> dict[str, str]:
    """What each layer's gain is for, by the name of the layer."""
    plan = initpolicy.plan(model, parse(POLICY), **options)
    found: dict[str, str] = {}
    for decision in plan:
        if decision.winner is not None:
            what = decision.winner.initializer.partition(" for ")[2].removesuffix(")")
            found[decision.name.removesuffix(".weight")] = what
    return found


def test_residual_networks() -> None:
    with torch.device("meta"):
        model = libraries.torchvision_models().resnet18(weights=None)
    found = names(model)
    rectified = {"conv1", *(f"layer{i}.{j}.conv1" for i in range(1, 5) for j in range(2))}
    assert {name for name, what in found.items() if what == "relu"} == rectified
    assert found.pop("fc") == "the end of the model"
    assert {found[name] for name in set(found) - rectified} == {"an addition"}
    assert names(model, input="2,3,64,64") == {**found, "fc": "the end of the model"}


def test_stacks_of_convolutions() -> None:
    with torch.device("meta"):
        model = libraries.torchvision_models().vgg11_bn(weights=None)
    assert Counter(names(model).values()) == {"relu": 10, "the end of the model": 1}


@pytest.mark.zoo
@pytest.mark.parametrize("name", ["resnet18", "resnetv2_50", "vit_tiny_patch16_224"])
def test_models_of_timm(name) -> None:
    with torch.device("meta"):
        model = libraries.timm().create_model(name)
    found = names(model)
    assert found == names(model, input="2,3,224,224")
    assert {"relu", "gelu"} & set(found.values())


def bert() -> nn.Module:
    library = libraries.transformers()
    return library.BertModel(
        library.BertConfig(
            num_hidden_layers=1, hidden_size=16, num_attention_heads=2, intermediate_size=32
        )
    )


def gpt2() -> nn.Module:
    library = libraries.transformers()
    return library.GPT2LMHeadModel(library.GPT2Config(n_layer=1, n_embd=16, n_head=2))


BERT = {
    "encoder.layer.0.attention.self.query": "a matrix product",
    "encoder.layer.0.attention.self.key": "a matrix product",
    "encoder.layer.0.attention.self.value": "a matrix product",
    "encoder.layer.0.attention.output.dense": "an addition",
    "encoder.layer.0.intermediate.dense": "geluactivation",
    "encoder.layer.0.output.dense": "an addition",
    "pooler.dense": "tanh",
}
GPT2 = {
    "transformer.h.0.attn.c_attn": "a matrix product",
    "transformer.h.0.attn.c_proj": "an addition",
    "transformer.h.0.mlp.c_fc": "newgeluactivation",
    "transformer.h.0.mlp.c_proj": "an addition",
}


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize(("build", "expected"), [(bert, BERT), (gpt2, GPT2)])
def test_transformers_say_themselves_what_they_are_called_with(build, expected, device) -> None:
    with torch.device(device):
        model = build()
    assert names(model) == expected
    assert names(model, input="input_ids=2,8:int64:50") == expected


def test_gated_layers_are_told_of_by_name() -> None:
    library = libraries.transformers()
    with torch.device("meta"):
        model = library.LlamaModel(
            library.LlamaConfig(
                num_hidden_layers=1, hidden_size=16, num_attention_heads=2, intermediate_size=32
            )
        )
    with pytest.raises(InitPolicyError) as caught:
        names(model)
    (problem,) = caught.value.problems
    assert problem.code == "IP233"
    assert "for layers.0.mlp.gate_proj.weight, layers.0.mlp.up_proj.weight: " in problem.message
