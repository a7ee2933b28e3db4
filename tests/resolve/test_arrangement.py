"""Layouts and chunks: fans that respect them, and matrices that are laid out so."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import initpolicy
from initpolicy import InitPolicyError
from initpolicy.model import Facts, LayoutError, arranged, letters_of, read_layout
from initpolicy.policy import parse


def holding(shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> nn.Module:
    model = nn.Module()
    model.w = nn.Parameter(torch.zeros(shape, dtype=dtype))
    return model


def apply(model: nn.Module, value: str):
    return initpolicy.apply(model, parse(f"format = 1\n[[rule]]\ninit.w = {value}"), seed=1)


@given(st.permutations("oikb"), st.lists(st.integers(1, 6), min_size=4, max_size=4))
def test_fans_of_any_order_of_dimensions(letters, sizes):
    size = dict(zip(letters, sizes, strict=True))
    facts = arranged(Facts(tuple(sizes)), read_layout(" ".join(letters)))
    matrix = torch.empty(size["o"], size["i"], size["k"])
    expected = nn.init._calculate_fan_in_and_fan_out(matrix)
    assert (facts.fan_in, facts.fan_out) == expected


@given(st.integers(1, 5), st.integers(1, 6), st.integers(1, 6))
def test_fans_of_chunks_are_those_of_one_of_them(chunks, rows, columns):
    facts = arranged(Facts((chunks * rows, columns)), chunks=chunks)
    assert (facts.fan_in, facts.fan_out) == (columns, rows)
    assert facts.shape == (chunks * rows, columns)


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ("o x", 'layout "o x": "x" is none of o (outputs), i (inputs), k (receptive field), '
         "b (independent matrices) and k* (all that remain)"),
        ("o k* i", 'layout "o k* i": only the last letter may be "k*"'),
        ("o k", 'layout "o k": it needs an "o" and an "i", as in "o i k*"'),
    ],
)  # fmt: skip
def test_layouts_that_are_none(layout, message):
    with pytest.raises(LayoutError) as caught:
        read_layout(layout)
    assert str(caught.value) == message
    with pytest.raises(InitPolicyError, match=r"x\.toml:3: IP109 layout"):
        parse(f'format = 1\n[[rule]]\ninit.w = {{ fn = "normal", layout = "{layout}" }}', "x.toml")


def test_a_layout_that_does_not_fit():
    with pytest.raises(LayoutError, match='the layout "i o k k" does not fit a tensor of 3'):
        letters_of(read_layout("i o k k"), 3)
    assert [letters_of("iok*", ndim) for ndim in (2, 3, 5)] == ["io", "iok", "iokkk"]
    with pytest.raises(InitPolicyError, match=r"IP206 .* for w: the layout \"b i o\" does not"):
        apply(holding((3, 4)), '{ fn = "orthogonal", layout = "b i o" }')


def test_a_fused_projection_and_gpt2s_transposed_one():
    fused = apply(holding((192, 64)), '{ fn = "xavier_uniform", chunks = 3 }')
    one = apply(holding((64, 64)), '"xavier_uniform"')
    assert fused["w"].law == one["w"].law
    stored = apply(holding((32, 96)), '{ fn = "kaiming_normal", layout = "i o" }')
    assert stored["w"].law == apply(holding((96, 32)), '"kaiming_normal"')["w"].law


def test_expressions_see_the_arranged_fans():
    value = '{ fn = "normal", std = "1 / sqrt(fan_in)", layout = "b i o" }'
    law = apply(holding((8, 16, 4)), value)["w"].law
    assert str(law) == "N(0, 0.25)"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_each_expert_is_orthogonal_and_its_own(dtype):
    model = holding((3, 5, 4), dtype)
    plan = apply(model, '{ fn = "orthogonal", layout = "b i o" }')
    assert str(plan["w"].law) == "orthogonal, stored as b i o"
    assert plan["w"].law.check(model.w) == ()
    matrices = model.w.detach().double()
    for matrix in matrices:
        # Rounding to 8 bits moves an entry by 2**-9 of it, and an inner product by 2**-8.
        assert (matrix.mT @ matrix - torch.eye(4)).abs().max() < 2**-7
    assert not torch.equal(matrices[0], matrices[1])
    with torch.no_grad():
        model.w[1, 0] *= 1.5
    assert [message[:9] for message in plan["w"].law.check(model.w)] == ["matrix 1:"]


def test_each_chunk_is_orthogonal_and_its_own():
    model = holding((12, 6))
    plan = apply(model, '{ fn = "orthogonal", chunks = 3 }')
    blocks = model.w.detach().view(3, 4, 6)
    for block in blocks:
        assert torch.allclose(block @ block.mT, torch.eye(4), atol=1e-5)
    assert not torch.equal(blocks[0], blocks[1])
    assert plan["w"].law.check(model.w) == ()


def test_an_initializer_for_each_gate():
    model = nn.LSTM(3, 4)
    policy = """
        format = 1
        [[rule]]
        init."weight_*" = { chunks = ["xavier_uniform", "xavier_uniform", "orthogonal", "keep"] }
        init."bias_*" = { chunks = [0, { fn = "constant", val = "1 / 2" }, 0, 0] }
    """
    before = model.weight_hh_l0.detach().clone()
    plan = initpolicy.apply(model, parse(policy))
    assert model.bias_ih_l0.tolist() == [0.0] * 4 + [0.5] * 4 + [0.0] * 8
    assert str(plan["bias_ih_l0"].law) == "4 parts: 0 | 0.5 | 0 | 0"
    kept = model.weight_hh_l0[12:]
    assert torch.equal(kept, before[12:])
    assert torch.allclose(model.weight_hh_l0[8:12] @ model.weight_hh_l0[8:12].mT, torch.eye(4),
                          atol=1e-5)  # fmt: skip
    bound = math.sqrt(6 / (4 + 4))
    assert plan["weight_hh_l0"].law.parts[0].high == pytest.approx(bound)


def test_elementwise_parts_are_those_of_the_whole_tensor():
    whole, parts = holding((6, 5)), holding((6, 5))
    apply(whole, '{ fn = "normal", std = 2 }')
    apply(parts, '{ chunks = ["normal", { fn = "normal", std = 2 }, "normal"] }')
    assert torch.equal(parts.w[2:4], whole.w[2:4])
    assert torch.allclose(parts.w[:2] * 2, whole.w[:2])


def test_parts_that_do_not_fit():
    with pytest.raises(InitPolicyError) as caught:
        apply(holding((7, 2)), "{ chunks = [0, 1] }")
    assert str(caught.value) == (
        "<policy>:3: IP206 rule for every module: `init.w`, for w: a tensor of shape (7, 2) has "
        "no 2 equal parts along dimension 0; give as many initializers as there are parts"
    )
    with pytest.raises(InitPolicyError, match=r"3 equal chunks do not fit .* dimension 0 has 7"):
        apply(holding((7, 2)), '{ fn = "normal", chunks = 3 }')
    with pytest.raises(InitPolicyError, match=r"`chunks` is 0\.5; write a whole number from 1 on"):
        apply(holding((7, 2)), '{ fn = "normal", chunks = 0.5 }')


def test_a_complex_tensor_in_parts():
    whole, parts = holding((4, 3), torch.complex64), holding((4, 3), torch.complex64)
    apply(whole, '"normal"')
    apply(parts, '{ chunks = ["normal", "normal"] }')
    assert torch.equal(whole.w, parts.w)


def test_streams_of_parts_and_of_mimetic_attention():
    with pytest.raises(InitPolicyError, match="IP109 `stream` is of the whole tensor"):
        apply(holding((4, 2)), '{ chunks = [0, { fn = "normal", stream = "s" }] }')
    mimetic = '{ fn = "mimetic", part = "q", alpha = 0.7, beta = 0.7'
    with pytest.raises(InitPolicyError, match="give the rules of both tensors one `stream`"):
        apply(holding((4, 4)), f"{mimetic} }}")
    assert apply(holding((4, 4)), f'{mimetic}, stream = "qk" }}')["w"].stream_name == "qk"
