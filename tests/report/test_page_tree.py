"""The tree of modules holds every tensor once, and what is one line is alike."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import initpolicy
from initpolicy.plans import Choice, Decision, Plan
from initpolicy.policy import parse
from initpolicy.problems import Location
from initpolicy.report.page.tree import Branch, runs, tree

NAMES = st.lists(
    st.lists(
        st.sampled_from(["0", "1", "2", "3", "a1", "a2", "norm", "w"]), min_size=1, max_size=4
    ).map(".".join),
    unique=True,
    max_size=25,
)


def plan_of(names: list[str], rules: list[int]) -> Plan:
    choices = [Choice(f"rule {number}", "keep", Location("p.toml", number)) for number in rules]
    decisions = (
        Decision(name, "parameter", (2,), "float32", "Linear", None, choice)
        for name, choice in zip(names, choices, strict=True)
    )
    return Plan(tuple(decisions), 0, "p.toml")


def branches(branch: Branch) -> list[Branch]:
    return [branch, *(below for one in branch.branches for below in branches(one))]


@given(NAMES, st.data())
def test_every_tensor_stands_in_one_place_of_the_tree(
    names: list[str], data: st.DataObject
) -> None:
    size = len(names)
    rules = data.draw(st.lists(st.integers(1, 2), min_size=size, max_size=size))
    plan = plan_of(names, rules)
    root = tree(plan, {})
    assert Counter(one.name for one in root) == Counter(names)
    for branch in branches(root):
        for tensors in branch.tensors:
            first = tensors.decisions[0]
            assert {one.winner for one in tensors.decisions} == {first.winner}
            assert {one.name.rpartition(".")[2] for one in tensors.decisions} == {tensors.name}
            assert len(tensors.decisions) % len(branch.names) == 0


@given(st.lists(st.tuples(st.sampled_from(["0", "1", "2", "b", "c7"]), st.integers(0, 2))))
def test_runs_take_each_place_once_and_put_like_things_together(
    named: list[tuple[str, int]],
) -> None:
    found = runs(named)
    assert sorted(place for run in found for place in run) == list(range(len(named)))
    for run in found:
        assert run == sorted(run)
        assert len({named[place][1] for place in run}) == 1
        if len(run) > 1:
            assert {named[place][0] for place in run} <= {"0", "1", "2"} or {
                named[place][0] for place in run
            } == {"c7"}


def test_a_deep_model_is_a_few_lines() -> None:
    layers = [layer for _ in range(400) for layer in (nn.Linear(8, 8), nn.LayerNorm(8), nn.Tanh())]
    model = nn.Sequential(nn.Linear(3, 8), *layers).to("meta")
    policy = parse('format = 1\n[[rule]]\ninit."*" = "normal"\n[[rule]]\nname = "0"\ninit."*" = 1')
    root = tree(initpolicy.plan(model, policy), {"": "Sequential"})
    titles = [(one.title, len(one.names), one.type) for one in root.branches]
    assert titles == [
        ("0", 1, "Linear"),
        ("1, 4 ... 1198", 400, "Linear"),
        ("2, 5 ... 1199", 400, "LayerNorm"),
    ]


def test_layers_that_differ_in_their_rule_stand_apart() -> None:
    root = tree(plan_of(["l.0.w", "l.1.w", "l.2.w", "l.3.w"], [1, 1, 2, 1]), {})
    (layers,) = root.branches
    assert [one.title for one in layers.branches] == ["0\N{EN DASH}1", "2", "3"]


def test_layers_that_differ_in_their_numbers_alone_stand_together() -> None:
    model = nn.Sequential(*(nn.Linear(2**n, 4) for n in range(5))).to("meta")
    plan = initpolicy.plan(model, parse('format = 1\n[[rule]]\ninit.weight = "lecun_normal"\n'
                                        "init.bias = 0"))  # fmt: skip
    (layers,) = tree(plan, {}).branches
    assert layers.title == "0\N{EN DASH}4"
    assert [one.shape[1] for one in layers.tensors[0].decisions] == [1, 2, 4, 8, 16]
