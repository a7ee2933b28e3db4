"""Tensors that are decided alike share a law, and only these."""

from importlib.metadata import EntryPoint

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import initpolicy
from initpolicy import initializers
from initpolicy.initializers import InitializerError, packages, registry
from initpolicy.laws import Orthogonal
from initpolicy.model import Facts
from initpolicy.policy import parse

ARGUMENTS = {"constant": {"val": 0.5}}
SHAPES = [(), (1,), (4,), (2, 3), (8, 8), (5, 4, 3)]


def laws(name: str) -> list[object]:
    """The law of an initializer for each shape, or what it says of that shape."""
    found: list[object] = []
    for shape in SHAPES:
        try:
            found.append(initializers.get(name).lower(Facts(shape), ARGUMENTS.get(name, {})))
        except InitializerError as error:
            found.append(str(error))
    return found


PLAIN = [name for name in initializers.names() if initializers.get(name).asks_nothing]


def test_constants_and_plain_draws_ask_nothing():
    assert PLAIN == ["constant", "normal", "ones", "uniform", "zeros"]


@pytest.mark.parametrize("name", PLAIN)
def test_initializers_that_are_said_to_ask_nothing_give_every_shape_one_law(name):
    first, *others = laws(name)
    assert others == [first] * len(others)
    for shape in SHAPES:
        for dtype in (torch.float32, torch.bfloat16, torch.float64):
            first.validate(shape, dtype)


class Named(nn.Module):
    """Parameters of these shapes and types, named in turn."""

    def __init__(self, tensors: list[tuple[tuple[int, ...], torch.dtype]]) -> None:
        super().__init__()
        for index, (shape, dtype) in enumerate(tensors):
            tensor = nn.Parameter(torch.empty(shape, dtype=dtype, device="meta"))
            self.register_parameter(f"p{index}", tensor)


TENSORS = st.tuples(
    st.lists(st.integers(1, 5), min_size=2, max_size=3).map(tuple),
    st.sampled_from([torch.float32, torch.float16, torch.bfloat16, torch.float64]),
)
VALUES = st.sampled_from(
    [
        ("0", "constant", {"val": 0.0}),
        ("1", "constant", {"val": 1.0}),
        ('{ fn = "constant", val = 7 }', "constant", {"val": 7.0}),
        ('{ fn = "normal", std = 0.5 }', "normal", {"std": 0.5}),
        ('{ fn = "uniform", a = -1, b = 2 }', "uniform", {"a": -1.0, "b": 2.0}),
        ('"ones"', "ones", {}),
        ('"kaiming_normal"', "kaiming_normal", {}),
        ('"xavier_uniform"', "xavier_uniform", {}),
        ('"orthogonal"', "orthogonal", {}),
    ]
)


@given(st.lists(st.tuples(TENSORS, VALUES), min_size=1, max_size=8))
def test_each_tensor_has_the_law_that_its_initializer_gives_it_alone(chosen):
    rules = [f"init.p{index} = {value[0]}" for index, (_, value) in enumerate(chosen)]
    policy = parse("format = 1\n[[rule]]\n" + "\n".join(rules))
    plan = initpolicy.plan(Named([tensor for tensor, _ in chosen]), policy)
    for decision, ((shape, dtype), (_, name, arguments)) in zip(plan, chosen, strict=True):
        facts = Facts(shape, str(dtype).removeprefix("torch."))
        assert decision.law == initializers.get(name).lower(facts, arguments)
        assert (decision.shape, decision.dtype) == (facts.shape, facts.dtype)


@given(st.lists(TENSORS, min_size=2, max_size=8), VALUES)
def test_tensors_of_one_rule_have_the_laws_of_their_shapes(tensors, value):
    text, name, arguments = value
    policy = parse(f"format = 1\n[[rule]]\ninit.p0 = {text}")
    plan = initpolicy.plan(nn.ModuleList(Named([tensor]) for tensor in tensors), policy)
    for decision, (shape, dtype) in zip(plan, tensors, strict=True):
        facts = Facts(shape, str(dtype).removeprefix("torch."))
        assert decision.law == initializers.get(name).lower(facts, arguments)
        assert (decision.shape, decision.dtype) == (facts.shape, facts.dtype)
    assert [decision.name for decision in plan] == [f"{i}.p0" for i in range(len(tensors))]


def test_zeros_of_all_shapes_are_one_object():
    model = nn.Sequential(nn.BatchNorm1d(3), nn.BatchNorm1d(5), nn.BatchNorm1d(7))
    policy = parse("""
    format = 1
    [[rule]]
    init.weight = 1
    init.bias = 0
    """)
    plan = initpolicy.plan(model, policy)
    assert len({id(decision.law) for decision in plan if decision.law is not None}) == 2


def test_a_value_that_one_type_cannot_hold_is_found_after_a_type_that_can():
    policy = parse('format = 1\n[[rule]]\ninit."*" = 70000')
    with pytest.raises(initpolicy.InitPolicyError) as caught:
        initpolicy.plan(Named([((2,), torch.float32), ((2,), torch.float16)]), policy)
    assert [problem.code for problem in caught.value.problems] == ["IP206"]
    assert "p1" in str(caught.value)
    assert "p0" not in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [
        "-0.0",
        '{ fn = "constant", val = "-0.0 * 1" }',
        '{ fn = "ones", scale = -0.0 }',
        '{ fn = "ones", scale = "-0.0 * 1" }',
    ],
)
def test_zeros_of_both_signs_are_told_apart(value):
    for zero in ("0", '{ fn = "ones", scale = 0.0 }', '{ fn = "constant", val = "0.0 * 1" }'):
        policy = parse(f"format = 1\n[[rule]]\ninit.p0 = {zero}\ninit.p1 = {value}")
        plan = initpolicy.plan(Named([((2,), torch.float32), ((2,), torch.float32)]), policy)
        assert [str(decision.law and decision.law.support[0]) for decision in plan] == [
            "0.0",
            "-0.0",
        ]


def of_matrices(tensor: object) -> Orthogonal:
    """Asks nothing of a tensor, and gives a law that only matrices can follow."""
    return Orthogonal()


@pytest.fixture
def installed(monkeypatch):
    entry = EntryPoint("of_matrices", f"{__name__}:of_matrices", registry.GROUP)
    monkeypatch.setattr(packages, "entry_points", lambda *, group: [entry])
    packages.installed.cache_clear()
    registry.get.cache_clear()
    yield
    packages.installed.cache_clear()
    registry.get.cache_clear()


@pytest.mark.usefixtures("installed")
def test_a_shape_that_a_shared_law_refuses_is_found_after_one_that_it_takes():
    policy = parse('format = 1\n[[rule]]\ninit."*" = "of_matrices"')
    assert len(initpolicy.plan(Named([((3, 2), torch.float32), ((2, 3), torch.float32)]), policy))
    with pytest.raises(initpolicy.InitPolicyError) as caught:
        initpolicy.plan(Named([((3, 2), torch.float32), ((3,), torch.float32)]), policy)
    assert [problem.code for problem in caught.value.problems] == ["IP206"]
    assert "p1" in str(caught.value)
    assert "p0" not in str(caught.value)
