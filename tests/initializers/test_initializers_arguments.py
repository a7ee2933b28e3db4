"""What is said about arguments, names and tensors that do not fit; schemas; other packages'."""

import math
from importlib.metadata import EntryPoint
from typing import Literal

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from initpolicy.initializers import Initializer, InitializerError, get, names, packages, registry
from initpolicy.laws import Constant, Normal
from initpolicy.model.facts import Facts


def said(name, arguments):
    return [(problem.message, problem.hint) for problem in get(name).check_arguments(arguments)]


@pytest.mark.parametrize(
    ("name", "arguments", "message", "hint"),
    [
        (
            "normal",
            {"sdt": 0.1},
            "normal has no argument `sdt`; it accepts mean, std",
            "did you mean `std`?",
        ),
        ("ones", {"val": 1}, "ones has no argument `val`; it accepts no arguments", ""),
        (
            "constant",
            {},
            "constant needs the argument `val`",
            "`val` is a number or an expression",
        ),
        ("normal", {"std": True}, "`std` must be a number or an expression, not true", ""),
        ("normal", {"std": [1]}, "`std` must be a number or an expression, not [1]", ""),
        (
            "dirac",
            {"groups": 1.5},
            "`groups` must be a whole number or an expression, not 1.5",
            "",
        ),
        (
            "trunc_normal",
            {"corrected": "yes"},
            '`corrected` must be true or false, not "yes"',
            "",
        ),
        (
            "kaiming_normal",
            {"mode": "fanout"},
            '`mode` must be one of "fan_in", "fan_out", not "fanout"',
            "did you mean `fan_out`?",
        ),
        (
            "variance_scaling",
            {"distribution": 3},
            '`distribution` must be one of "normal", "truncated_normal", "uniform", not 3',
            "",
        ),
    ],
)
def test_one_problem(name, arguments, message, hint):
    assert said(name, arguments) == [(message, hint)]
    with pytest.raises(InitializerError) as caught:
        get(name).lower(Facts((4, 4, 4)), arguments)
    assert (caught.value.message, caught.value.hint) == (message, hint)


def test_all_problems_at_once():
    problems = get("sparse").check_arguments({"stdd": 1, "std": False})
    assert [problem.argument for problem in problems] == ["stdd", "std", "sparsity"]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("normal", {"mean": 0, "std": "0.02 / sqrt(n)"}),
        ("dirac", {"groups": "module.groups"}),
        ("dirac", {"groups": 2.0}),
        ("trunc_normal", {"a": -math.inf, "b": math.inf, "cut": None, "corrected": False}),
        ("kaiming_normal", {"nonlinearity": "silu"}),
    ],
)
def test_arguments_that_fit(name, arguments):
    assert said(name, arguments) == []


def test_numbers_arrive_as_the_signature_says():
    assert get("dirac").lower(Facts((4, 4, 3)), {"groups": 2.0}).groups == 2
    law = get("normal").lower(Facts((4,)), {"std": 1})
    assert isinstance(law, Normal)
    assert isinstance(law.std, float)


@pytest.mark.parametrize(
    ("name", "shape", "arguments", "message", "hint"),
    [
        (
            "xavier_uniform",
            (64,),
            {},
            "xavier_uniform needs at least 2 dimensions and a tensor of shape (64,) has 1",
            'for a bias write `0` or { fn = "uniform", a = -0.1, b = 0.1 }',
        ),
        (
            "kaiming_normal",
            (),
            {},
            "kaiming_normal needs at least 2 dimensions and a tensor of shape () has 0",
            'for a bias write `0` or { fn = "uniform", a = -0.1, b = 0.1 }',
        ),
        ("normal", (4,), {"std": -1}, "normal: std must not be negative, and is -1", ""),
        ("normal", (4,), {"std": "x"}, "`std` is still the expression 'x'", ""),
        ("normal", (4,), {"std": 10**400}, "normal: int too large to convert to float", ""),
        (
            "uniform",
            (4,),
            {"a": 2, "b": 1},
            "uniform: the lower bound 2 lies above the upper bound 1",
            "exchange them",
        ),
        (
            "sparse",
            (4, 4),
            {"sparsity": 10},
            "sparse: sparsity must be between 0 and 1, and is 10",
            "for 10 % write `0.1`",
        ),
        (
            "trunc_normal",
            (4,),
            {"cut": 2, "a": -1},
            "`cut` and the absolute bounds `a` and `b` exclude each other",
            "leave out `cut`, or `a` and `b`",
        ),
        (
            "trunc_normal",
            (4,),
            {"corrected": True},
            "`corrected` needs the bounds in sigma",
            "write `cut = 2`",
        ),
        ("trunc_normal", (4,), {"cut": 0}, "`cut` must be positive, and is 0", ""),
        (
            "variance_scaling",
            (4, 4),
            {"scale": -1},
            "variance_scaling: `scale` must not be negative, and is -1",
            "",
        ),
    ],
)
def test_what_cannot_be_lowered(name, shape, arguments, message, hint):
    with pytest.raises(InitializerError) as caught:
        get(name).lower(Facts(shape), arguments)
    assert (caught.value.message, caught.value.hint) == (message, hint)


