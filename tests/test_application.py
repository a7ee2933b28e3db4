"""Values in the model: what is written, what is left, and what happens when a plan does not fit."""

import random

import numpy as np
import pytest
import torch
from torch import nn

import initpolicy
from initpolicy import InitPolicyError
from initpolicy.policy import parse

EVERYTHING = parse('format = 1\n[[rule]]\ninit."*" = "normal"')


def values(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


def test_values_depend_on_the_seed():
    models = [nn.Linear(20, 30) for _ in range(3)]
    for model, seed in zip(models, (0, 0, 1), strict=True):
        initpolicy.apply(model, EVERYTHING, seed=seed)
    assert same(values(models[0]), values(models[1]))
    assert not same(values(models[0]), values(models[2]))
    assert not models[0].weight.flatten()[:30].equal(models[0].bias)


def test_the_seed_of_the_policy_is_used_and_replaced():
    model, other = nn.Linear(3, 3), nn.Linear(3, 3)
    policy = parse('format = 1\nseed = 9\n[[rule]]\ninit."*" = "normal"')
    assert initpolicy.apply(model, policy).seed == 9
    initpolicy.apply(other, policy, seed=9)
    assert same(values(model), values(other))
    assert initpolicy.apply(other, policy, seed=0).seed == 0
    assert not same(values(model), values(other))


def test_global_generators_are_left_as_they_were():
    model = nn.Sequential(nn.Linear(5, 5), nn.Linear(5, 5))
    torch.manual_seed(1)
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    policy = parse(
        'format = 1\n[[rule]]\ninit.weight = "orthogonal"\n[[rule]]\nname = "1"\n'
        'init.weight = { fn = "sparse", sparsity = 0.5 }\n[[rule]]\ninit.bias = "normal"'
    )
    initpolicy.apply(model, policy)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert (np.random.get_state()[1] == states[2]).all()


def test_what_is_kept_is_left_as_it_was():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    before = values(model)
    initpolicy.apply(model, parse('format = 1\n[[rule]]\ninit.weight = 5\ninit.bias = "keep"'))
    after = values(model)
    assert {n for n in after if not torch.equal(before[n], after[n])} == {"0.weight", "1.weight"}


def test_frozen_parameters_are_filled_and_stay_frozen():
    model = nn.Linear(3, 3).requires_grad_(False)
    initpolicy.apply(model, parse('format = 1\n[[rule]]\ninit."*" = 5'))
    assert (model.weight == 5).all()
    assert not model.weight.requires_grad
    trained = nn.Linear(3, 3)
    initpolicy.apply(trained, EVERYTHING)
    assert trained.weight.requires_grad
    assert trained.weight.grad_fn is None


def test_tied_tensors_stay_tied():
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 5, bias=False))
    model[1].weight = model[0].weight
    initpolicy.apply(model, EVERYTHING)
    assert model[1].weight is model[0].weight


@pytest.mark.parametrize(
    "dtype",
    [torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.float8_e4m3fn],
)
def test_each_dtype_is_the_float32_value_rounded_once(dtype):
    exact, rounded = nn.Module(), nn.Module()
    exact.w = nn.Parameter(torch.empty(64, 33))
    rounded.w = nn.Parameter(torch.empty(64, 33, dtype=dtype))
    for model in (exact, rounded):
        initpolicy.apply(model, EVERYTHING, seed=4)
    assert torch.equal(exact.w.detach().to(dtype).double(), rounded.w.detach().double())


def test_complex_tensors_have_half_the_variance_on_each_part():
    model = nn.Module()
    model.w = nn.Parameter(torch.empty(200, 500, dtype=torch.complex64))
    initpolicy.apply(model, EVERYTHING, seed=1)
    # 100,000 values: the sample variance of a part is within 5 of its standard errors with a false
    # alarm rate of 6e-7; the seed is fixed.
    for part in (model.w.real, model.w.imag):
        assert abs(part.var().item() - 0.5) < 5 * 0.5 * (2 / part.numel()) ** 0.5
    assert abs((model.w.real * model.w.imag).mean().item()) < 5 * 0.5 / model.w.numel() ** 0.5


def test_tensors_without_elements_or_dimensions():
    model = nn.Module()
    model.none = nn.Parameter(torch.empty(0, 3))
    model.one = nn.Parameter(torch.empty(()))
    initpolicy.apply(model, EVERYTHING)
    assert torch.isfinite(model.one).all()


def test_strides_do_not_change_values():
    models = [nn.Module() for _ in range(3)]
    models[0].w = nn.Parameter(torch.empty(4, 6, 3, 3))
    models[1].w = nn.Parameter(torch.empty(4, 6, 3, 3).to(memory_format=torch.channels_last))
    models[2].w = nn.Parameter(torch.empty(4, 12, 3, 3)[:, ::2])
    for model in models:
        initpolicy.apply(model, EVERYTHING)
    assert torch.equal(models[0].w, models[1].w)
    assert torch.equal(models[0].w, models[2].w)


def test_one_stream_gives_two_tensors_the_same_draws():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    rules = '[[rule]]\ninit."*" = 0\n[[rule]]\ninit.weight = { fn = "normal", stream = "s" }'
    initpolicy.apply(model, parse(f"format = 1\n{rules}"))
    assert torch.equal(model[0].weight, model[1].weight)


