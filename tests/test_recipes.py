"""The recipes of docs/recipes.md give the laws that their formulas say."""

import dataclasses
import math
import re
from pathlib import Path

import pytest
import torch
from torch import nn

import initpolicy
from initpolicy.laws import Constant, Law, Normal, Orthogonal, Stacked, TruncatedNormal, Uniform
from initpolicy.policy import parse

DOCUMENT = (Path(__file__).parent.parent / "docs" / "recipes.md").read_text()
SECTIONS = {
    section.partition("\n")[0]: section for section in re.split(r"^## ", DOCUMENT, flags=re.M)[1:]
}
RECIPES = {
    title: re.findall(r"```toml\n(.*?)```", section, re.S) for title, section in SECTIONS.items()
}


class Conv1D(nn.Module):
    """A linear layer that stores its weight as (in, out), as GPT-2's code does."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(inputs, outputs))
        self.bias = nn.Parameter(torch.empty(outputs))


class ColumnParallelLinear(nn.Linear):
    """A linear layer that is split over ranks."""


class FixupBasicBlock(nn.Module):
    """Two convolutions, with scalars where others normalize."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, bias=False)
        self.scale = nn.Parameter(torch.empty(1))
        for name in ("bias1a", "bias1b", "bias2a", "bias2b"):
            self.register_parameter(name, nn.Parameter(torch.empty(1)))


def tree(modules: dict[str, object]) -> nn.Module:
    """Build modules from dicts; a list is a `ModuleList`."""
    built = nn.ModuleDict()
    for name, value in modules.items():
        if isinstance(value, dict):
            built[name] = tree(value)
        elif isinstance(value, list):
            built[name] = nn.ModuleList(
                tree(item) if isinstance(item, dict) else item for item in value
            )
        else:
            built[name] = value
    return built


def gpt2() -> tuple[nn.Module, dict[str, Law]]:
    def block():
        return {
            "ln_1": nn.LayerNorm(8),
            "attn": {"c_attn": Conv1D(8, 24), "c_proj": Conv1D(8, 8)},
            "mlp": {"c_fc": nn.Linear(8, 32), "c_proj": nn.Linear(32, 8)},
        }

    model = tree({"wte": nn.Embedding(50, 8), "h": [block() for _ in range(6)]})
    last = Normal(0.0, 0.02 / math.sqrt(12))
    laws: dict[str, Law] = {"wte.weight": Normal(0.0, 0.02)}
    for i in range(6):
        laws |= {
            f"h.{i}.ln_1.weight": Constant(1.0),
            f"h.{i}.attn.c_attn.weight": Normal(0.0, 0.02),
            f"h.{i}.attn.c_attn.bias": Constant(0.0),
            f"h.{i}.attn.c_proj.weight": last,
            f"h.{i}.mlp.c_fc.weight": Normal(0.0, 0.02),
            f"h.{i}.mlp.c_proj.weight": last,
            f"h.{i}.mlp.c_proj.bias": Constant(0.0),
        }
    return model, laws


def megatron() -> tuple[nn.Module, dict[str, Law]]:
    def layer():
        return {
            "input_layernorm": nn.LayerNorm(8),
            "self_attention": {
                "linear_qkv": ColumnParallelLinear(8, 24),
                "linear_proj": nn.Linear(8, 8),
            },
            "mlp": {"linear_fc1": ColumnParallelLinear(8, 32), "linear_fc2": nn.Linear(32, 8)},
        }

    model = tree(
        {"embedding": nn.Embedding(50, 8), "decoder": {"layers": [layer() for _ in range(3)]}}
    )
    laws: dict[str, Law] = {"embedding.weight": Normal(0.0, 0.02)}
    for i in range(3):
        layers = f"decoder.layers.{i}"
        laws |= {
            f"{layers}.self_attention.linear_qkv.weight": Normal(0.0, 0.02),
            f"{layers}.self_attention.linear_proj.weight": Normal(0.0, 0.02 / math.sqrt(6)),
            f"{layers}.mlp.linear_fc1.weight": Normal(0.0, 0.02),
            f"{layers}.mlp.linear_fc2.weight": Normal(0.0, 0.02 / math.sqrt(6)),
            f"{layers}.mlp.linear_fc2.bias": Constant(0.0),
        }
    return model, laws


def feed_forward() -> dict[str, object]:
    return {
        "w1": nn.Linear(8, 24, bias=False),
        "w2": nn.Linear(24, 8, bias=False),
        "w3": nn.Linear(8, 24, bias=False),
    }


