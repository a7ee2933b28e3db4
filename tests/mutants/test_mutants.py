"""Every planted defect is found, and nothing in clean models: a small part of `make mutants`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

import initpolicy

sys.path.insert(0, str(Path(__file__).parent))

from clean import clean
from planted import DEFECTS, Defect, made, verdict_on


@pytest.fixture(autouse=True)
def _one_thread():
    """Small matrices on many threads wait for each other where other tests run beside."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


QUICK = [defect for defect in DEFECTS if defect.quick]


@pytest.mark.parametrize("defect", QUICK, ids=lambda defect: defect.name)
def test_a_planted_defect_is_found_where_it_is(defect: Defect) -> None:
    named = {found.name for found in verdict_on(defect, 7).findings}
    assert defect.tensor in named
    assert len(named) == 1


@pytest.mark.heavy
@pytest.mark.parametrize(
    "defect", [d for d in DEFECTS if not d.quick], ids=lambda defect: defect.name
)
def test_one_more_defect_is_found_where_it_is(defect: Defect) -> None:
    test_a_planted_defect_is_found_where_it_is(defect)


def test_the_model_has_half_a_million_parameters() -> None:
    assert 450_000 < sum(p.numel() for p in made(0)[0].parameters()) < 550_000


@pytest.mark.parametrize("draws", ["initpolicy", "torch"])
def test_the_model_without_a_defect_is_clean(draws: str) -> None:
    model, plan = made(5, draws)
    assert initpolicy.verify(model, plan, exact=False).ok


def test_clean_models_are_clean() -> None:
    blamed = {seed for seed in range(40) if not verdict_of_clean(seed, 1e-9).ok}
    assert not blamed


def test_false_alarms_are_as_rare_as_stated_where_that_can_be_counted() -> None:
    # At a rate of 0.2, 60 models have 12 alarms or fewer on average; 30 or more have a
    # probability below 1e-6 at that rate. The seeds are fixed.
    alarms = sum(not verdict_of_clean(seed, 0.2).ok for seed in range(10_000, 10_060))
    assert alarms < 30


def verdict_of_clean(seed: int, alpha: float) -> initpolicy.verification.Verdict:
    model, plan = clean(seed)
    return initpolicy.verify(model, plan, exact=False, alpha=alpha)
