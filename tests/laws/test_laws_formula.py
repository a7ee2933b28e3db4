"""Formulas beside the code that they replace: tables, decays, biases, and draws."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import nn

import initpolicy
from initpolicy import InitPolicyError, field
from initpolicy.laws import Formula, LawError, Normal, Stacked, Uniform, from_json
from initpolicy.policy import parse

STREAM = field.stream(0, "w")


def holding(shape, dtype=torch.float32, **attributes):
    model = nn.Module()
    model.register_buffer("w", torch.empty(shape, dtype=dtype))
    for name, value in attributes.items():
        setattr(model, name, value)
    return model


def policy(value, variables=""):
    return parse(
        f"format = 1\n[vars]\n{variables}\n[[rule]]\n"
        f'buffer.w = {{ fn = "formula", value = "{value}" }}'
    )


def filled(value, shape, dtype=torch.float32, variables="", seed=0, **attributes):
    model = holding(shape, dtype, **attributes)
    plan = initpolicy.apply(model, policy(value, variables), seed=seed)
    assert initpolicy.Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
    return model.w


def test_rotary_frequencies():
    dim = 64
    # transformers, LlamaRotaryEmbedding
    expected = 1.0 / (10000.0 ** (torch.arange(0, dim, 2, dtype=torch.int64).float() / dim))
    found = filled("10000 ** (-2 * i0 / module.dim)", (dim // 2,), dim=dim)
    torch.testing.assert_close(found, expected, rtol=3e-7, atol=0)


def test_whispers_positions():
    length, channels = 50, 16
    # transformers, modeling_whisper.sinusoids
    increment = math.log(10000) / (channels // 2 - 1)
    inverse = torch.exp(-increment * torch.arange(channels // 2))
    scaled = torch.arange(length).view(-1, 1) * inverse.view(1, -1)
    expected = torch.cat([scaled.sin(), scaled.cos()], dim=1)
    half = "where(i1 < h, i1, i1 - h)"
    angle = f"i0 * exp(-log(10000) / (h - 1) * {half})"
    found = filled(
        f"where(i1 < h, sin({angle}), cos({angle}))", (length, channels), variables="h = 8"
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-5)


def test_interleaved_positions():
    length, d = 30, 12
    # "Attention is all you need", section 3.5
    expected = np.zeros((length, d))
    for pos in range(length):
        for k in range(d // 2):
            expected[pos, 2 * k] = math.sin(pos / 10000 ** (2 * k / d))
            expected[pos, 2 * k + 1] = math.cos(pos / 10000 ** (2 * k / d))
    angle = "i0 / 10000 ** (2 * (i1 // 2) / shape[1])"
    found = filled(f"where(i1 % 2 == 0, sin({angle}), cos({angle}))", (length, d), torch.float64)
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-13)


def test_alibi_slopes():
    # Press et al. 2021: 2^-1 ... 2^-8 for 8 heads
    assert filled("2 ** (-8 * (i0 + 1) / numel)", (8,)).tolist() == [2.0**-k for k in range(1, 9)]


def test_mambas_a_log_and_bias_of_dt():
    # transformers, MambaMixer: A = arange(1, N + 1) for each channel
    expected = torch.log(torch.arange(1, 17, dtype=torch.float32)[None, :].expand(6, -1))
    torch.testing.assert_close(filled("log(i1 + 1)", (6, 16)), expected, rtol=2e-7, atol=0)
    dt = "exp(u * (log(b) - log(a)) + log(a))"
    found = filled(f"log(exp({dt}) - 1)", (20000,), variables="a = 0.001\nb = 0.1").double()
    again = torch.nn.functional.softplus(found).log()
    low, high = math.log(0.001), math.log(0.1)
    assert stats.kstest(again.numpy(), "uniform", (low, high - low)).pvalue > 1e-4
    assert low - 1e-6 < again.min()
    assert again.max() < high + 1e-6


def test_spaced_values():
    expected = np.linspace(-3.0, 5.0, 17)
    found = filled("-3 + 8 * i / (numel - 1)", (17,), torch.float64)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-15, atol=1e-15)
    found = filled("10 ** (-4 + 3 * i0 / (shape[0] - 1))", (9,), torch.float64)
    np.testing.assert_allclose(found.numpy(), np.logspace(-4, -1, 9), rtol=1e-14)


@pytest.mark.parametrize("window", [(2, 2), (3, 5), (7, 7)])
def test_relative_positions_of_swin(window):
    h, w = window
    # torchvision, ShiftedWindowAttention.define_relative_position_index
    grid = torch.stack(torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij"))
    flat = torch.flatten(grid, 1)
    relative = (flat[:, :, None] - flat[:, None, :]).permute(1, 2, 0).contiguous()
    relative[:, :, 0] += h - 1
    relative[:, :, 1] += w - 1
    relative[:, :, 0] *= 2 * w - 1
    expected = relative.sum(-1)
    text = "(i0 // w - i1 // w + h - 1) * (2 * w - 1) + i0 % w - i1 % w + w - 1"
    found = filled(text, (h * w, h * w), torch.int64, variables=f"h = {h}\nw = {w}")
    assert torch.equal(found, expected)


@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8, torch.bool, torch.float16])
def test_whole_numbers_in_every_type(dtype):
    assert torch.equal(filled("i % 2", (2, 3), dtype), (torch.arange(6) % 2).view(2, 3).to(dtype))


@given(st.lists(st.integers(0, 5), max_size=4))
def test_indices_of_any_shape(shape):
    tensor = torch.empty(shape, dtype=torch.float64)
    for axis in range(len(shape)):
        law = Formula(f"i{axis}")
        law.validate(tuple(shape), tensor.dtype)
        law.write(tensor, STREAM)
        assert np.array_equal(tensor.numpy(), np.indices(shape)[axis])
    Formula("i").write(tensor, STREAM)
    assert torch.equal(tensor.reshape(-1), torch.arange(tensor.numel(), dtype=torch.float64))


def test_blocks_and_strides_do_not_matter():
    law = Formula("sin(i0) + cos(i1 * 0.01) + u")
    shape = (70, 1009)  # more than one block
    dense = torch.empty(shape)
    law.write(dense, STREAM)
    turned = torch.empty(shape[::-1]).t()
    law.write(turned, STREAM)
    assert torch.equal(dense, turned)
    piece = law.values(shape, 65000, 66000, STREAM)
    assert torch.equal(torch.from_numpy(piece).float(), dense.reshape(-1)[65000:66000])


def test_draws_are_those_of_uniform_and_normal_laws():
    for text, law in (("0.5 * z", Normal(0, 0.5)), ("u - 0.5", Uniform(-0.5, 0.5))):
        expected = torch.empty(10000)
        field.fill(law.fills(expected, STREAM))
        found = torch.empty(10000)
        Formula(text).write(found, STREAM)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-7)


def test_u_and_z_of_one_formula_are_independent():
    found = filled("where(u < 0.25, z, 2)", (40000,)).numpy()
    random = found[found != 2]
    assert abs(len(random) - 10000) < 500
    assert stats.kstest(random, "norm").pvalue > 1e-4


def test_u_is_never_0_nor_1():
    # both ends are among the places that planning tries
    Formula("log(u) + log(1 - u)").validate((4,), torch.float32)
    with pytest.raises(LawError, match=r"1 / \(u - 0.5\): division by zero"):
        Formula("1 / (u - 0.5)").validate((4,), torch.float32)


def test_narrow_types_are_the_rounded_float32_value():
    wide = filled("exp(i * 0.01) * z", (500,))
    for dtype in (torch.bfloat16, torch.float16):
        assert torch.equal(filled("exp(i * 0.01) * z", (500,), dtype), wide.to(dtype))


def test_torchs_draws():
    model = holding((7, 3))
    torch.manual_seed(3)
    initpolicy.apply(model, policy("u * 2 - 1"), draws="torch")
    torch.manual_seed(3)
    torch.testing.assert_close(model.w, torch.rand(7, 3) * 2 - 1, rtol=0, atol=1e-7)
    torch.manual_seed(3)
    initpolicy.apply(model, policy("z + i0"), draws="torch")
    torch.manual_seed(3)
    expected = torch.randn(7, 3) + torch.arange(7)[:, None]
    torch.testing.assert_close(model.w, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.int16])
def test_a_check_finds_what_is_not_the_formula(dtype):
    law = Formula("10 * i0 + i1 ** 2")
    tensor = torch.empty((5, 4), dtype=dtype)
    law.write(tensor, STREAM)
    assert law.check(tensor) == ()
    tensor[2, 3] += 1 if dtype == torch.int16 else 0.5
    tensor[4, 0] = 0
    assert law.check(tensor) == ("2 of 20 values are not those of 10 * i0 + i1 ** 2",)
    if dtype.is_floating_point:
        tensor[0, 0] = math.nan
        assert law.check(tensor) == ("3 of 20 values are not those of 10 * i0 + i1 ** 2",)
        assert Formula("z").check(tensor) == ("1 of 20 values is NaN or infinite",)


def test_the_last_bit_is_no_contradiction():
    law = Formula("sin(i0)")
    tensor = torch.empty(1000)
    law.write(tensor, STREAM)
    assert law.check(torch.nextafter(tensor, torch.tensor(2.0))) == ()
    assert law.check(tensor + 1e-5) != ()


def test_scale_chunks_and_captures():
    law = Formula("i0 + 1")
    assert law.scaled(0.5).scaled(4) == Formula("i0 + 1", 2.0)
    tensor = torch.empty(3, dtype=torch.float64)
    law.scaled(0.5).write(tensor, STREAM)
    assert tensor.tolist() == [0.5, 1, 1.5]
    stacked = Stacked((law, None, law))
    tensor = torch.zeros(6)
    stacked.write(tensor, STREAM)
    assert tensor.tolist() == [1, 2, 0, 0, 1, 2]
    model = nn.ModuleDict({f"layer{k}": nn.Linear(2, 2, bias=False) for k in range(3)})
    initpolicy.apply(
        model,
        parse(
            'format = 1\n[[rule]]\nname = "layer<k>"\n'
            'init.weight = { fn = "formula", value = "10 * k + i", scale = "k" }'
        ),
    )
    assert model["layer2"].weight.tolist() == [[40, 42], [44, 46]]


@given(
    st.sampled_from(["i", "exp(u) * z", "where(i0 < 3, 1, -2)", "1e-05 * i1"]),
    st.floats(allow_nan=False, allow_infinity=False),
)
def test_json_round_trip(text, factor):
    law = Formula(text, factor)
    assert from_json(json.loads(json.dumps(law.to_json()))) == law


@pytest.mark.parametrize(
    ("law", "shape", "dtype", "message"),
    [
        ("i2", (3, 4), torch.float32, "i2: there is no `i2`, because (3, 4) has 2 dimensions"),
        ("1 / i", (3,), torch.float32, "1 / i: division by zero (i = 0)"),
        ("1 / (i - 999)", (40, 50), torch.float32, "1 / (i - 999): division by zero (i = 999)"),
        ("i / 2", (3,), torch.int64,
         "i / 2: 0.5 does not fit into int64, which holds whole numbers only"),
        ("i", (300,), torch.uint8, "i: 299 does not fit into uint8, which holds 0 to 255"),
        ("exp(i)", (13,), torch.float16,
         "exp(i): 1.628e+05 does not fit into float16, whose largest value is 65504"),
        ("i", (3,), torch.complex64, "i cannot fill a complex tensor"),
        ("i < 1", (3,), torch.bool,
         'i < 1: "i < 1" is true or false, where a number is needed'),
        # too large to be computed whole: its corners are
        ("1 / (i0 - 2000)", (2001, 2001), torch.float32,
         "1 / (i0 - 2000): division by zero (i0 = 2000)"),
    ],
)  # fmt: skip
def test_what_a_formula_cannot_fill(law, shape, dtype, message):
    with pytest.raises(LawError) as caught:
        Formula(law).validate(shape, dtype)
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fan_in * 2", "fan_in * 2: `fan_in` is no index and no draw"),
        (
            "__class__",
            '__class__: "__class__" begins with an underscore; such names cannot be read',
        ),
        (3, "a formula must be a text, not 3"),
    ],
)
def test_what_is_no_formula(text, message):
    with pytest.raises(LawError) as caught:
        Formula(text)
    assert caught.value.message == message


def test_messages_of_a_policy():
    def said(value, **attributes):
        with pytest.raises(InitPolicyError) as caught:
            initpolicy.plan(holding((3,), **attributes), policy(value, "u = 2"))
        return str(caught.value).partition(" for w: ")[2]

    assert said("i0 / module.dim", dim=0) == "i0 / 0: division by zero (i0 = 0)"
    assert said("u + 1") == (
        "u + 1: `u` is an index or a draw in formulas, and a capture or a variable of the policy; "
        "give the latter another name"
    )
    assert said("log(i0)") == "log(i0): log(0) is not a real number (i0 = 0)"
    with pytest.raises(InitPolicyError, match=r"^x.toml:3: IP107 1 \+: a number, a name or an"):
        parse('format = 1\n[[rule]]\ninit.w = { fn = "formula", value = "1 +" }', "x.toml")


def test_planning_on_meta_and_no_generator_is_touched():
    model = holding((4, 4))
    before = torch.get_rng_state()
    text = "z * u + i0"
    initpolicy.apply(model, policy(text))
    assert torch.equal(before, torch.get_rng_state())
    meta = holding((4, 4)).to("meta")
    assert initpolicy.plan(meta, policy(text)) == initpolicy.plan(model, policy(text))