def torchtitan() -> tuple[nn.Module, dict[str, Law]]:
    def layer():
        attention = {name: nn.Linear(8, 8, bias=False) for name in ("wq", "wk", "wv", "wo")}
        return {
            "attention": attention,
            "feed_forward": feed_forward(),
            "ffn_norm": nn.RMSNorm(8),
        }

    model = tree({
        "tok_embeddings": nn.Embedding(50, 8),
        "layers": {str(i): layer() for i in range(3)},
        "output": nn.Linear(8, 50, bias=False),
    })  # fmt: skip
    logits = 8**-0.5
    laws: dict[str, Law] = {
        "tok_embeddings.weight": Normal(0.0, 1.0),
        "output.weight": TruncatedNormal(0.0, logits, -3 * logits, 3 * logits),
    }
    for i in range(3):
        deep = TruncatedNormal(0.0, 0.02 / (2 * (i + 1)) ** 0.5, -2.0, 2.0)
        for name in ("attention.wq", "attention.wk", "attention.wv", "feed_forward.w1"):
            laws[f"layers.{i}.{name}.weight"] = TruncatedNormal(0.0, 0.02, -2.0, 2.0)
        for name in ("attention.wo", "feed_forward.w2", "feed_forward.w3"):
            laws[f"layers.{i}.{name}.weight"] = deep
        laws[f"layers.{i}.ffn_norm.weight"] = Constant(1.0)
    return model, laws


def olmo() -> tuple[nn.Module, dict[str, Law]]:
    def cut(std: float) -> Law:
        return TruncatedNormal(0.0, std, -3 * std, 3 * std)

    def block():
        attention = {name: nn.Linear(8, 8, bias=False) for name in ("w_q", "w_k", "w_v", "w_out")}
        return {
            "attention": attention,
            "feed_forward": feed_forward(),
            "feed_forward_norm": nn.RMSNorm(8),
        }

    model = tree({
        "embeddings": nn.Embedding(50, 8),
        "blocks": {str(i): block() for i in range(3)},
        "lm_head": {"w_out": nn.Linear(8, 50, bias=False)},
    })  # fmt: skip
    laws = {"embeddings.weight": Normal(0.0, 1.0), "lm_head.w_out.weight": cut(8**-0.5)}
    for i in range(3):
        for name in ("attention.w_q", "attention.w_k", "attention.w_v", "feed_forward.w1"):
            laws[f"blocks.{i}.{name}.weight"] = cut(0.02)
        for name in ("attention.w_out", "feed_forward.w2", "feed_forward.w3"):
            laws[f"blocks.{i}.{name}.weight"] = cut(0.02 / (2 * (i + 1)) ** 0.5)
    return model, laws


def fix_init() -> tuple[nn.Module, dict[str, Law]]:
    def block():
        return {
            "norm1": nn.LayerNorm(8),
            "attn": {"qkv": nn.Linear(8, 24), "proj": nn.Linear(8, 8)},
            "mlp": {"fc1": nn.Linear(8, 32), "fc2": nn.Linear(32, 8)},
        }

    model = tree({"blocks": [block() for _ in range(3)], "head": nn.Linear(8, 10)})
    plain = TruncatedNormal(0.0, 0.02, -2.0, 2.0)
    laws: dict[str, Law] = {"head.weight": plain, "head.bias": Constant(0.0)}
    for i in range(3):
        divisor = math.sqrt(2.0 * (i + 1))
        divided = TruncatedNormal(0.0, 0.02 / divisor, -2.0 / divisor, 2.0 / divisor)
        laws |= {
            f"blocks.{i}.attn.qkv.weight": plain,
            f"blocks.{i}.attn.proj.weight": divided,
            f"blocks.{i}.mlp.fc1.weight": plain,
            f"blocks.{i}.mlp.fc2.weight": divided,
            f"blocks.{i}.mlp.fc2.bias": Constant(0.0),
        }
    return model, laws


def gpt_neox() -> tuple[nn.Module, dict[str, Law]]:
    def layer():
        return {
            "norm": nn.LayerNorm(8),
            "attention": {"query_key_value": nn.Linear(8, 24), "dense": nn.Linear(8, 8)},
            "mlp": {"dense_h_to_4h": nn.Linear(8, 32), "dense_4h_to_h": nn.Linear(32, 8)},
        }

    model = tree({"embed_in": nn.Embedding(50, 8), "layers": [layer() for _ in range(5)]})
    small, wang = Normal(0.0, math.sqrt(2 / (5 * 8))), Normal(0.0, 2 / (5 * math.sqrt(8)))
    laws: dict[str, Law] = {"embed_in.weight": small}
    for i in range(5):
        laws |= {
            f"layers.{i}.attention.query_key_value.weight": small,
            f"layers.{i}.attention.dense.weight": wang,
            f"layers.{i}.mlp.dense_h_to_4h.weight": small,
            f"layers.{i}.mlp.dense_4h_to_h.weight": wang,
        }
    return model, laws


