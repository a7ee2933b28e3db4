"""Verdicts on models, state dicts and checkpoints."""

from __future__ import annotations

import json
import math

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import initpolicy
from initpolicy import InitPolicyError
from initpolicy.laws import Uniform
from initpolicy.policy import parse
from initpolicy.verification.lawful import visible
from initpolicy.verification.resemblance import looks_like
from initpolicy.verification.verify import _nudged

POLICY = parse(
    'format = 1\n[[rule]]\ninit.weight = { fn = "normal", std = 0.02 }\ninit.bias = 0\n', "p.toml"
)


def model() -> nn.Module:
    return nn.Sequential(nn.Linear(40, 50), nn.Linear(50, 40))


def codes(verdict: initpolicy.verification.Verdict) -> list[tuple[str, str]]:
    return [(found.name, found.code) for found in verdict.findings]


def test_a_model_is_what_its_policy_made():
    made = model()
    plan = initpolicy.apply(made, POLICY, seed=3)
    for what in (POLICY, plan):
        seed = 3 if what is POLICY else None
        for exact in (True, False):
            verdict = initpolicy.verify(made, what, seed=seed, exact=exact)
            assert verdict.ok, str(verdict)
            assert len(verdict.tensors) == 4


def test_a_finding_says_what_and_where_and_which_rule():
    made = model()
    initpolicy.apply(made, POLICY, seed=3)
    with torch.no_grad():
        made[0].bias[4] = 1
    verdict = initpolicy.verify(made, POLICY, seed=3)
    assert str(verdict.findings[0]) == (
        "p.toml:4: IP604 0.bias (rule for every module): 1 of 50 values differ, first at [4]: "
        "1 instead of 0; the largest difference is 1; looks like 98 % zeros"
    )
    assert str(verdict).splitlines()[0] == ("p.toml, seed 3: 1 finding (4 tensors: 4 exactly)")


def test_another_seed_is_told_from_another_law():
    made = model()
    initpolicy.apply(made, POLICY, seed=3)
    verdict = initpolicy.verify(made, POLICY, seed=4)
    assert codes(verdict) == [("0.weight", "IP604"), ("1.weight", "IP604")]
    for found in verdict.findings:
        assert "they follow N(0, 0.02) all the same, from another seed" in found.message
    assert initpolicy.verify(made, POLICY, seed=4, exact=False).ok


def test_torch_defaults_are_recognized():
    torch.manual_seed(0)
    made = nn.Linear(625, 100)
    verdict = initpolicy.verify(made, POLICY)
    assert [found.looks_like[:6] for found in verdict.findings] == ["U(-0.0"] * 2
    assert verdict.findings[0].looks_like == "U(-0.04, 0.04), torch's default for Linear"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (torch.full((9,), 0.5), "the constant 0.5"),
        (torch.tensor([math.nan] * 3), "no numbers at all"),
        (torch.eye(20), "95 % zeros"),
        (torch.tensor([1.0, 2.0, 5.0]), ""),
    ],
)
def test_resemblances(values, expected):
    assert looks_like(values) == expected


def test_nothing_is_changed_and_no_generator_is_touched():
    made = model()
    initpolicy.apply(made, POLICY)
    before = {name: value.clone() for name, value in made.state_dict().items()}
    state = torch.get_rng_state()
    first = [initpolicy.verify(made, POLICY, exact=exact) for exact in (True, False)]
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[n], v) for n, v in made.state_dict().items())
    assert [initpolicy.verify(made, POLICY, exact=exact) for exact in (True, False)] == first


def test_what_is_kept_is_not_judged_and_said_so():
    policy = parse('format = 1\n[[rule]]\ninit.weight = "normal"\ninit.bias = "keep"\n')
    made = model()
    initpolicy.apply(made, policy)
    verdict = initpolicy.verify(made, policy)
    assert verdict.ok
    assert [one.how for one in verdict.tensors] == ["exactly", "not judged"] * 2
    assert "0.bias, 1.bias: not judged, because the policy leaves it as it is" in str(verdict)


