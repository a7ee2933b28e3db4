"""Parts of tensors, however they are cut, have the values of the whole ones."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor

import initpolicy
from initpolicy import InitPolicyError, Part
from initpolicy.application import agreement
from initpolicy.policy import Policy, parse

sys.path.insert(0, str(Path(__file__).parent / "model"))

from sharding_cases import Case, cases, each_rank


@pytest.fixture(autouse=True, scope="module")
def nothing_is_sent() -> Iterator[None]:
    """Ranks of a pretended world agree: torch keeps groups of other ranks, which are gone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(agreement, "_meshes", lambda model: [])
        yield


RULES = [
    '"normal"',
    '{ fn = "uniform", a = -1, b = 2 }',
    '{ fn = "trunc_normal", std = 2, a = -1, b = 3 }',
    '{ fn = "constant", val = 3 }',
    '{ fn = "formula", value = "z + 100 * i0 + numel" }',
    '{ fn = "normal", zero_index = 1 }',
]
MATRIX_RULES = [
    '"kaiming_uniform"',
    '"orthogonal"',
    '{ fn = "orthogonal", gain = 3, chunks = 2 }',
    '{ fn = "orthogonal", zero_index = 0 }',
    '{ fn = "sparse", sparsity = 0.4 }',
    '"eye"',
    "{ chunks = [0, 1] }",
    '{ chunks = ["orthogonal", "normal"] }',
    '{ fn = "orthogonal", layout = "i o" }',
]