def fixup() -> tuple[nn.Module, dict[str, Law]]:
    model = tree({
        "conv1": nn.Conv2d(3, 4, 3, bias=False),
        "layer1": [FixupBasicBlock(4, 4), FixupBasicBlock(4, 4)],
        "layer2": [FixupBasicBlock(4, 8), FixupBasicBlock(8, 8), FixupBasicBlock(8, 8)],
        "fc": nn.Linear(8, 10),
    })  # fmt: skip
    laws: dict[str, Law] = {
        "conv1.weight": Normal(0.0, math.sqrt(2 / (4 * 9))),
        "fc.weight": Constant(0.0),
        "fc.bias": Constant(0.0),
    }
    for block, outputs in (("layer1.0", 4), ("layer1.1", 4), ("layer2.0", 8), ("layer2.2", 8)):
        laws |= {
            f"{block}.conv1.weight": Normal(0.0, math.sqrt(2 / (outputs * 9)) / math.sqrt(5)),
            f"{block}.conv2.weight": Constant(0.0),
            f"{block}.scale": Constant(1.0),
            f"{block}.bias1a": Constant(0.0),
            f"{block}.bias2b": Constant(0.0),
        }
    return model, laws


def t_fixup() -> tuple[nn.Module, dict[str, Law]]:
    def attention():
        return {name: nn.Linear(8, 8) for name in ("q_proj", "k_proj", "v_proj", "out_proj")}

    def layer(*attentions: str):
        return {
            **{name: attention() for name in attentions},
            "fc1": nn.Linear(8, 32),
            "fc2": nn.Linear(32, 8),
        }

    model = tree({
        "encoder": {
            "embed_tokens": nn.Embedding(50, 8),
            "layers": [layer("self_attn") for _ in range(3)],
        },
        "decoder": {
            "embed_tokens": nn.Embedding(50, 8),
            "layers": [layer("self_attn", "encoder_attn") for _ in range(2)],
        },
    })  # fmt: skip

    def xavier(inputs: int, outputs: int, factor: float = 1.0) -> Law:
        bound = factor * math.sqrt(6 / (inputs + outputs))
        return Uniform(-bound, bound)

    encoder, decoder = 0.67 / 3**0.25, 1 / 18**0.25
    laws: dict[str, Law] = {
        "encoder.embed_tokens.weight": Normal(0.0, decoder / math.sqrt(8)),
        "decoder.embed_tokens.weight": Normal(0.0, decoder / math.sqrt(8)),
    }
    for side, depth, factor, attentions in (
        ("encoder", 3, encoder, ("self_attn",)),
        ("decoder", 2, decoder, ("self_attn", "encoder_attn")),
    ):
        for i in range(depth):
            for name in attentions:
                laws |= {
                    f"{side}.layers.{i}.{name}.q_proj.weight": xavier(8, 8),
                    f"{side}.layers.{i}.{name}.k_proj.weight": xavier(8, 8),
                    f"{side}.layers.{i}.{name}.v_proj.weight": xavier(8, 8, factor),
                    f"{side}.layers.{i}.{name}.out_proj.weight": xavier(8, 8, factor),
                }
            laws |= {
                f"{side}.layers.{i}.fc1.weight": xavier(8, 32, factor),
                f"{side}.layers.{i}.fc2.weight": xavier(32, 8, factor),
            }
    return model, laws


def mup() -> tuple[nn.Module, dict[str, Law]]:
    model = tree({"up": nn.Linear(4, 64), "hidden": nn.Linear(64, 64), "out": nn.Linear(64, 16)})
    return model, {
        "up.weight": Normal(0.0, 1 / 2),
        "hidden.weight": Normal(0.0, 1 / 8),
        "out.weight": Normal(0.0, 1 / 16),  # sqrt(16 / 64) / sqrt(64)
        "out.bias": Constant(0.0),
    }


def siren() -> tuple[nn.Module, dict[str, Law]]:
    layers = [{"linear": nn.Linear(2, 24)}, {"linear": nn.Linear(24, 24)}, nn.Linear(24, 1)]
    bound = math.sqrt(6 / 24) / 30
    return tree({"net": layers}), {
        "net.0.linear.weight": Uniform(-1 / 2, 1 / 2),
        "net.0.linear.bias": Uniform(-1 / math.sqrt(2), 1 / math.sqrt(2)),
        "net.1.linear.weight": Uniform(-bound, bound),
        "net.2.weight": Uniform(-bound, bound),
    }