@pytest.mark.filterwarnings("ignore:Complex modules")
@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.complex64])
def test_types_ties_and_computed_tensors(exact, dtype):
    made = model().to(dtype)
    made[1].weight = made[0].weight = nn.Parameter(torch.empty(50, 50, dtype=dtype))
    if dtype == torch.float32:
        nn.utils.parametrizations.weight_norm(made[1], "bias", dim=None)
        nn.utils.parametrizations.weight_norm(made[0])
        rule = 'init.bias = "normal"'
    else:
        rule = "init.bias = 0"
    policy = parse(
        'format = 1\nuncovered = "keep"\n'
        f'[[rule]]\ninit.weight = {{ fn = "uniform", a = -1, b = 1 }}\n{rule}\n'
    )
    plan = initpolicy.apply(made, policy)
    verdict = initpolicy.verify(made, plan, exact=exact)
    assert verdict.ok, str(verdict)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.5)
    assert not initpolicy.verify(made, plan, exact=exact).ok


def test_lists_what_a_state_dict_lacks_and_has_besides():
    made = model()
    plan = initpolicy.apply(made, POLICY)
    state = dict(made.state_dict())
    state["1.weigth"] = state.pop("1.weight")
    state["0.bias"] = torch.zeros(49)
    verdict = initpolicy.verify(state, plan)
    assert [(f.name, f.code, f.message) for f in verdict.findings] == [
        ("0.bias", "IP603", "its shape is [49], and the plan's is [50]"),
        ("1.weight", "IP603", "the checkpoint lacks it; near it is 1.weigth"),
        ("1.weigth", "IP603", "the checkpoint has it, and the plan does not"),
    ]


def test_checkpoints_with_a_model_a_plan_or_neither(tmp_path):
    made = model()
    plan = initpolicy.apply(made, POLICY, seed=2)
    file = tmp_path / "model.safetensors"
    save_file(made.state_dict(), file)
    other = nn.Sequential(nn.Linear(40, 50, device="meta"), nn.Linear(50, 40, device="meta"))
    again = initpolicy.Plan.from_json(json.dumps(plan.to_json()))
    for verdict in (
        initpolicy.verify(file, plan),
        initpolicy.verify(tmp_path, again),
        initpolicy.verify(str(file), POLICY, model=other, seed=2),
        initpolicy.verify(file, again, exact=False),
    ):
        assert verdict.ok, str(verdict)
    with pytest.raises(InitPolicyError, match="a checkpoint does not say what modules"):
        initpolicy.verify(file, POLICY)
    with pytest.raises(InitPolicyError, match="IP504"):
        initpolicy.verify(tmp_path / "none.safetensors", plan)


def test_a_checkpoint_in_shards_and_in_another_type(tmp_path):
    plan = initpolicy.plan(model().to("meta"), POLICY, seed=1)
    folder = tmp_path / "out"
    initpolicy.materialize(plan, folder, max_shard_size=5000, dtype="bfloat16")
    assert len(list(folder.glob("*.safetensors"))) > 1
    assert initpolicy.verify(folder, plan).ok
    assert initpolicy.verify(folder, plan, exact=False).ok


def test_buffers_that_no_checkpoint_holds_are_not_asked_for():
    made = nn.Linear(3, 3)
    made.register_buffer("mask", torch.zeros(3), persistent=False)
    policy = parse('format = 1\n[[rule]]\ninit."*" = "normal"\nbuffer."*" = 0\n')
    plan = initpolicy.apply(made, policy)
    verdict = initpolicy.verify(made.state_dict(), plan)
    assert verdict.ok
    assert "mask: not judged, because a checkpoint does not hold it" in str(verdict)


def test_bad_calls():
    made = model()
    with pytest.raises(InitPolicyError, match="a plan has its seed and its variables"):
        initpolicy.verify(made, initpolicy.plan(made, POLICY), seed=1)
    for alpha in (0, 1, -1.0, math.nan):
        with pytest.raises(InitPolicyError, match="alpha must lie between 0 and 1"):
            initpolicy.verify(made, POLICY, exact=False, alpha=alpha)
    with pytest.raises(InitPolicyError, match="4 tensors are on the meta device"):
        initpolicy.verify(model().to("meta"), POLICY)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda weight: weight.add_(0.01), "IP606"),
        (lambda weight: weight.mul_(2), "IP607"),
        (lambda weight: weight.uniform_(-0.0346, 0.0346), "IP608"),
    ],
)
def test_one_cause_is_one_finding(change, code):
    torch.manual_seed(0)
    made = nn.Linear(100, 200)
    initpolicy.apply(made, POLICY)
    with torch.no_grad():
        change(made.weight)
    assert codes(initpolicy.verify(made, POLICY, exact=False)) == [("weight", code)]


