"""Which laws give the same bits on every machine."""

import pytest

from initpolicy.laws import (
    Arranged,
    Constant,
    Dct,
    Dirac,
    Eye,
    Formula,
    Hadamard,
    Identity,
    Law,
    Normal,
    Orthogonal,
    Sparse,
    Stacked,
    Stratified,
    TruncatedNormal,
    Uniform,
    ZeroRows,
)

EXACT = [
    Constant(2),
    Uniform(0, 1),
    Normal(0, 1),
    TruncatedNormal(0, 1, -2, 2),
    Sparse(0.5),
    Eye(),
    Dirac(),
    Identity(),
    Stratified(Uniform(0, 1)),
]
ROUNDED = [Orthogonal(), Dct(), Hadamard(), Formula("i * 0.5"), Stratified(Normal(0, 1))]


@pytest.mark.parametrize("law", EXACT, ids=str)
def test_laws_that_are_exact(law: Law):
    assert law.is_exact
    assert Arranged(law, "oi").is_exact
    assert ZeroRows(law, (0,)).is_exact
    assert Stacked((law, None)).is_exact


@pytest.mark.parametrize("law", ROUNDED, ids=str)
def test_laws_that_machines_round_otherwise_are_not_exact_in_others_either(law: Law):
    assert not law.is_exact
    assert not Arranged(law, "oi").is_exact
    assert not ZeroRows(law, (0,)).is_exact
    assert not Stacked((Constant(0), law)).is_exact


def test_a_law_of_a_user_is_not_taken_to_be_exact():
    class Own(Orthogonal):
        pass

    assert not Own().is_exact
