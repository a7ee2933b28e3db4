"""A plan says what its laws take beside the parts of a sharded model."""

from __future__ import annotations

import io

import pytest
from torch import nn

import initpolicy
from initpolicy.policy import parse
from initpolicy.report import summary, text


@pytest.mark.parametrize(
    ("rule", "room"),
    [
        ('"normal"', 0),
        ('"orthogonal"', 4 * 60 * 40),
        ('{ fn = "orthogonal", chunks = 3 }', 4 * 20 * 40),
        ('{ chunks = ["normal", "orthogonal"] }', 4 * 30 * 40),
    ],
)
def test_the_largest_tensor_that_is_made_whole_is_what_counts(rule: str, room: int) -> None:
    policy = parse(
        f'format = 1\n[[rule]]\ninit.weight = {rule}\ninit.bias = "normal"\n'
        '[[rule]]\nname = "1"\ninit.weight = "orthogonal"'
    )
    with_small = nn.Sequential(nn.Linear(40, 60), nn.Linear(2, 3, bias=False)).to("meta")
    plan = initpolicy.plan(with_small, policy)
    assert summary.room(plan) == (room or 4 * 2 * 3)


def told(policy: str) -> str:
    stream = io.StringIO()
    plan = initpolicy.plan(nn.Linear(50, 50, device="meta"), parse(policy))
    text.plan(plan, text.console(stream))
    return stream.getvalue()


WHOLE = 'format = 1\n[[rule]]\ninit.bias = 0\ninit.weight = "orthogonal"\n'


def test_a_plan_says_so_in_a_line_if_there_is_any() -> None:
    line = (
        "\nIf it is sharded, each process takes up to 10.0 kB more for a while, "
        "for tensors that are made whole.\n"
    )
    assert line in told(WHOLE)
    assert "sharded" not in told('format = 1\n[[rule]]\ninit."*" = "normal"')


def test_a_plan_with_steps_is_not_for_a_model_that_is_sharded() -> None:
    with_steps = told(f'{WHOLE}[[calibrate]]\nfn = "lsuv"\n')
    assert "Then lsuv of 1 layer" in with_steps
    assert "sharded" not in with_steps