def depthwise() -> tuple[nn.Module, dict[str, Law]]:
    model = tree({
        "stem": nn.Conv2d(3, 8, 3),
        "depthwise": nn.Conv2d(8, 8, 5, groups=8, bias=False),
        "grouped": nn.Conv2d(8, 16, 3, groups=4, bias=False),
        "norm": nn.BatchNorm2d(16),
    })  # fmt: skip
    return model, {
        "stem.weight": Normal(0.0, math.sqrt(2 / (8 * 9))),
        "depthwise.weight": Normal(0.0, math.sqrt(2 / 25)),
        "grouped.weight": Normal(0.0, math.sqrt(2 / (4 * 9))),
        "norm.weight": Constant(1.0),
    }


def forget_gates() -> tuple[nn.Module, dict[str, Law]]:
    model = nn.LSTM(4, 6, num_layers=2, bidirectional=True)
    laws: dict[str, Law] = {}
    for end, inputs in (("l0", 4), ("l0_reverse", 4), ("l1", 12), ("l1_reverse", 12)):
        bound = math.sqrt(6 / (inputs + 6))
        laws |= {
            f"weight_ih_{end}": Uniform(-bound, bound),  # the fans of one gate, not of the four
            f"weight_hh_{end}": Stacked((Orthogonal(1.0),) * 4),
            f"bias_ih_{end}": Stacked(
                (Constant(0.0), Constant(1.0), Constant(0.0), Constant(0.0)),
            ),
            f"bias_hh_{end}": Constant(0.0),
        }
    return model, laws


def focal_prior() -> tuple[nn.Module, dict[str, Law]]:
    model = tree({
        "conv": nn.Conv2d(4, 4, 3),
        "cls_logits": nn.Conv2d(4, 9, 3),
        "bbox_reg": nn.Conv2d(4, 4, 3),
    })  # fmt: skip
    return model, {
        "conv.bias": Constant(0.0),
        "cls_logits.weight": Normal(0.0, 0.01),
        "cls_logits.bias": Constant(-math.log(99)),
        "bbox_reg.bias": Constant(0.0),
    }


CASES = {
    "GPT-2": gpt2,
    "Megatron": megatron,
    "torchtitan": torchtitan,
    "OLMo": olmo,
    "fix_init": fix_init,
    "GPT-NeoX": gpt_neox,
    "Fixup": fixup,
    "T-Fixup": t_fixup,
    "muP": mup,
    "SIREN": siren,
    "Depthwise convolutions": depthwise,
    "Forget gates": forget_gates,
    "Focal prior": focal_prior,
}


def numbers(law: Law) -> list[float]:
    """Give the parameters of a law, and of those that it is made of."""
    if isinstance(law, Stacked):
        return [number for part in law.parts if part is not None for number in numbers(part)]
    return [float(number) for number in dataclasses.astuple(law)]


def kinds(law: Law) -> list[str]:
    parts = law.parts if isinstance(law, Stacked) else ()
    return [law.kind, *(part.kind for part in parts if part is not None)]


def test_every_recipe_is_tested():
    assert list(RECIPES) == list(CASES)
    assert all(len(blocks) == 1 for blocks in RECIPES.values())


@pytest.mark.parametrize("title", SECTIONS)
def test_a_recipe_has_a_source_and_says_when_to_use_it(title: str):
    assert "\nSource: " in SECTIONS[title]
    assert re.search(r"\bUse\s+it\b", SECTIONS[title])


@pytest.mark.parametrize("title", CASES)
def test_a_recipe_gives_the_laws_of_its_formula(title: str):
    model, laws = CASES[title]()
    plan = initpolicy.plan(model, parse(RECIPES[title][0]))
    assert plan.warnings == ()
    for name, law in laws.items():
        planned = plan[name].law
        assert kinds(planned) == kinds(law), name
        assert numbers(planned) == pytest.approx(numbers(law), rel=1e-12), name


@pytest.mark.parametrize("title", CASES)
def test_a_recipe_can_be_carried_out(title: str):
    model, _ = CASES[title]()
    initpolicy.apply(model, parse(RECIPES[title][0]), seed=0)
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())


def test_the_focal_prior_is_the_number_of_the_paper():
    model, _ = CASES["Focal prior"]()
    initpolicy.apply(model, parse(RECIPES["Focal prior"][0]), seed=0)
    bias = model.get_parameter("cls_logits.bias")
    assert torch.sigmoid(bias).tolist() == pytest.approx([0.01] * 9, rel=1e-6)
    assert bias.tolist() == pytest.approx([-4.595] * 9, abs=1e-3)


def test_the_sum_of_the_forget_biases_is_one():
    model, _ = CASES["Forget gates"]()
    initpolicy.apply(model, parse(RECIPES["Forget gates"][0]), seed=0)
    total = model.get_parameter("bias_ih_l0") + model.get_parameter("bias_hh_l0")
    assert total.tolist() == [0.0] * 6 + [1.0] * 6 + [0.0] * 12
