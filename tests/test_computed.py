"""Rules on tensors that modules compute: parametrizations, and the older weight norm."""

import re
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize

import initpolicy
from initpolicy import InitPolicyError
from initpolicy.model import read
from initpolicy.policy import parse

ROWS = 'format = 1\n[[rule]]\ntype = "{}"\ninit.weight = {}\ninit.bias = 0\n'


def old_weight_norm(module, **arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return nn.utils.weight_norm(module, **arguments)


def plain(module, value, seed=0):
    """What the same rule gives a module of the same kind that computes nothing."""
    initpolicy.apply(module, parse(ROWS.format("*", value)), seed=seed)
    return module.weight


class Softplus(nn.Module):
    def forward(self, raw):
        return nn.functional.softplus(raw)


class Doubled(nn.Module):
    def forward(self, half):
        return 2 * half

    def right_inverse(self, whole):
        return whole / 2


class Sum(nn.Module):
    """Two originals of other shapes: a mean for each row, and the rest."""

    def forward(self, mean, rest):
        return mean[:, None] + rest

    def right_inverse(self, whole):
        return whole.mean(1), whole - whole.mean(1, keepdim=True)


def conv(wrap=None, dim=None):
    # as in transformers' Wav2Vec2PositionalConvEmbedding: a norm for each tap of the kernel
    layer = nn.Conv1d(8, 8, kernel_size=6, padding=3, groups=2)
    return layer if wrap is None else wrap(layer, name="weight", dim=dim)


@pytest.mark.parametrize("wrap", [parametrizations.weight_norm, old_weight_norm])
@pytest.mark.parametrize("dim", [0, 2, None])
def test_weight_norm_of_a_positional_convolution(wrap, dim):
    value = '{ fn = "normal", std = "2 * sqrt(1 / (shape[2] * shape[1]))" }'
    layer = conv(wrap, dim)
    kept = [*layer.parameters()]
    plan = initpolicy.apply(layer, parse(ROWS.format("Conv1d", value)))
    expected = plain(conv(), value)
    assert str(plan["weight"].law) == "N(0, 0.4082)"
    torch.testing.assert_close(layer.weight, expected, rtol=1e-6, atol=1e-7)
    assert all(a is b for a, b in zip(kept, layer.parameters(), strict=True))
    # what the module computes in a forward pass, not only what it shows
    x = torch.randn(1, 8, 12)
    reference = conv()
    reference.load_state_dict({"weight": expected, "bias": torch.zeros(8)})
    torch.testing.assert_close(layer(x), reference(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_weight_norm_in_other_types(dtype):
    layer = parametrizations.weight_norm(nn.Linear(9, 5, dtype=dtype))
    initpolicy.apply(layer, parse(ROWS.format("Linear", '"xavier_normal"')))
    expected = plain(nn.Linear(9, 5, dtype=dtype), '"xavier_normal"')
    torch.testing.assert_close(layer.weight, expected)


@pytest.mark.parametrize("shape", [(6, 6), (4, 9), (9, 4)])
@pytest.mark.parametrize(
    "wrap",
    [
        parametrizations.orthogonal,
        lambda module: parametrizations.orthogonal(module, orthogonal_map="householder"),
        lambda module: parametrizations.orthogonal(
            module, orthogonal_map="householder", use_trivialization=False
        ),
        parametrizations.spectral_norm,
    ],
)
def test_an_orthogonal_weight_of_an_orthogonal_parametrization(wrap, shape):
    layer = wrap(nn.Linear(*shape))
    state = torch.get_rng_state()
    initpolicy.apply(layer, parse(ROWS.format("Linear", '"orthogonal"')), seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    again = wrap(nn.Linear(*shape))
    initpolicy.apply(again, parse(ROWS.format("Linear", '"orthogonal"')), seed=3)
    for name, tensor in layer.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    expected = plain(nn.Linear(*shape), '"orthogonal"', seed=3)
    torch.testing.assert_close(layer.weight, expected, rtol=0, atol=2e-6)


def test_spectral_norm_divides_by_the_norm_of_the_new_original():
    text = """
    format = 1
    [[rule]]
    type = "Linear"
    init.weight = "keep"
    init.bias = 0
    [[rule]]
    type = "ParametrizationList"
    init.original = { fn = "normal", std = 3 }
    """
    layer = parametrizations.spectral_norm(nn.Linear(30, 20))
    layer.parametrizations.weight[0]._u.fill_(torch.nan)  # as after to_empty
    initpolicy.apply(layer, parse(text))
    layer.eval()
    assert float(torch.linalg.matrix_norm(layer.weight.detach(), 2)) == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("wrap", [Doubled, Sum])
def test_a_user_s_parametrization(wrap):
    layer = nn.Linear(7, 5)
    parametrize.register_parametrization(layer, "weight", wrap())
    initpolicy.apply(layer, parse(ROWS.format("=Linear", '"kaiming_uniform"')))
    expected = plain(nn.Linear(7, 5), '"kaiming_uniform"')
    torch.testing.assert_close(layer.weight, expected)


def test_several_parametrizations_of_one_weight():
    layer = nn.Linear(7, 5)
    parametrizations.weight_norm(layer)
    parametrize.register_parametrization(layer, "weight", Doubled())
    layer.to(torch.float64)
    initpolicy.apply(layer, parse(ROWS.format("Linear", '"xavier_normal"')))
    expected = plain(nn.Linear(7, 5, dtype=torch.float64), '"xavier_normal"')
    torch.testing.assert_close(layer.weight, expected)


def test_torchs_draws_are_those_of_the_loop():
    layer = nn.Sequential(parametrizations.weight_norm(nn.Linear(7, 5)), nn.Linear(5, 3))
    torch.manual_seed(1)
    initpolicy.apply(layer, parse(ROWS.format("Linear", '"xavier_uniform"')), draws="torch")
    torch.manual_seed(1)
    for module in layer:
        expected = nn.init.xavier_uniform_(torch.empty_like(module.weight))
        torch.testing.assert_close(module.weight, expected)


def test_laws_and_facts_are_those_of_the_computed_weight():
    layer = nn.ModuleDict(
        {
            "a": parametrizations.weight_norm(nn.Linear(16, 5)),
            "b": old_weight_norm(nn.Linear(16, 5)),
        }
    )
    text = """
    format = 1
    [[rule]]
    init.weight = { fn = "normal", std = "1 / sqrt(fan_in)" }
    init.bias = { fn = "normal", std = "1 / weight.fan_in" }
    """
    plan = initpolicy.plan(layer, parse(text))
    for name in "ab":
        assert str(plan[f"{name}.weight"].law) == "N(0, 0.25)"
        assert str(plan[f"{name}.bias"].law) == "N(0, 0.0625)"
        assert plan[f"{name}.weight"].module_type == "Linear"
        assert plan[f"{name}.weight"].shape == (5, 16)
    assert [decision.name for decision in plan.filled] == [
        "a.weight",
        "a.bias",
        "b.weight",
        "b.bias",
    ]
    assert initpolicy.Plan.from_json(plan.to_json()) == plan


@pytest.mark.parametrize(
    "wrap",
    [
        parametrizations.weight_norm,
        parametrizations.spectral_norm,
        lambda module: parametrizations.orthogonal(module),
        old_weight_norm,
    ],
)
def test_planning_on_meta_reads_and_changes_nothing(wrap):
    policy = parse(ROWS.format("Linear", '"orthogonal"'))
    real = wrap(nn.Linear(6, 4))
    before = {name: tensor.clone() for name, tensor in real.state_dict().items()}
    plan = initpolicy.plan(real, policy)
    for name, tensor in real.state_dict().items():
        assert torch.equal(tensor, before[name])
    meta = real.to("meta")
    assert initpolicy.plan(meta, policy).decisions == plan.decisions
    with pytest.raises(InitPolicyError, match="IP303"):
        initpolicy.apply(meta, policy)


def test_a_shared_module_is_set_once_under_both_names():
    layer = parametrizations.weight_norm(nn.Linear(4, 4))
    model = nn.ModuleDict({"a": layer, "b": layer})
    plan = initpolicy.apply(model, parse(ROWS.format("Linear", '"xavier_normal"')))
    assert plan["a.weight"].aliases == ("b.weight",)
    plain_model = nn.ModuleDict({"a": nn.Linear(4, 4)})
    initpolicy.apply(plain_model, parse(ROWS.format("Linear", '"xavier_normal"')))
    torch.testing.assert_close(layer.weight, plain_model["a"].weight)


def test_parts_of_a_chunked_weight_that_are_kept():
    layer = parametrizations.weight_norm(nn.Linear(4, 6))
    before = layer.weight.detach().clone()
    value = '{ chunks = ["keep", { fn = "constant", val = 2 }] }'
    initpolicy.apply(layer, parse(ROWS.format("Linear", value)))
    torch.testing.assert_close(layer.weight[:3], before[:3])
    torch.testing.assert_close(layer.weight[3:], torch.full((3, 4), 2.0))


# Which tensor a key speaks of


def test_a_key_that_names_the_weight_does_not_speak_of_its_parts():
    for layer, part in (
        (parametrizations.weight_norm(nn.Linear(4, 6)), "parametrizations.weight.original0"),
        (old_weight_norm(nn.Linear(4, 6)), "weight_g"),
    ):
        for key in ("'*'", "'*weight*'", "'{weight,bias}'"):
            text = f"format = 1\n[[rule]]\ninit.bias = 0\n[[rule]]\ninit.{key} = 1"
            plan = initpolicy.plan(layer, parse(text))
            assert plan[part].law is None
            assert plan[part].winner is None
            assert str(plan["weight"].law) == "1"


@pytest.mark.parametrize(
    ("wrap", "prefix", "g", "v"),
    [
        (parametrizations.weight_norm, "parametrizations.weight.", "original0", "original1"),
        (old_weight_norm, "", "weight_g", "weight_v"),
    ],
)
def test_rules_on_the_parts(wrap, prefix, g, v):
    layer = wrap(nn.Linear(4, 6))
    text = (
        "format = 1\n[[rule]]\ninit.bias = 0\n"
        f'[[rule]]\ninit.{g} = 2\ninit.{v} = {{ fn = "normal", std = 0.1 }}'
    )
    plan = initpolicy.apply(layer, parse(text))
    assert plan["weight"].law is None
    assert str(plan[f"{prefix}{v}"].law) == "N(0, 0.1)"
    # also of the old weight norm, whose weight is else computed with the next forward pass
    torch.testing.assert_close(layer.weight.norm(dim=1), torch.full((6,), 2.0))
    half = f"format = 1\n[[rule]]\ninit.bias = 0\n[[rule]]\ninit.{g} = 2"
    with pytest.raises(
        InitPolicyError, match=f"IP201 1 parameter is covered by no .*: {prefix}{v} "
    ):
        initpolicy.plan(layer, parse(half))


def said(model, text, act=initpolicy.plan):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(InitPolicyError) as caught:
        act(model, parse(text, "x.toml"))
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])
    return str(caught.value)


def test_a_weight_that_no_rule_covers_is_named_and_not_its_parts():
    layer = parametrizations.weight_norm(nn.Linear(4, 6))
    assert said(layer, "format = 1\n[[rule]]\ninit.bias = 0").startswith(
        "x.toml: IP201 1 parameter is covered by no rule: weight (Linear); "
    )


def test_rules_on_both_are_an_error():
    layer = nn.ModuleDict({"fc": parametrizations.weight_norm(nn.Linear(4, 6))})
    text = ROWS.format("Linear", "1") + '[[rule]]\ntype = "ParametrizationList"\ninit.original0 = 2'
    assert said(layer, text) == (
        "x.toml:8: IP214 fc.weight is computed from fc.parametrizations.weight.original0: rule "
        "type Linear sets the one, and rule type ParametrizationList the other; set fc.weight to "
        '"keep" in a later rule, or leave fc.parametrizations.weight.original0 to the rule on it'
    )


def test_a_parametrization_without_right_inverse_is_an_error_of_the_plan():
    layer = nn.Linear(4, 6)
    parametrize.register_parametrization(layer, "weight", Softplus())
    assert said(layer, ROWS.format("Linear", '"xavier_normal"')) == (
        "x.toml:4: IP215 rule type Linear: `init.weight`, for weight: it is computed, and cannot "
        "be set: Softplus has no right_inverse; write a rule on `original` of ParametrizationList, "
        "from which it is computed"
    )
    layer = parametrizations.weight_norm(nn.Linear(4, 6))
    parametrize.register_parametrization(layer, "weight", Softplus())
    assert "Softplus has no right_inverse" in said(layer, ROWS.format("Linear", "1"))


@pytest.mark.parametrize(
    ("wrap", "value", "message"),
    [
        (parametrizations.spectral_norm, '"xavier_normal"',
         r"weight cannot be N\(0, 0.3651\): it is computed by spectral norm; set so, it differs "
         r"by [0-9.]+, and its norm is [0-9.]+; give it a law that it can follow, or write a rule "
         r"on `original` of ParametrizationList, from which it is computed"),
        (parametrizations.orthogonal, '"xavier_normal"',
         r"weight cannot be N\(0, 0.3651\): it is computed by the orthogonal parametrization; s"),
        (lambda m: parametrizations.orthogonal(m, "weight", "cayley", use_trivialization=False),
         '"orthogonal"', r"weight cannot be orthogonal: .*; It is not possible to assign to the "),
        (parametrizations.weight_norm, "0",
         r"weight cannot be 0: it is computed by weight norm; set so, it is NaN or infinite; give"),
        (old_weight_norm, "0",
         r"weight cannot be 0: it is computed by weight norm; set so, it is NaN or infinite; give"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("draws", ["initpolicy", "torch"])
def test_what_cannot_be_computed_leaves_the_model_as_it_was(wrap, value, message, draws):
    model = nn.Sequential(nn.Linear(3, 9), wrap(nn.Linear(9, 6)))
    state = torch.get_rng_state()

    def act(model, policy):
        initpolicy.apply(model, policy, draws=draws)

    text = ROWS.format("Linear", value)
    found = said(model, text, act)
    assert len(found.splitlines()) == 1
    assert re.match("IP305 1." + message, found), found
    assert torch.equal(torch.get_rng_state(), state)


def test_reading_a_computed_tensor():
    layer = parametrizations.weight_norm(nn.Linear(4, 6))
    (slot, *_) = read(layer).slots
    assert (slot.name, slot.kind, slot.shape, slot.dtype) == (
        "weight",
        "parameter",
        (6, 4),
        torch.float32,
    )
    assert torch.equal(slot.values(), layer.weight)
    assert [tuple(tensor.shape) for tensor in slot.tensors] == [(6, 1), (6, 4)]
