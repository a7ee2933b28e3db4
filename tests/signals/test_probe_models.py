"""Unmodified models of other libraries are probed as they are."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest

import initpolicy
from initpolicy.signals import Probe

sys.path.insert(0, str(Path(__file__).parent.parent / "zoo"))

from libraries import timm, torchvision_models, transformers


def seen(found: Probe, function: str) -> int:
    return sum(layer.function == function for layer in found.layers)


def test_resnet18() -> None:
    model = torchvision_models().resnet18(num_classes=10)
    found = initpolicy.probe(model, "resnet", input=(4, 3, 32, 32), draws=1)
    assert found.ok
    # 17 on the way and 3 beside it; each block calls its one activation twice.
    assert (seen(found, "conv2d"), seen(found, "linear"), seen(found, "relu")) == (20, 1, 17)
    assert found["layer1.0.relu #2"].kind == "activation"
    assert found.forwards is not None
    assert 0.9 < found.forwards.factor < 1.1


def test_a_small_densenet() -> None:
    from torchvision.models import DenseNet

    model = DenseNet(8, (2, 2), 16, num_classes=5)
    found = initpolicy.probe(model, "torchvision-densenet", input="4,3,32,32", draws=1)
    assert found.ok
    assert seen(found, "conv2d") == 1 + 2 * 4 + 1


def test_a_small_vit() -> None:
    model = timm().create_model("vit_tiny_patch16_224", depth=2, img_size=32, num_classes=5)
    found = initpolicy.probe(model, "vit", input="2,3,32,32", draws=2)
    attention = [layer for layer in found.layers if layer.kind == "attention"]
    assert [layer.name for layer in attention] == ["blocks.0.attn", "blocks.1.attn"]
    # Drawn with std 0.02, queries and keys hardly tell patches apart: 4 and the class.
    assert attention[0].entropy == pytest.approx(math.log(5), rel=0.01)
    assert seen(found, "gelu") == 2


@pytest.mark.parametrize("way", ["eager", "sdpa"])
def test_a_small_gpt2(way: str) -> None:
    library = transformers()
    config = library.GPT2Config(
        n_layer=2, n_embd=32, n_head=2, vocab_size=99, n_positions=50, bos_token_id=0,
        eos_token_id=0, attn_implementation=way,
    )  # fmt: skip
    model = library.GPT2LMHeadModel(config)
    found = initpolicy.probe(model, "gpt2", input="input_ids=3,20:int64", draws=2)
    assert found.ok, str(found)
    attention = [layer for layer in found.layers if layer.kind == "attention"]
    assert [layer.name for layer in attention] == [f"transformer.h.{n}.attn" for n in (0, 1)]
    # Weights of std 0.02 give nearly equal logits: query n is spread over n keys, from 2 on.
    uniform = sum(math.log(keys) for keys in range(2, 21)) / 19
    assert attention[0].entropy == pytest.approx(uniform, rel=0.01)
    assert found["transformer.h.0.mlp.act"].function == "NewGELUActivation"
    assert seen(found, "tanh") == 0
