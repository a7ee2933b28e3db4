"""Initializers against torch.nn.init, bit for bit, and against closed forms."""

import inspect
import math

import pytest
import scipy.integrate
import scipy.special
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from initpolicy import field
from initpolicy.initializers import InitializerError, gain, get, names
from initpolicy.initializers.gain import Nonlinearity
from initpolicy.laws import Normal, TruncatedNormal, Uniform
from initpolicy.model.facts import Facts

TORCH_GAINS = [
    "linear",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "sigmoid",
    "tanh",
    "relu",
    "leaky_relu",
    "selu",
]

shapes = st.lists(st.integers(1, 8), min_size=2, max_size=5).map(tuple)
any_shapes = st.lists(st.integers(0, 6), max_size=4).map(tuple)
gains = st.floats(0.01, 10)
modes = st.sampled_from(["fan_in", "fan_out"])


def same_bits(name: str, shape: tuple[int, ...], **arguments) -> None:
    """Compare the initializer's torch draws with torch.nn.init's of the same name and seed."""
    law = get(name).lower(Facts(shape), arguments)
    for dtype in (torch.float32, torch.float64):  # float64 shows the last bit of the parameters
        theirs, ours = (torch.full(shape, math.nan, dtype=dtype) for _ in range(2))
        torch.manual_seed(7)
        getattr(torch.nn.init, name + "_")(theirs, **arguments)
        after = torch.get_rng_state()
        law.validate(shape, dtype)
        torch.manual_seed(7)
        law.write_torch(ours)
        assert torch.equal(theirs, ours)
        assert torch.equal(after, torch.get_rng_state())


@given(any_shapes, st.floats(-1, 0), st.floats(0, 1))
def test_uniform(shape, a, b):
    same_bits("uniform", shape, a=a, b=b)
    same_bits("uniform", shape)


@given(any_shapes, st.floats(-1, 1), st.floats(0, 3))
def test_normal(shape, mean, std):
    same_bits("normal", shape, mean=mean, std=std)
    same_bits("normal", shape)


@given(any_shapes, st.floats(-1, 1), st.floats(0.01, 3), st.floats(-3, -1.5), st.floats(1.5, 3))
def test_trunc_normal(shape, mean, std, a, b):
    same_bits("trunc_normal", shape, mean=mean, std=std, a=a, b=b)
    same_bits("trunc_normal", shape, std=std)


@given(any_shapes, st.floats(-10, 10))
def test_constants(shape, val):
    same_bits("constant", shape, val=val)
    same_bits("ones", shape)
    same_bits("zeros", shape)


@given(shapes, gains)
def test_xavier(shape, factor):
    for name in ("xavier_uniform", "xavier_normal"):
        same_bits(name, shape, gain=factor)
        same_bits(name, shape)


@given(shapes, st.floats(0, 3), modes, st.sampled_from(TORCH_GAINS))
def test_kaiming(shape, a, mode, nonlinearity):
    for name in ("kaiming_uniform", "kaiming_normal"):
        same_bits(name, shape, a=a, mode=mode, nonlinearity=nonlinearity)
        same_bits(name, shape)


@given(shapes, gains)
def test_orthogonal(shape, factor):
    same_bits("orthogonal", shape, gain=factor)


@given(st.integers(1, 30), st.integers(1, 10), st.floats(0, 1), st.floats(0, 1))
def test_sparse_and_eye(rows, columns, sparsity, std):
    same_bits("sparse", (rows, columns), sparsity=sparsity, std=std)
    same_bits("eye", (rows, columns))


@given(st.integers(1, 4), st.integers(1, 3), st.lists(st.integers(1, 5), min_size=2, max_size=4))
def test_dirac(groups, per_group, rest):
    same_bits("dirac", (groups * per_group, *rest), groups=groups)


def test_every_function_of_torch_has_its_name_and_arguments_here():
    functions = [
        name.removesuffix("_")
        for name in torch.nn.init.__all__
        if name.endswith("_") and callable(getattr(torch.nn.init, name))
    ]
    assert len(functions) == 14
    for name in functions:
        theirs = inspect.signature(getattr(torch.nn.init, name + "_")).parameters.values()
        expected = {
            item.name: item.default for item in theirs if item.name not in ("tensor", "generator")
        }
        ours = {
            item.name: inspect.Parameter.empty if item.required else item.default
            for item in get(name).parameters
        }
        if name == "trunc_normal":  # its bounds depend on `cut`; what they are is tested above
            expected |= {"a": None, "b": None, "cut": None, "corrected": False}
        assert ours == expected, name


# Closed forms.


@given(
    shapes, st.floats(0.01, 10), st.sampled_from(["fan_in", "fan_out", "fan_avg", "fan_geo_avg"])
)
def test_variance_scaling(shape, scale, mode):
    receptive = math.prod(shape[2:])
    into, out = shape[1] * receptive, shape[0] * receptive
    fan = {
        "fan_in": into,
        "fan_out": out,
        "fan_avg": (into + out) / 2,
        "fan_geo_avg": math.sqrt(into * out),
    }[mode]
    for distribution in ("normal", "uniform", "truncated_normal"):
        law = get("variance_scaling").lower(
            Facts(shape), {"scale": scale, "mode": mode, "distribution": distribution}
        )
        assert law.moments.mean == 0
        assert law.moments.variance == pytest.approx(scale / fan, rel=1e-12)
    # jax divides by this constant, and cuts at 2 sigma of what results.
    std = math.sqrt(scale / fan) / 0.87962566103423978
    assert law.std == pytest.approx(std, rel=1e-14)
    assert law.support == pytest.approx((-2 * std, 2 * std), rel=1e-14)


