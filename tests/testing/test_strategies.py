"""What the strategies draw is valid, and is all that there is."""

import math
import subprocess
import sys

import pytest
import torch
from hypothesis import HealthCheck, find, given, settings
from hypothesis import strategies as some

import initpolicy
from initpolicy import initializers, laws
from initpolicy.laws.read import _LAWS
from initpolicy.plans import Plan
from initpolicy.policy import Policy, parse
from initpolicy.policy.model import Rule
from initpolicy.testing import strategies as st


@given(st.shapes(min_dims=1, max_dims=3, max_side=9, most=50))
def test_shapes(shape):
    assert 1 <= len(shape) <= 3
    assert all(0 <= side <= 9 for side in shape)
    assert math.prod(shape) <= 50


@given(st.shapes(empty=False))
def test_shapes_with_elements(shape):
    assert math.prod(shape) >= 1


def test_every_number_of_dimensions_is_drawn():
    for dims in range(6):
        assert len(find(st.shapes(), lambda shape, dims=dims: len(shape) == dims)) == dims


@given(st.dtypes("complex", "integer"))
def test_dtypes(dtype):
    assert not dtype.is_floating_point


@pytest.mark.parametrize("name", initializers.names())
@settings(max_examples=10)
@given(some.data())
def test_cases_of_every_initializer_are_valid(name, data):
    case = data.draw(st.cases(name))
    assert case.initializer == initializers.get(name)
    law = initializers.get(name).lower(case.facts, case.arguments)
    law.validate(case.shape, case.dtype)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.cases())
def test_cases(case):
    assert case.is_valid
    assert case.initializer.name in str(case)


@given(st.cases("normal", arguments={"std": 0.5, "mean": some.just(2.0)}, shapes=[(3, 2)]))
def test_arguments_and_shapes_that_are_said(case):
    assert case.law == laws.Normal(2.0, 0.5)
    assert case.shape == (3, 2)


@given(st.laws())
def test_laws_are_data(law):
    assert laws.from_json(law.to_json()) == law


@pytest.mark.parametrize("kind", sorted(_LAWS))
def test_every_kind_of_law_is_drawn(kind):
    if kind == "from_file":  # which needs a file
        return
    assert find(st.laws(), lambda law: law.kind == kind).kind == kind


@given(st.laws((4, 4), torch.bfloat16))
def test_laws_that_hold_for_a_tensor(law):
    law.validate((4, 4), torch.bfloat16)


@settings(max_examples=50)
@given(st.models(), st.policy_texts())
def test_every_policy_fits_every_model(model, text):
    policy = parse(text)
    plan = initpolicy.apply(model, policy)
    names = {name for name, _ in model.named_parameters()}
    assert names <= set(plan.by_name)
    assert all(plan[name].winner is not None for name in names)


@settings(max_examples=50)
@given(st.policies())
def test_policies_survive_being_written(policy):
    from initpolicy.testing.policies import to_toml

    assert parse(to_toml(policy.to_dict())) == policy


def test_models_have_ties_and_depth():
    def tied(model):
        return len(list(model.parameters())) < len(
            list(model.named_parameters(remove_duplicate=False))
        )

    assert tied(find(st.models(), tied, settings=settings(max_examples=5000)))
    find(st.models(), lambda model: any(name.count(".") == 3 for name in model.state_dict()))


@settings(max_examples=20)
@given(some.from_type(Policy), some.from_type(Rule), some.from_type(laws.Law))
def test_types_are_registered(policy, rule, law):
    assert isinstance(policy, Policy)
    assert isinstance(rule, Rule)
    assert isinstance(law, laws.Law)


@settings(max_examples=20)
@given(some.from_type(Plan), some.from_type(initializers.Initializer))
def test_types_of_the_face_are_registered(plan, initializer):
    assert isinstance(plan, initpolicy.Plan)
    assert initializer.name in initializers.names()


def run(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_hypothesis_starts_without_what_the_types_need():
    code = """
import sys, hypothesis.strategies
large = ("torch", "pydantic", "numba", "initpolicy.laws", "initpolicy.testing.strategies")
print([name for name in large if name in sys.modules], "initpolicy.testing.hook" in sys.modules)
"""
    assert run(code) == "[] True"


@pytest.mark.parametrize(
    "imports",
    [
        "import hypothesis; from initpolicy.policy import Policy",
        "from initpolicy.policy import Policy; import hypothesis",
    ],
)
def test_a_type_is_registered_whatever_is_imported_first(imports):
    code = """
from hypothesis import find, strategies as st
print(find(st.from_type(Policy), bool).rules[0].note)
"""
    assert run(f"{imports}\n{code}") == "everything"


def test_a_watched_module_is_as_any_other():
    code = """
import hypothesis, initpolicy.resolve, inspect, sys
module = sys.modules["initpolicy.plans"]
print(type(module.__loader__).__name__, type(module.__spec__.loader).__name__)
print("class Plan" in inspect.getsource(module))
"""
    assert run(code).split("\n") == ["SourceFileLoader SourceFileLoader", "True"]