def test_layers_that_torch_copies_are_found():
    # nn.TransformerEncoder makes deep copies of one layer, and draws no biases anew.
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(32, 2, 64, batch_first=True)
    made = nn.TransformerEncoder(layer, 2)
    verdict = initpolicy.verify(made, "torch", exact=False)
    assert ("layers.1.linear1.weight", "IP613") in codes(verdict)


def test_the_verdict_is_json():
    made = model()
    initpolicy.apply(made, POLICY)
    with torch.no_grad():
        made[0].weight.mul_(2)
    document = json.loads(
        json.dumps(initpolicy.verify(made, POLICY, exact=False).to_json(), allow_nan=False)
    )
    assert document["ok"] is False
    first = document["findings"][0]
    assert (first["name"], first["code"], first["file"], first["line"]) == (
        "0.weight",
        "IP607",
        "p.toml",
        3,
    )


def test_tensors_that_name_one_stream_may_have_the_same_draws():
    rules = '[[rule]]\ninit.bias = 0\ninit.weight = { fn = "normal", stream = "s" }\n'
    made = nn.Sequential(nn.Linear(20, 20), nn.Linear(20, 20))
    plan = initpolicy.apply(made, parse(f"format = 1\n{rules}"))
    assert torch.equal(made[0].weight, made[1].weight)
    assert initpolicy.verify(made, plan, exact=False).ok


def test_the_power_that_is_stated_is_there():
    # A std off by what is visible is seen in 99 of 100 models, and one off by half of it hardly.
    policy = parse('format = 1\n[[rule]]\ninit."*" = "normal"\n')
    size, seen, half = 2000, 0, 0
    made = nn.Module()
    made.w = nn.Parameter(torch.empty(size))
    for seed in range(40):
        plan = initpolicy.apply(made, policy, seed=seed)
        found = initpolicy.verify(made, plan, exact=False)
        deviation = found.tensors[0].visible
        assert deviation is not None
        with torch.no_grad():
            made.w.mul_(1 + deviation)
        seen += not initpolicy.verify(made, plan, exact=False).ok
        with torch.no_grad():
            made.w.div_(1 + deviation).mul_(1 + deviation / 2)
        half += not initpolicy.verify(made, plan, exact=False).ok
    assert seen >= 36  # fewer have a probability of 5e-5, were it 99 %
    assert half <= 20


def test_more_values_see_smaller_deviations():
    level = math.log(1e-12)
    assert visible(2, level) > visible(200, level) > visible(20_000, level) > 0


def test_computed_values_may_leave_their_bounds_by_rounding_alone():
    law, eps = Uniform(-1.0, 1.0), torch.finfo(torch.float32).eps
    near, far = torch.tensor([0.5, 1 + 8 * eps]), torch.tensor([0.5, 1.001])
    assert not law.check(_nudged(law, near))
    assert law.check(near)
    assert law.check(_nudged(law, far))


@pytest.mark.parametrize("exact", [True, False])
def test_a_part_is_judged_by_its_names_in_the_whole(exact):
    whole, part = model(), nn.Sequential(nn.Linear(50, 40))
    initpolicy.apply(whole, POLICY, seed=3)
    part.load_state_dict({"0.weight": whole[1].weight, "0.bias": whole[1].bias})
    options = {"seed": 3, "exact": exact}
    assert initpolicy.verify(part, POLICY, rename={"0": "1"}, **options).ok
    assert initpolicy.verify(part, POLICY, **options).ok is not exact
    state = {name: value for name, value in whole.state_dict().items() if name[0] == "1"}
    assert initpolicy.verify(state, POLICY, model=part, rename={"0": "1"}, **options).ok
    plan = initpolicy.plan(part, POLICY, seed=3, rename={"0": "1"})
    assert initpolicy.verify(part, plan, rename={"0": "1"}, exact=exact).ok