class One(nn.Module):
    """A module of one tensor."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = weight if isinstance(weight, nn.Parameter) else nn.Parameter(weight)


def policy(rule: str) -> Policy:
    return parse(f"format = 1\nseed = 3\n[[rule]]\ninit.weight = {rule}")


@st.composite
def rules_and_shapes(draw: st.DrawFn) -> tuple[str, tuple[int, ...]]:
    if draw(st.booleans()):
        shape = draw(st.lists(st.integers(1, 6), min_size=1, max_size=3).map(tuple))
        rules = RULES if shape[0] > 1 else RULES[:-1]
        return draw(st.sampled_from(rules)), shape
    shape = 2 * draw(st.integers(1, 4)), draw(st.integers(1, 9))
    return draw(st.sampled_from(MATRIX_RULES)), shape


def runs_of(indices: list[int]) -> list[tuple[int, int]]:
    """Ascending runs, of which some touch."""
    return [(index, index + 1) for index in indices]


@given(rules_and_shapes(), st.integers(1, 4), st.data())
@settings(max_examples=60)
def test_parts_make_up_the_whole(
    drawn: tuple[str, tuple[int, ...]], number: int, data: st.DataObject
) -> None:
    rule, shape = drawn
    dtype = data.draw(st.sampled_from([torch.float32, torch.bfloat16, torch.float64]))
    model = One(torch.empty(shape, dtype=dtype))
    plan = initpolicy.apply(model, policy(rule))
    size = math.prod(shape)
    owners = data.draw(st.lists(st.integers(0, number - 1), min_size=size, max_size=size))
    together = torch.full((size,), 77, dtype=dtype)
    for owner in range(number):
        held = [index for index in range(size) if owners[index] == owner]
        spread = data.draw(st.booleans())  # in memory with gaps
        local = torch.full((2 * len(held),), 99, dtype=dtype)[:: 2 if spread else 1][: len(held)]
        initpolicy.fill(plan, {"weight": Part(local, shape, runs_of(held))})
        together[held] = local
    assert torch.equal(together.view(shape), model.weight.detach())


def mesh_cases() -> st.SearchStrategy[Case]:
    meshes = st.sampled_from([(2,), (3,), (2, 2), (2, 3)])
    return cases(meshes=meshes).filter(lambda case: 0 not in case.shape)


def suiting(shape: tuple[int, ...]) -> list[str]:
    found = RULES if shape[0] > 1 else RULES[:-1]
    return found + MATRIX_RULES if len(shape) == 2 and shape[0] % 2 == 0 else found


@given(mesh_cases(), st.data())
@settings(max_examples=25)
def test_every_rank_of_a_pretended_world_gets_what_torch_would_cut_for_it(
    case: Case, data: st.DataObject
) -> None:
    rule = policy(data.draw(st.sampled_from(suiting(case.shape))))
    model = One(torch.empty(case.shape))
    plan = initpolicy.apply(model, rule)
    for mesh in each_rank(case.sizes):
        wanted = distribute_tensor(model.weight.detach(), mesh, case.placements, src_data_rank=None)
        own = distribute_tensor(torch.ones(case.shape), mesh, case.placements, src_data_rank=None)
        own._is_param = True  # what nn.Parameter does with it would go to the rank before
        assert initpolicy.apply(One(own), rule) == plan
        assert torch.equal(own._local_tensor, wanted._local_tensor)


def test_placements_without_values_of_their_own_are_an_error() -> None:
    for mesh in each_rank((2, 2)):
        partial = DTensor.from_local(torch.ones(2), mesh, [Partial(), Replicate()])
        message = (
            "IP308 weight holds partial values: Partial(sum) on mesh dimension 0; "
            "redistribute it to Shard or Replicate first"
        )
        with pytest.raises(InitPolicyError, match=f"^{re.escape(message)}$"):
            initpolicy.apply(One(partial), policy('"normal"'))
        assert partial.to_local().tolist() == [1, 1]


def test_draws_of_torch_are_an_error_where_a_tensor_is_shared_out() -> None:
    for mesh in each_rank((2,)):
        weight = distribute_tensor(torch.ones(4), mesh, [Shard(0)], src_data_rank=None)
        with pytest.raises(InitPolicyError, match="torch's generator gives a tensor other"):
            initpolicy.apply(One(weight), policy('"normal"'), draws="torch")


HINT = "; say which elements it holds"


@pytest.mark.parametrize(
    ("name", "part", "said"),
    [
        (
            "wait",
            Part(torch.ones(2), (2,), [(0, 2)]),
            "IP301 the plan lacks 1 of the tensors: wait; name them as the whole model does",
        ),
        (
            "weight",
            Part(torch.ones(4), (4, 2), [(0, 4)]),
            f"IP308 weight: the plan has shape [2, 4], the part is of [4, 2]{HINT}",
        ),
        (
            "weight",
            Part(torch.ones(4), (2, 4), [(0, 2), (3, 6)]),
            f"IP308 weight: the runs hold 5 indices, the part 4 elements{HINT}",
        ),
        (
            "weight",
            Part(torch.ones(4), (2, 4), [(4, 6), (0, 2)]),
            f"IP308 weight: the runs do not ascend{HINT}",
        ),
        (
            "weight",
            Part(torch.ones(4), (2, 4), [(6, 10)]),
            f"IP308 weight: the runs end at 10, and the tensor at 8{HINT}",
        ),
        (
            "weight",
            Part(torch.ones(4, device="meta"), (2, 4), [(0, 4)]),
            "IP308 weight: the part is on the meta device, and has no memory to write to" + HINT,
        ),
        (
            "weight",
            Part(torch.ones(1).expand(4), (2, 4), [(0, 4)]),
            f"IP308 weight: elements of the part share memory{HINT}",
        ),
        (
            "weight",
            torch.ones(2, 4),
            f"IP308 weight: Tensor is no `initpolicy.Part`{HINT}",
        ),
        (
            "weight",
            Part(torch.ones(4, dtype=torch.int64), (2, 4), [(0, 4)]),
            "IP308 weight: ",
        ),
    ],
)
def test_parts_that_the_plan_has_not_are_an_error(name: str, part: Part, said: str) -> None:
    plan = initpolicy.plan(nn.Linear(4, 2, device="meta"), "torch")
    good = torch.full((2,), 5.0)
    with pytest.raises(InitPolicyError) as met:
        initpolicy.fill(plan, {"bias": Part(good, (2,), [(0, 2)]), name: part})
    assert str(met.value).startswith(said)
    assert said.endswith(": ") or str(met.value) == said
    assert good.tolist() == [5, 5]


def test_what_a_constructor_makes_is_an_error_and_what_is_kept_is_left() -> None:
    layer = nn.BatchNorm1d(2, device="meta")
    rule = 'format = 1\n[[rule]]\ninit."*" = "keep"\nbuffer."*" = '
    made = initpolicy.plan(layer, parse(rule + '{ recompute = "constructor" }'))
    part = Part(torch.full((1,), 5.0), (2,), [(1, 2)])
    message = (
        "IP308 running_var: the constructor of its module makes it, and a plan has no modules; "
        "take it from a module that is built on the CPU, or give it a formula"
    )
    with pytest.raises(InitPolicyError, match=f"^{re.escape(message)}$"):
        initpolicy.fill(made, {"running_var": part})
    initpolicy.fill(made, {"weight": part})
    assert part.tensor.tolist() == [5]


def test_runs_that_are_out_of_order_are_found_however_they_are_given() -> None:
    plan = initpolicy.plan(nn.Linear(4, 2, device="meta"), "torch")
    for runs in ([(2, 4), (0, 2)], [(0, 3), (2, 3)], [(3, 1), (0, 6)], [(-1, 3)]):
        with pytest.raises((InitPolicyError, ValueError)):
            initpolicy.fill(plan, {"weight": Part(torch.ones(4), (2, 4), runs)})
