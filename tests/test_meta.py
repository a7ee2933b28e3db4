"""Models on the meta device that get memory: what they hold is what they were built for."""

from __future__ import annotations

import sys
import weakref
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import initpolicy
from initpolicy import InitPolicyError
from initpolicy.policy import parse

sys.path.insert(0, str(Path(__file__).parent / "zoo"))

NORMAL = 'format = 1\nseed = 1\n[[rule]]\ninit.weight = "normal"\ninit.bias = 0\n'


class Marked(nn.Parameter):
    """A parameter of a class of its own."""


class Pair(nn.Module):
    """Two layers that share a weight, and another that is frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.second = nn.Linear(3, 3)
        self.second.weight = self.first.weight
        self.third = nn.Linear(3, 2).requires_grad_(False)
        self.third.bias = Marked(torch.empty(2), requires_grad=False)
        self.first.weight.learning_rate = 0.5
        self.third.half()


def on(device: str, build: Any) -> Any:
    with torch.device(device):
        return build()


def test_memory_is_given_to_the_tensors_that_are_there() -> None:
    policy = parse(NORMAL)
    wanted, model = Pair(), on("meta", Pair)
    before = dict(model.named_parameters(remove_duplicate=False))
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    plan = initpolicy.apply(model, policy, device="cpu")
    assert plan == initpolicy.apply(wanted, policy)
    after = dict(model.named_parameters(remove_duplicate=False))
    for name, tensor in wanted.named_parameters(remove_duplicate=False):
        assert after[name] is before[name]
        assert type(after[name]) is type(tensor)
        assert after[name].dtype == tensor.dtype
        assert after[name].requires_grad == tensor.requires_grad
        assert torch.equal(after[name], tensor)
    assert model.second.weight is model.first.weight
    assert model.first.weight.learning_rate == 0.5
    model.first.weight.grad = torch.ones(3, 3)
    optimizer.step()
    assert torch.equal(model.first.weight, wanted.first.weight - 1)


def test_what_is_held_weakly_is_replaced_under_all_its_names() -> None:
    model = on("meta", Pair)
    held = weakref.ref(model.first.weight)
    initpolicy.apply(model, parse(NORMAL), device="cpu")
    assert held() is None or held().is_meta
    assert model.second.weight is model.first.weight
    assert model.first.weight.learning_rate == 0.5
    wanted = Pair()
    initpolicy.apply(wanted, parse(NORMAL))
    assert torch.equal(model.second.weight, wanted.second.weight)


@pytest.mark.parametrize("make", [parametrizations.weight_norm, parametrizations.spectral_norm])
@pytest.mark.parametrize(
    "rule",
    ['init.weight = "orthogonal"', 'type = "ParametrizationList"\ninit."original*" = "normal"'],
)
def test_a_parametrized_module_gets_memory_for_all_that_it_keeps(make: Any, rule: str) -> None:
    policy = parse(f"format = 1\n[[rule]]\ninit.bias = 0\n[[rule]]\n{rule}")
    wanted, model = make(nn.Linear(4, 4)), on("meta", lambda: make(nn.Linear(4, 4)))
    initpolicy.apply(wanted, policy)
    initpolicy.apply(model, policy, device="cpu")
    assert {
        n for n, t in wanted.state_dict().items() if not t.equal(model.state_dict()[n])
    } == set()
    assert torch.equal(model.eval().weight, wanted.eval().weight)


def test_a_law_that_a_module_would_not_follow_leaves_it_without_memory() -> None:
    model = on("meta", lambda: parametrizations.spectral_norm(nn.Linear(4, 4)))
    with pytest.raises(InitPolicyError, match=r"^IP305 weight cannot be N\(0, 1\): it is computed"):
        initpolicy.apply(model, parse(NORMAL), device="cpu")
    assert all(tensor.is_meta for tensor in model.state_dict().values())


@pytest.fixture(scope="module")
def transformers() -> ModuleType:
    if not find_spec("transformers") or not find_spec("torchvision"):
        pytest.skip("needs transformers")
    import libraries  # of tests/zoo

    return libraries.transformers()


def test_a_llama_has_the_frequencies_that_its_constructor_computes(
    transformers: ModuleType,
) -> None:
    config = transformers.LlamaConfig(
        vocab_size=32,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        tie_word_embeddings=True,
    )
    built = transformers.LlamaForCausalLM(config)
    model = on("meta", lambda: transformers.LlamaForCausalLM(config))
    initpolicy.apply(model, "llama", seed=0, device="cpu")
    initpolicy.apply(built, "llama", seed=0)
    buffers = dict(model.named_buffers())
    assert "model.rotary_emb.inv_freq" in buffers
    inverse = 10000.0 ** -(torch.arange(0, 8, 2) / 8)
    assert torch.allclose(buffers["model.rotary_emb.inv_freq"], inverse)
    assert model.lm_head.weight is model.model.embed_tokens.weight
    tokens = torch.arange(6)[None]
    assert torch.equal(model(tokens).logits, built(tokens).logits)


def weight_normed(inputs: int, outputs: int, bias: bool, device: str) -> nn.Module:
    return parametrizations.weight_norm(nn.Linear(inputs, outputs, bias, device))


@pytest.mark.parametrize("build", [nn.Linear, weight_normed])
def test_a_part_that_is_kept_has_no_values_on_the_meta_device(build: Any) -> None:
    policy = parse('format = 1\n[[rule]]\ninit.weight = { chunks = ["ones", "keep"] }')
    model = build(3, 4, False, "meta")
    with pytest.raises(InitPolicyError) as caught:
        initpolicy.apply(model, policy, device="cpu")
    assert [problem.code for problem in caught.value.problems] == ["IP306"]
    assert "nothing gives values to it: a part of weight" in str(caught.value)
    assert all(tensor.is_meta for tensor in model.parameters())