@given(shapes)
def test_lecun_is_jaxs(shape):
    fan_in = shape[1] * math.prod(shape[2:])
    normal, uniform = (
        get(name).lower(Facts(shape), {}) for name in ("lecun_normal", "lecun_uniform")
    )
    assert isinstance(normal, TruncatedNormal)
    assert normal.moments.variance == pytest.approx(1 / fan_in)
    assert normal.high == pytest.approx(2 / math.sqrt(fan_in) / 0.87962566103423978)
    assert isinstance(uniform, Uniform)
    assert uniform.high == pytest.approx(math.sqrt(3 / fan_in))


@given(st.floats(-5, 5), st.floats(0.01, 5), st.floats(0.2, 6))
def test_trunc_normal_in_sigma(mean, std, cut):
    plain = get("trunc_normal").lower(Facts((2,)), {"mean": mean, "std": std, "cut": cut})
    assert plain == TruncatedNormal(mean, std, mean - cut * std, mean + cut * std)
    factor = scipy.stats.truncnorm(-cut, cut).std()
    assert plain.moments.std == pytest.approx(factor * std, rel=1e-6)
    corrected = get("trunc_normal").lower(
        Facts((2,)), {"mean": mean, "std": std, "cut": cut, "corrected": True}
    )
    assert corrected.moments.std == pytest.approx(std, rel=1e-8)
    assert corrected.std == pytest.approx(std / factor, rel=1e-6)
    assert corrected.high - mean == pytest.approx(cut * corrected.std, rel=1e-6)


@settings(max_examples=50)
@given(
    shapes, st.sampled_from(["xavier_uniform", "xavier_normal", "kaiming_normal", "lecun_normal"])
)
def test_bounds_and_variance_of_draws(shape, name):
    # One stream a shape and name. Seven standard errors of a normal's variance, the widest of
    # these, over the 50 examples of a run: less than one run in a billion fails by chance.
    shape = (shape[0] * 16, shape[1] * 8, *shape[2:4])
    law = get(name).lower(Facts(shape), {})
    tensor = torch.empty(shape)
    field.fill(law.fills(tensor, field.stream(0, f"{name} {shape}")))
    assert law.check(tensor) == ()
    error = math.sqrt(2 / tensor.numel())
    assert abs(float(tensor.double().square().mean()) / law.moments.variance - 1) < 7 * error


def test_stated_fans_are_used():
    depthwise = Facts.with_fans((32, 1, 3, 3), fan_in=9, fan_out=9, receptive_field=9)
    law = get("kaiming_normal").lower(depthwise, {"mode": "fan_out", "nonlinearity": "relu"})
    assert law == Normal(0.0, math.sqrt(2) / 3)
    bias = Facts.with_fans((10,), fan_in=4, fan_out=10)
    assert get("lecun_uniform").lower(bias, {}).high == pytest.approx(math.sqrt(0.75))


FAN_BASED = [
    "kaiming_normal",
    "kaiming_uniform",
    "lecun_normal",
    "lecun_uniform",
    "variance_scaling",
    "xavier_normal",
    "xavier_uniform",
]


@pytest.mark.parametrize("name", FAN_BASED)
@pytest.mark.parametrize("shape", [(0, 0), (0, 4), (4, 0), (3, 2, 0)])
def test_tensors_without_elements(name, shape):
    law = get(name).lower(Facts(shape), {})
    law.validate(shape, torch.float32)
    law.write_torch(torch.empty(shape))


# Gains.


@pytest.mark.parametrize("name", TORCH_GAINS)
def test_gains_of_torch(name):
    assert gain(name) == torch.nn.init.calculate_gain(name)
    assert gain(name, 0.3) == torch.nn.init.calculate_gain(name, 0.3)


ACTIVATIONS = {
    "elu": lambda z: z if z > 0 else math.expm1(z),
    "gelu": lambda z: z * scipy.special.ndtr(z),
    "gelu_tanh": lambda z: z / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3))),
    "mish": lambda z: z * math.tanh(math.log1p(math.exp(z))),
    "silu": lambda z: z * scipy.special.expit(z),
    "softplus": lambda z: math.log1p(math.exp(z)),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_other_gains_keep_the_second_moment(name):
    f = ACTIVATIONS[name]

    def integrand(z):
        return f(z) ** 2 * math.exp(-z * z / 2) / math.sqrt(2 * math.pi)

    moment = sum(
        scipy.integrate.quad(integrand, a, a + 2, epsabs=1e-14, epsrel=1e-14)[0]
        for a in range(-20, 20, 2)
    )
    assert gain(name) == pytest.approx(1 / math.sqrt(moment), rel=1e-12)
    approximate = {"approximate": "tanh"} if name == "gelu_tanh" else {}
    function = getattr(torch.nn.functional, name.removesuffix("_tanh"))
    z = torch.linspace(-4, 4, 41, dtype=torch.float64)
    expected = torch.tensor([f(value) for value in z.tolist()], dtype=torch.float64)
    torch.testing.assert_close(function(z, **approximate), expected)


def test_every_gain_is_tested():
    assert {*TORCH_GAINS, *ACTIVATIONS} == set(Nonlinearity.__args__)


def test_unknown_gain():
    with pytest.raises(InitializerError) as caught:
        gain("rleu")
    assert caught.value.message == "no gain is known for the nonlinearity 'rleu'"
    assert caught.value.hint == "did you mean `relu`?"
    with pytest.raises(InitializerError) as caught:
        gain("xyz")
    assert caught.value.hint.startswith("write one of linear, conv1d, ")


def test_names():
    assert set(FAN_BASED) <= set(names())
    assert list(names()) == sorted(set(names()))