def test_a_fan_of_0_where_there_are_elements():
    facts = Facts.with_fans((4,), fan_in=0, fan_out=4)
    with pytest.raises(InitializerError) as caught:
        get("lecun_uniform").lower(facts, {})
    assert caught.value.message == "lecun_uniform: fan_in of a tensor of shape (4,) is 0"


values = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["fan_in", "relu", "uniform", "1 / 2", ""])
    | st.lists(st.integers(), max_size=2)
)


@given(st.data())
def test_lowering_anything_gives_a_law_or_our_error(data):
    initializer = get(data.draw(st.sampled_from(names())))
    known = st.sampled_from([parameter.name for parameter in initializer.parameters] or ["x"])
    arguments = data.draw(st.dictionaries(known, values))
    shape = data.draw(st.lists(st.integers(0, 5), max_size=4).map(tuple))
    try:
        law = initializer.lower(Facts(shape), arguments)
    except InitializerError:
        return
    assert str(law)
    assert initializer.check_arguments(arguments) == []


@given(st.data())
def test_schema_and_check_agree(data):
    initializer = get(data.draw(st.sampled_from(names())))
    known = [parameter.name for parameter in initializer.parameters]
    written = values.filter(lambda value: value is not None)  # TOML has no null
    arguments = data.draw(st.dictionaries(st.sampled_from([*known, "other"]), written))
    validator = jsonschema.Draft202012Validator(initializer.json_schema())
    valid = validator.is_valid({"fn": initializer.name, **arguments})
    assert valid == (initializer.check_arguments(arguments) == [])


def test_schema_of_a_table():
    assert get("sparse").json_schema() == {
        "type": "object",
        "description": "N(0, std), but that a fraction `sparsity` of each column is 0. "
        "Martens 2010.",
        "properties": {
            "fn": {"const": "sparse"},
            "sparsity": {"type": ["number", "string"]},
            "std": {"type": ["number", "string"], "default": 0.01},
        },
        "required": ["fn", "sparsity"],
        "additionalProperties": False,
    }


def test_unknown_names():
    with pytest.raises(InitializerError) as caught:
        get("kaiming_nornal")
    assert caught.value.message == "there is no initializer `kaiming_nornal`"
    assert caught.value.hint == "did you mean `kaiming_normal`?"
    with pytest.raises(InitializerError) as caught:
        get("xavier_normal_")
    assert caught.value.hint == "did you mean `xavier_normal`?"
    with pytest.raises(InitializerError) as caught:
        get("zzz")
    assert caught.value.hint.startswith("the initializers are constant, dct, ")


def test_every_initializer_says_what_it_is():
    for name in names():
        initializer = get(name)
        assert initializer.name == name
        assert initializer.summary.endswith(".")
        assert ">>>" in initializer.function.__doc__


# Other packages' initializers.


def half(tensor: Facts, *, plus: float = 0.0, kind: Literal["a", "b"] = "a") -> Constant:
    """Every element is 0.5 and something."""
    return Constant(0.5 + plus)


def wrong(tensor, *, std):
    """Without annotations."""


def positional(tensor: Facts, std: float = 1.0) -> Normal:
    """Takes its argument by position."""
    return Normal(0.0, std)


def no_law(tensor: Facts) -> Normal:
    """Gives something else."""
    return 3  # type: ignore[return-value]


@pytest.fixture
def installed(monkeypatch):
    names = ("half", "wrong", "positional", "no_law", "missing", "normal")
    entries = [EntryPoint(name, f"{__name__}:{name}", registry.GROUP) for name in names]
    entries.append(EntryPoint("number", "math:pi", registry.GROUP))
    asked = []

    def entry_points(*, group):
        asked.append(group)
        return entries

    monkeypatch.setattr(packages, "entry_points", entry_points)
    packages.installed.cache_clear()
    registry.get.cache_clear()
    yield asked
    packages.installed.cache_clear()
    registry.get.cache_clear()


def test_other_packages_are_asked_on_a_miss_only(installed):
    assert get("normal").lower(Facts((2,)), {}) == Normal(0.0, 1.0)
    assert installed == []
    assert get("half").lower(Facts((2,)), {"plus": 1}) == Constant(1.5)
    assert get("half").parameters[1].choices == ("a", "b")
    assert installed == [registry.GROUP]
    assert "half" in names()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "wrong",
            "the argument `std` of the initializer wrong must be annotated as a float, int, bool, "
            "str, Expression or Literal of strings",
        ),
        (
            "positional",
            "the initializer positional must take the facts of a tensor, then arguments by "
            "keyword only",
        ),
        ("number", "the initializer `number`, math:pi, is no function"),
    ],
)
def test_initializers_that_cannot_be_used(installed, name, message):
    with pytest.raises(InitializerError) as caught:
        get(name)
    assert caught.value.message == message


def test_an_initializer_that_cannot_be_loaded(installed):
    with pytest.raises(InitializerError, match=r"^the initializer `missing` cannot be loaded from"):
        get("missing")


def test_an_initializer_that_gives_no_law(installed):
    with pytest.raises(InitializerError, match=r"^the initializer no_law gave 3, which is no law$"):
        get("no_law").lower(Facts((2,)), {})


def test_initializers_are_data():
    assert get("normal") == Initializer.of(get("normal").function)
    (mean, std) = get("normal").parameters
    assert (mean.name, mean.annotation, mean.default, mean.required) == (
        "mean",
        "float",
        0.0,
        False,
    )
    assert std.is_number
