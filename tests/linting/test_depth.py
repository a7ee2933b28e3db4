"""Residual stacks: what grows is measured on the models themselves."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import initpolicy
from initpolicy.policy import parse


class Block(nn.Module):
    def __init__(self, norm: bool) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(64, 64), nn.Linear(64, 64)
        self.norm = norm

    def forward(self, x):
        inner = nn.functional.layer_norm(x, (64,)) if self.norm else x
        return x + self.last(torch.relu(self.first(inner)))


def stack(blocks: int, norm: bool = False) -> nn.Sequential:
    return nn.Sequential(*[Block(norm) for _ in range(blocks)])


HE = '{ fn = "kaiming_normal", nonlinearity = "relu" }'


ALL = f"format = 1\n[[rule]]\ninit.weight = {HE}\ninit.bias = 0\n"


def policy(last: str) -> initpolicy.Policy:
    return parse(f'{ALL}[[rule]]\nname = "**.last"\ninit.weight = {last}\n')


@pytest.mark.parametrize(
    ("blocks", "norm", "last", "grows"),
    [
        (8, False, HE, True),
        (16, False, '"lecun_normal"', True),
        (7, False, HE, False),
        (8, True, HE, False),
        (8, False, "0", False),
        (16, False, '{ fn = "lecun_normal", scale = "1 / sqrt(16)" }', False),
    ],
)
def test_what_is_told_of_grows_and_what_is_not_does_not(blocks, norm, last, grows) -> None:
    model, given = stack(blocks, norm), policy(last)
    advice = initpolicy.lint(model, given)
    expected = [f"{block}.last.weight" for block in range(blocks)] if grows else []
    assert [name for found in advice.findings for name in found.names] == expected
    assert {found.code for found in advice.findings} <= {"IP714"}
    initpolicy.apply(model, given, seed=0)
    x = torch.randn(256, 64, generator=torch.Generator().manual_seed(0))
    growth = float(model(x).detach().std() / x.std())
    assert (growth > 2 ** (blocks / 2) / 2) == (grows or blocks == 7)


def test_additions_of_other_kinds_are_no_branches() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(10))

        def forward(self, x):
            for layer in self.layers:
                x = layer(x) + 1
            return x

    assert initpolicy.lint(Net(), parse(ALL)).findings == ()
