from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import utils
from torch.nn.utils import parametrizations

import initpolicy
from initpolicy.laws import Constant, Normal, Uniform
from initpolicy.plans import Choice, Decision, Plan
from initpolicy.problems import Location
from initpolicy.report.summary import count, in_bytes, leftovers, ranged, shares, totals


def choice(rule: str, initializer: str, line: int = 1, file: str = "x.toml") -> Choice:
    return Choice(rule, initializer, Location(file, line))


def decision(name: str, law=None, winner=None, *, kind="parameter", shape=(2, 3)) -> Decision:
    return Decision(name, kind, shape, "float32", "Linear", law, winner)


def plan(*decisions: Decision) -> Plan:
    return Plan(decisions, seed=0, policy="x.toml")


def test_a_share_is_a_rule_with_an_initializer_in_the_order_of_the_model() -> None:
    first, second = choice("a", "normal"), choice("b", "normal")
    zero, other_file = choice("a", "constant(val=0)", 2), choice("a", "normal", file="y.toml")
    found = shares(
        plan(
            decision("0.weight", Normal(0, 1), first),
            decision("1.weight", Normal(0, 0.5), second),
            decision("0.bias", Constant(0), zero, shape=(3,)),
            decision("2.weight", Normal(0, 0.25), first),
            decision("3.weight", Normal(0, 0.25), other_file),
            decision("4.weight"),
        )
    )
    told = [
        (share.rule, share.initializer, share.names, share.law, share.values) for share in found
    ]
    assert told == [
        ("a", "normal", ("weight",), "N(0, 0.25..1)", 12),
        ("a", "constant(val=0)", ("bias",), "0", 3),
        ("b", "normal", ("weight",), "N(0, 0.5)", 6),
        ("a", "normal", ("weight",), "N(0, 0.25)", 6),
    ]


def test_what_is_left_is_grouped_by_its_reason() -> None:
    keep = choice("a", "keep")
    found = leftovers(
        plan(
            decision("0.weight", None, keep),
            decision("0.bias"),
            decision("1.weight", Normal(0, 1), choice("b", "normal")),
            decision("1.bias"),
            decision("1.count", kind="buffer"),
        )
    )
    assert [(group.kind, group.names, group.reason) for group in found] == [
        ("parameter", ("weight",), "rule a keeps it"),
        ("parameter", ("bias",), "no rule covers them"),
        ("buffer", ("count",), "no rule covers it"),
    ]


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("wrap", [parametrizations.weight_norm, utils.weight_norm])
@pytest.mark.parametrize("rule", ['init.weight = { fn = "normal", std = 3 }', "init.bias = 5"])
def test_what_is_left_is_what_does_not_change(wrap, rule, tmp_path) -> None:
    model = wrap(nn.Linear(3, 4))
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    file = tmp_path / "x.toml"
    file.write_text(f'format = 1\nuncovered = "keep"\n[[rule]]\n{rule}\n')
    found = leftovers(initpolicy.apply(model, file))
    same = {name for name, value in model.named_parameters() if torch.equal(value, before[name])}
    left = {one.name for group in found for one in group.decisions if one.kind == "parameter"}
    assert left - {"weight"} == same


@pytest.mark.parametrize(
    ("laws", "text"),
    [
        ([Normal(0, 0.02)], "N(0, 0.02)"),
        ([Normal(0, 0.02), Normal(0, 0.02)], "N(0, 0.02)"),
        ([Normal(0, 1e-5), Normal(0, 0.5), Normal(0, 0.0625)], "N(0, 1e-05..0.5)"),
        ([Uniform(-1, 1), Uniform(-0.5, 0.5)], "U(-1..-0.5, 0.5..1)"),
        ([Constant(2), Constant(-3), Constant(10)], "-3..10"),
        ([Normal(0, 1), Uniform(0, 1)], "2 laws"),
    ],
)
def test_laws_that_differ_in_their_numbers_become_ranges(laws, text) -> None:
    assert ranged(map(str, laws)) == text


@given(st.lists(st.floats(0, 1e9), min_size=1))
def test_a_range_reaches_from_the_smallest_to_the_largest(stds: list[float]) -> None:
    laws = [f"N(0, {std!r})" for std in stds]
    low, high = min(stds), max(stds)
    assert ranged(laws) == (f"N(0, {low!r})" if low == high else f"N(0, {low!r}..{high!r})")


def test_totals_count_parameters_apart_from_buffers() -> None:
    rule = choice("a", "ones")
    weight = decision("weight", Constant(1), rule, shape=(1000, 2))
    assert totals(plan(weight, decision("bias"))) == "1 parameter tensor (2,000 values)"
    mean = decision("mean", Constant(1), rule, kind="buffer", shape=())
    assert totals(plan(weight, mean)) == "1 parameter tensor (2,000 values) and 1 buffer (1 value)"
    assert totals(plan(decision("bias"))) == "nothing"


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_951, "1.0 MB"),
        (5_000_000_000, "5.0 GB"),
        (1_234_500_000_000_000, "1,234.5 TB"),
    ],
)
def test_sizes_are_read_by_people(size, text) -> None:
    assert in_bytes(size) == text


def test_counts_have_their_noun() -> None:
    assert [count(number, "tensor") for number in (0, 1, 1000)] == [
        "0 tensors",
        "1 tensor",
        "1,000 tensors",
    ]