def test_an_error_leaves_every_tensor_as_it_was():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    before = values(model)
    for rules in (
        '[[rule]]\ninit."*" = 1\n[[rule]]\ntype = "BatchNorm1d"\ninit.bias = "xavier_normal"',
        '[[rule]]\ntype = "Linear"\ninit."*" = 1',
        '[[rule]]\ninit."*" = 1\nbuffer.num_batches_tracked = 0.5',
        '[[rule]]\ninit."*" = 1\n[[rule]]\nname = "1"\n'
        'init.weight = { fn = "trunc_normal", std = 1, a = 60, b = 61 }',
    ):
        with pytest.raises(InitPolicyError):
            initpolicy.apply(model, parse(f"format = 1\n{rules}"))
        assert same(values(model), before)


def test_a_plan_is_carried_out_where_it_fits():
    planned, model = nn.Linear(3, 2), nn.Linear(3, 2)
    plan = initpolicy.plan(planned, EVERYTHING, seed=8)
    assert initpolicy.apply(model, plan) is plan
    initpolicy.apply(planned, EVERYTHING, seed=8)
    assert same(values(planned), values(model))


def test_a_plan_refuses_a_model_that_it_does_not_fit():
    plan = initpolicy.plan(nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2)), EVERYTHING)
    model = nn.Sequential(nn.Linear(3, 3, dtype=torch.float64), nn.BatchNorm1d(2))
    before = values(model)
    with pytest.raises(InitPolicyError) as caught:
        initpolicy.apply(model, plan)
    hint = "plan it anew for this model"
    assert str(caught.value).splitlines() == [
        "IP301 the model has 3 tensors that the plan lacks: 1.running_mean, 1.running_var, "
        f"1.num_batches_tracked; {hint}",
        f"IP301 0.weight: the plan has dtype float32, the model float64; {hint}",
        f"IP301 0.weight: the plan has shape [2, 3], the model [3, 3]; {hint}",
        f"IP301 0.bias: the plan has dtype float32, the model float64; {hint}",
        f"IP301 0.bias: the plan has shape [2], the model [3]; {hint}",
        f"IP301 1.weight: the plan has shape [2, 2], the model [2]; {hint}",
    ]
    assert same(values(model), before)
    with pytest.raises(InitPolicyError, match=r"1 tensors that the model lacks: 1\.weight"):
        initpolicy.apply(
            nn.Sequential(nn.Linear(3, 2)),
            initpolicy.plan(
                nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2, bias=False)), EVERYTHING
            ),
        )


def test_a_meta_model_has_no_memory_to_write_to():
    with pytest.raises(InitPolicyError) as caught:
        initpolicy.apply(nn.Linear(3, 2, device="meta"), EVERYTHING)
    assert str(caught.value) == (
        "IP303 2 tensors are on the meta device and have no memory to write to: weight, bias; "
        'give them some with `apply(model, policy, device="cpu")`'
    )


@pytest.mark.parametrize("rule", ['"normal"', '"orthogonal"'])
@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(1, 3).expand(4, 3),
        torch.zeros(12).as_strided((4, 3), (1, 1)),
        torch.zeros(4, 3).to_sparse(),
    ],
    ids=["expanded", "overlapping", "sparse"],
)
def test_elements_that_share_memory_cannot_have_values_of_their_own(rule, tensor):
    model = nn.Module()
    model.first, model.second = nn.Parameter(torch.zeros(3, 3)), nn.Parameter(tensor)
    policy = parse(f'format = 1\n[[rule]]\ninit."*" = {rule}\n', "policy.toml")
    with pytest.raises(InitPolicyError) as caught:
        initpolicy.apply(model, policy)
    assert str(caught.value) == (
        "IP303 1 tensor has elements without memory of their own: second; make it dense, or "
        "`clone` it, before it becomes a parameter or a buffer"
    )
    assert not model.first.any()


def test_misuse_of_apply():
    plan = initpolicy.plan(nn.Linear(3, 2), EVERYTHING)
    with pytest.raises(InitPolicyError, match="IP304 a plan has its seed and its variables"):
        initpolicy.apply(nn.Linear(3, 2), plan, seed=3)
    with pytest.raises(InitPolicyError, match="IP304 there are no draws 'numpy'"):
        initpolicy.apply(nn.Linear(3, 2), plan, draws="numpy")


def test_progress_counts_every_byte_that_is_written():
    model = nn.Sequential(nn.Linear(30, 20), nn.BatchNorm1d(20), nn.Linear(20, 20))
    policy = parse(
        'format = 1\n[[rule]]\ninit."*" = "normal"\n[[rule]]\ntype = "BatchNorm1d"\n'
        'init."*" = "keep"\n[[rule]]\nname = "2"\ninit.weight = "orthogonal"\ninit.bias = 0'
    )
    for draws in ("initpolicy", "torch"):
        written: list[int] = []
        plan = initpolicy.apply(model, policy, draws=draws, progress=written.append)
        assert sum(written) == sum(4 * decision.numel for decision in plan.filled)
