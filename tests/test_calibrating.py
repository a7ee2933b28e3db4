"""`[[calibrate]]`: what policies may say, what is recorded, and what happens in a model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from distributed import run
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from typer.testing import CliRunner

import initpolicy
from initpolicy import InitPolicyError, lockfile
from initpolicy.cli.app import app
from initpolicy.plans import Plan
from initpolicy.policy import parse

LINEAR = """
format = 1
[[rule]]
type = "Linear"
init.weight = "orthogonal"
init.bias = 0
"""

LSUV = (
    LINEAR
    + """
[[calibrate]]
fn = "lsuv"
type = "Linear"
tolerance = 0.01
note = "unit variance"
"""
)


def policy(text: str = LSUV):
    return parse(text, "x.toml")


def chain(device: str = "cpu") -> nn.Sequential:
    layers = [nn.Linear(12, 20, device=device), nn.Tanh()]
    for _ in range(3):
        layers += [nn.Linear(20, 20, device=device), nn.Tanh()]
    return nn.Sequential(*layers)


def batch(examples: int = 64) -> torch.Tensor:
    return torch.randn(examples, 12, generator=torch.Generator().manual_seed(0)) * 3


def said(model, given, **options) -> str:
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(InitPolicyError) as caught:
        initpolicy.apply(model, given, **options)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    return str(caught.value)


def variances(model: nn.Sequential, data: torch.Tensor) -> list[float]:
    found = []
    with torch.no_grad():
        for layer in model:
            data = layer(data)
            if isinstance(layer, nn.Linear):
                found.append(float(data.var()))
    return found


def test_a_policy_says_a_step_and_apply_carries_it_out() -> None:
    model = chain()
    plan = initpolicy.apply(model, policy(), data=batch())
    assert all(abs(variance - 1) < 0.01 for variance in variances(model, batch()))
    (step,) = plan.steps
    assert (step.fn, step.arguments, step.rule) == (
        "lsuv",
        (("tolerance", 0.01),),
        '"unit variance"',
    )
    assert str(step.location) == "x.toml:8"
    assert step.layers == ("0", "2", "4", "6")
    assert step.tensors == ("0.weight", "2.weight", "4.weight", "6.weight")
    assert [line.partition(":")[0] for line in step.results] == list(step.layers)


def test_only_the_scale_of_what_was_drawn_is_changed() -> None:
    drawn, calibrated = chain(), chain()
    initpolicy.apply(drawn, policy(LINEAR))
    initpolicy.apply(calibrated, policy(), data=batch())
    for one, other in zip(drawn.parameters(), calibrated.parameters(), strict=True):
        if one.ndim == 1:
            assert torch.equal(one, other)
        else:
            ratio = (other / one).flatten()
            assert torch.allclose(ratio, ratio[0].expand_as(ratio), rtol=1e-5)


def test_the_same_data_and_seed_give_the_same_values_and_others_do_not() -> None:
    def values(data, seed=0):
        model = chain()
        torch.manual_seed(seed + 7)
        state = torch.get_rng_state()
        plan = initpolicy.apply(model, policy(), data=data, seed=seed)
        assert torch.equal(torch.get_rng_state(), state)
        return initpolicy.digest(model), plan.steps[0].data

    assert values(batch()) == values(batch())
    assert values(batch()) == values(lambda: batch())
    assert values(batch())[1] != values(2 * batch())[1]
    assert values(batch())[0] != values(2 * batch())[0]
    assert values(batch())[0] != values(batch(), seed=1)[0]
    assert values(batch())[1] == values(batch(), seed=1)[1]


def test_a_meta_model_is_calibrated_when_it_has_memory() -> None:
    here, there = chain(), chain("meta")
    initpolicy.apply(here, policy(), data=batch())
    initpolicy.apply(there, policy(), data=batch(), device="cpu")
    assert initpolicy.digest(here) == initpolicy.digest(there)


def test_steps_follow_each_other_and_those_of_extended_policies_come_first(tmp_path) -> None:
    (tmp_path / "below.toml").write_text(LSUV)
    above = tmp_path / "above.toml"
    above.write_text(
        'format = 1\nextends = ["below.toml"]\n[[calibrate]]\nfn = "weight_norm_data"\nname = "6"\n'
    )
    model = chain()
    plan = initpolicy.apply(model, above, data=batch())
    assert [step.fn for step in plan.steps] == ["lsuv", "weight_norm_data"]
    assert plan.calibrated["6.weight"] == ("lsuv", "weight_norm_data")
    assert plan.calibrated["6.bias"] == ("weight_norm_data",)
    last = model[:7](batch())
    assert torch.allclose(last.mean(0), torch.zeros(20), atol=1e-4)
    assert torch.allclose(last.std(0, correction=0), torch.ones(20), atol=1e-2)


def test_wrapped_models_have_the_same_names_and_values() -> None:
    plain = chain()
    wrapped = nn.DataParallel(chain())
    first = initpolicy.apply(plain, policy(), data=batch())
    second = initpolicy.apply(wrapped, policy(), data=batch())
    assert first.steps == second.steps
    assert initpolicy.digest(plain) == initpolicy.digest(wrapped)


def test_without_data_nothing_is_written() -> None:
    assert said(chain(), policy()) == (
        "x.toml:8: IP311 the step lsuv(tolerance=0.01) needs data; give it a batch, "
        "with `data=` or `--data file.py:function`"
    )
    meta = chain("meta")
    with pytest.raises(InitPolicyError, match="IP311"):
        initpolicy.apply(meta, policy(), device="cpu")
    assert all(tensor.is_meta for tensor in meta.parameters())


def test_data_that_do_not_fit_are_found_before_anything_is_written() -> None:
    told = said(chain(), policy(), data=batch()[:, :5])
    assert told == (
        'x.toml:8: IP773 step lsuv(tolerance=0.01), "unit variance": the model cannot be run on '
        "the data: RuntimeError: mat1 and mat2 shapes cannot be multiplied (64x5 and 12x20); it "
        "was called with 64 x 5 float32"
    )
    meta = chain("meta")
    with pytest.raises(InitPolicyError, match="IP773"):
        initpolicy.apply(meta, policy(), data=batch()[:, :5], device="cpu")
    assert all(tensor.is_meta for tensor in meta.parameters())


def test_a_step_that_fails_leaves_the_draws() -> None:
    drawn, failed = chain(), chain()
    initpolicy.apply(drawn, policy(LINEAR))
    with pytest.raises(InitPolicyError, match="IP774 step lsuv"):
        initpolicy.apply(failed, policy(), data=torch.zeros(8, 12))
    assert initpolicy.digest(drawn) == initpolicy.digest(failed)


def test_a_plan_for_another_model_is_refused() -> None:
    plan = initpolicy.plan(chain(), policy())
    other = Plan.from_json(
        {**plan.to_json(), "steps": [{**plan.steps[0].to_json(), "layers": ["0", "stem.0"]}]}
    )
    assert said(chain(), other, data=batch()) == (
        "x.toml:8: IP301 the step lsuv(tolerance=0.01) is for layers that the model lacks: stem.0; "
        "make a plan for this model"
    )


UNUSED = (
    "x.toml: IP313 data are given, and nothing uses them: there is no [[calibrate]] step, and no "
    "gain that follows from what follows a layer; leave out `data` (`--data`), or add the step "
    "that they are for"
)


def test_data_that_nothing_uses_are_an_error() -> None:
    assert said(chain(), policy(LINEAR), data=batch()) == UNUSED
    assert said(chain(), initpolicy.plan(chain(), policy(LINEAR)), data=batch()) == UNUSED
    meta = chain("meta")
    with pytest.raises(InitPolicyError) as caught:
        initpolicy.apply(meta, policy(LINEAR), data=batch(), device="cpu")
    assert str(caught.value) == UNUSED
    assert all(tensor.is_meta for tensor in meta.parameters())
    with pytest.raises(InitPolicyError) as caught:
        initpolicy.verify(chain(), policy(LINEAR), data=batch())
    assert str(caught.value) == UNUSED


@pytest.mark.parametrize(
    "text",
    [
        LINEAR.replace('"orthogonal"', '{ fn = "orthogonal", gain = "auto" }'),
        LINEAR.replace('"orthogonal"', '{ fn = "normal", std = "auto_gain / sqrt(fan_in)" }'),
        f'{LINEAR}\n[[calibrate]]\nfn = "lsuv"\ntype = "Conv2d"\noptional = true\n',
    ],
)
def test_data_that_something_may_use(text: str) -> None:
    """A gain for which the model may be called, or a step that finds no layer in this model."""
    with_data, without = chain(), chain()
    plan = initpolicy.apply(with_data, policy(text), data=batch())
    assert plan == initpolicy.apply(without, policy(text))
    assert initpolicy.verify(with_data, policy(text), data=batch()).ok


def test_a_plan_whose_gains_followed_takes_data() -> None:
    text = LINEAR.replace('"orthogonal"', '{ fn = "orthogonal", gain = "auto" }')
    assert initpolicy.apply(chain(), initpolicy.plan(chain(), policy(text)), data=batch())


@pytest.mark.parametrize(
    ("table", "told"),
    [
        (
            'fn = "lsvu"',
            "x.toml:9: IP111 there is no step `lsvu`; did you mean `lsuv`?",
        ),
        (
            'fn = "lsuv"\ntolerence = 1',
            "x.toml:10: IP112 lsuv has no argument `tolerence`; it accepts tolerance, iterations; "
            "did you mean `tolerance`?",
        ),
        (
            'fn = "lsuv"\ntolerance = "0.1"',
            "x.toml:10: IP112 `tolerance` is a text, where a step takes a plain number; write the "
            "number",
        ),
        (
            'fn = "lsuv"\niterations = 0',
            "x.toml:10: IP112 `iterations` must be 1 or more, not 0",
        ),
        ('fn = "lsuv"\ntype = "["', "x.toml:10: IP106 "),
        ('type = "Linear"', "x.toml:8: IP103 `calibrate[0]` has no `fn`; write `fn = ...` in it"),
        ("fn = 1", "x.toml:9: IP103 `fn` is 1; input should be a valid string"),
    ],
)
def test_what_is_wrong_with_a_step_is_said_with_its_line(table: str, told: str) -> None:
    with pytest.raises(InitPolicyError) as caught:
        policy(f"{LINEAR}\n[[calibrate]]\n{table}\n")
    assert len(caught.value.problems) == 1
    assert str(caught.value).startswith(told)


def test_a_step_must_find_a_layer() -> None:
    def planned(selectors: str):
        return initpolicy.plan(
            chain(), policy(f'{LINEAR}\n[[calibrate]]\nfn = "lsuv"\n{selectors}\n')
        )

    with pytest.raises(InitPolicyError) as caught:
        planned('type = "Conv2d"')
    assert str(caught.value) == (
        "x.toml:8: IP221 step type Conv2d: lsuv finds no layer: no module matches all of its "
        "selectors; mend its selectors, or write `optional = true` in it"
    )
    with pytest.raises(InitPolicyError, match=r"its selectors; did you mean `Linear`\? mend its"):
        planned('type = "Linaer"')
    with pytest.raises(InitPolicyError) as caught:
        planned('type = "Tanh"')
    assert "the selected modules are Tanh, and it changes none of them" in str(caught.value)
    assert planned('type = "Tanh"\noptional = true').steps == ()
    assert planned("").steps[0].layers == ("0", "2", "4", "6")
    assert planned('name = ["*", "!4"]').steps[0].layers == ("0", "2", "6")


def test_plans_survive_the_way_to_json() -> None:
    for plan in (
        initpolicy.plan(chain(), policy()),
        initpolicy.apply(chain(), policy(), data=batch()),
    ):
        again = Plan.from_json(json.dumps(plan.to_json()))
        assert again == plan
        model = chain()
        initpolicy.apply(model, again, data=batch())
        assert all(abs(variance - 1) < 0.01 for variance in variances(model, batch()))
    data = initpolicy.plan(chain(), policy()).to_json()
    data["steps"][0]["tensors"] = ["7.weight"]
    with pytest.raises(InitPolicyError, match=r"lsuv changes 7\.weight, which the plan lacks"):
        Plan.from_json(data)
    data["steps"][0] = {**data["steps"][0], "tensors": [], "arguments": {"rate": 1}}
    with pytest.raises(InitPolicyError, match="lsuv has no argument `rate`"):
        Plan.from_json(data)


@settings(max_examples=30)
@given(
    st.lists(
        st.fixed_dictionaries(
            {"fn": st.sampled_from(["lsuv", "weight_norm_data"])},
            optional={
                "type": st.sampled_from(["Linear", "*"]),
                "name": st.sampled_from(["2", "*"]),
                "optional": st.booleans(),
                "note": st.text(max_size=5),
            },
        ),
        min_size=1,
        max_size=3,
    )
)
def test_a_policy_written_and_read_again_is_the_same(tables) -> None:
    tomlkit = pytest.importorskip("tomlkit")
    text = LINEAR + "\n" + tomlkit.dumps({"calibrate": tables})
    first = policy(text)
    assert len(first.calibrate) == len(tables)
    assert policy(tomlkit.dumps(first.to_dict())) == first


def test_verification_does_not_judge_what_data_made() -> None:
    model = chain()
    plan = initpolicy.apply(model, policy(), data=batch())
    for exact in (True, False):
        verdict = initpolicy.verify(model, plan, exact=exact)
        assert verdict.ok
        left = {one.name: one.reason for one in verdict.tensors if one.how == "not judged"}
        assert left == dict.fromkeys(
            plan.steps[0].tensors, "not judged, because its values are made of data by lsuv"
        )
    with torch.no_grad():
        model[0].bias[3] = 1
    assert [one.name for one in initpolicy.verify(model, plan).findings] == ["0.bias"]


def test_with_the_data_what_they_made_is_verified(tmp_path: Path) -> None:
    model = chain()
    plan = initpolicy.apply(model, policy(), data=batch())
    file = tmp_path / "net.pt"
    torch.save(model.state_dict(), file)
    sources = [(model, {}), (file, {"model": chain("meta")})]
    for source, options in sources:
        for stated in (policy(), plan):
            verdict = initpolicy.verify(source, stated, data=batch(), **options)
            assert verdict.ok
            assert {one.name for one in verdict.tensors if one.how == "to rounding"} == set(
                plan.steps[0].tensors
            )
        other = initpolicy.verify(source, policy(), data=2 * batch(), **options)
        assert "0.weight" in {one.name for one in other.findings}
        assert "; after lsuv" in other.findings[0].message
    with pytest.raises(InitPolicyError) as caught:
        initpolicy.verify(model, plan, data=2 * batch())
    assert "IP312 the plan has the digest " in str(caught.value)
    with torch.no_grad():
        model[2].weight.mul_(1.001)
    assert [one.name for one in initpolicy.verify(model, plan, data=batch()).findings] == [
        "2.weight"
    ]


def test_a_lock_records_the_step_and_its_data() -> None:
    plan = initpolicy.apply(chain(), policy(), data=batch())
    lock = lockfile.lock(plan)
    text = lockfile.write(lock)
    assert lockfile.parse(text) == lock
    lines = text.splitlines()
    assert (
        f'step 1 = "lsuv(tolerance=0.01)"  by "unit variance"  data {plan.steps[0].data}' in lines
    )
    assert any(
        line.endswith("by 'type Linear'  then lsuv  rounding") and line.startswith("0.weight")
        for line in lines
    )
    other = lockfile.lock(initpolicy.apply(chain(), policy(), data=2 * batch()))
    (changed,) = lockfile.differences(lock, other).settings
    assert changed.name == "step 1"
    without = lockfile.lock(initpolicy.plan(chain(), policy(LINEAR)))
    assert {one.name for one in lockfile.differences(lock, without).changes} == set(
        plan.steps[0].tensors
    )
    with pytest.raises(InitPolicyError) as caught:
        lockfile.lock(initpolicy.plan(chain(), policy()))
    assert str(caught.value) == (
        "x.toml:8: IP311 the plan has steps whose data a lock tells apart: lsuv(tolerance=0.01); "
        "give the data, `initpolicy lock MODEL POLICY --data file.py:function`, or write the lock "
        "without digests, `--no-digests`"
    )
    bare = lockfile.lock(initpolicy.plan(chain(), policy()), digests=False)
    assert lockfile.parse(lockfile.write(bare)) == bare


def test_what_has_no_model_says_so(tmp_path: Path) -> None:
    plan = initpolicy.plan(chain(), policy())
    for act in (
        lambda: initpolicy.materialize(plan, tmp_path / "out"),
        lambda: initpolicy.fill(plan, {}),
    ):
        with pytest.raises(InitPolicyError) as caught:
            act()
        assert str(caught.value) == (
            "x.toml:8: IP315 the plan has steps that run the model on data: lsuv(tolerance=0.01); "
            "initialize a model with `initpolicy.apply(model, policy, data=...)`, and save it"
        )
    assert not (tmp_path / "out").exists()


MODEL = """
import torch
from torch import nn

def chain():
    return nn.Sequential(nn.Linear(12, 20), nn.Tanh(), nn.Linear(20, 20))

def batch():
    return torch.randn(64, 12, generator=torch.Generator().manual_seed(0))
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(MODEL)
    Path("lsuv.toml").write_text(LSUV)
    return tmp_path


def command(*arguments: str):
    return CliRunner().invoke(app, list(arguments))


@pytest.mark.usefixtures("folder")
def test_the_commands_take_data() -> None:
    shown = command("plan", "net.py:chain", "lsuv.toml")
    assert shown.exit_code == 0
    assert "Then lsuv(tolerance=0.01) of 2 layers  lsuv.toml:8" in shown.stdout
    refused = command("apply", "net.py:chain", "lsuv.toml", "--out", "net.safetensors")
    assert refused.exit_code == 2
    assert "IP311 the step lsuv(tolerance=0.01) needs data" in refused.stderr
    assert not Path("net.safetensors").exists()
    done = command(
        "apply", "net.py:chain", "lsuv.toml", "--data", "net.py:batch", "--out", "net.safetensors"
    )
    assert done.exit_code == 0
    assert "\n  2: std " in done.stdout
    again = command("apply", "net.py:chain", "lsuv.toml", "--data", "64,12", "--output", "json")
    assert json.loads(again.stdout)["plan"]["steps"][0]["results"]
    explained = command("explain", "net.py:chain", "lsuv.toml", "2.weight")
    assert "then       lsuv" in explained.stdout
    judged = ("verify", "net.safetensors", "lsuv.toml", "--model", "net.py:chain")
    assert "2 exactly, 2 not judged" in command(*judged).stdout
    assert "2 exactly, 2 to rounding" in command(*judged, "--data", "net.py:batch").stdout
    assert command(*judged, "--data", "64,12").exit_code == 1


@pytest.mark.usefixtures("folder")
def test_a_lock_is_written_and_checked_with_data() -> None:
    refused = command("lock", "net.py:chain", "lsuv.toml")
    assert (refused.exit_code, "IP311" in refused.stderr) == (2, True)
    data = ("--data", "net.py:batch")
    assert command("lock", "net.py:chain", "lsuv.toml", *data).exit_code == 0
    assert command("lock", "net.py:chain", "lsuv.toml", *data, "--check").exit_code == 0
    other = command("lock", "net.py:chain", "lsuv.toml", "--data", "64,12", "--check")
    assert (other.exit_code, "step 1" in other.stdout) == (1, True)
    assert command("diff", "lsuv.lock", "lsuv.toml", "net.py:chain").exit_code == 0
    Path("plain.toml").write_text(LINEAR)
    changed = command("diff", "lsuv.lock", "plain.toml", "net.py:chain")
    assert "step 1  lsuv(tolerance=0.01) by" in changed.stdout
    assert "  then  lsuv -> nothing\n" in changed.stdout


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    "arguments",
    [
        ("apply", "net.py:chain", "x.toml"),
        ("apply", "net.py:chain", "--plan", "plan.json"),
        ("lock", "net.py:chain", "x.toml"),
        ("verify", "net.py:chain", "x.toml"),
        ("verify", "net.py:chain", "--plan", "plan.json"),
        ("verify", "net.py:chain", "x.toml", "--lock", "x.lock"),
    ],
)
def test_no_command_takes_data_that_nothing_uses(arguments: tuple[str, ...]) -> None:
    Path("x.toml").write_text(LINEAR)
    Path("plan.json").write_text(
        command("plan", "net.py:chain", "x.toml", "--output", "json").stdout
    )
    assert command("lock", "net.py:chain", "x.toml").exit_code == 0
    before = Path("x.lock").read_text()
    done = command(*arguments, "--data", "net.py:batch")
    assert (done.exit_code, done.stdout, done.stderr) == (2, "", f"{UNUSED}\n")
    assert Path("x.lock").read_text() == before


@pytest.mark.usefixtures("folder")
def test_a_command_takes_data_for_a_step_that_finds_no_layer() -> None:
    step = '[[calibrate]]\nfn = "lsuv"\ntype = "Conv2d"\noptional = true\n'
    Path("x.toml").write_text(f"{LINEAR}\n{step}")
    done = command("apply", "net.py:chain", "x.toml", "--data", "net.py:batch")
    assert done.exit_code == 0, done.stderr


@pytest.mark.usefixtures("folder")
def test_a_lock_without_a_policy_takes_no_data() -> None:
    data = ("--data", "net.py:batch")
    model = ("net.py:chain", "lsuv.toml")
    assert command("apply", *model, *data, "--out", "net.safetensors").exit_code == 0
    assert command("lock", *model, *data).exit_code == 0
    judged = ("verify", "net.safetensors", "--lock", "lsuv.lock")
    whole = command(*judged, "lsuv.toml", "--model", "net.py:chain", *data)
    assert whole.exit_code == 0, whole.stderr
    refused = command(*judged, *data)
    assert (refused.exit_code, refused.stderr) == (
        2,
        "IP404 values are compared with a lock as they are, without data; leave out `--data`, or "
        "give the policy too\n",
    )


BRANCHING = """
class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(12, 3)

    def forward(self, x):
        return self.fc(x).relu() if x.sum() == x.sum() else x
"""


@pytest.mark.usefixtures("folder")
def test_a_lock_is_compared_with_a_policy_whose_gains_need_data() -> None:
    Path("net.py").write_text(MODEL + BRANCHING)
    Path("x.toml").write_text(
        LINEAR.replace('"orthogonal"', '{ fn = "orthogonal", gain = "auto" }')
    )
    model = ("net.py:Branching", "x.toml")
    data = ("--data", "net.py:batch")
    assert command("lock", *model, *data).exit_code == 0
    assert command("apply", *model, *data, "--out", "net.safetensors").exit_code == 0
    judged = ("verify", "net.safetensors", "x.toml", "--lock", "x.lock", "--model", model[0])
    refused = command(*judged)
    assert (refused.exit_code, "cannot be traced" in refused.stderr) == (2, True), refused.stderr
    assert command(*judged, *data).exit_code == 0


@pytest.mark.usefixtures("folder")
def test_a_folder_of_policies_names_its_data() -> None:
    Path("lsuv.toml").write_text("#:model net.py:chain\n" + LSUV)
    assert "IP311" in command("test", "lsuv.toml").stdout
    Path("lsuv.toml").write_text("#:model net.py:chain\n#:data net.py:batch\n" + LSUV)
    done = command("test", "lsuv.toml")
    assert done.exit_code == 0, done.stdout


def sharded(rank: int) -> str:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    model = chain()
    fully_shard(model, mesh=init_device_mesh("cpu", (2,)))
    before = [p.to_local().clone() for p in model.parameters()]
    with pytest.raises(InitPolicyError) as caught:
        initpolicy.apply(model, policy(), data=batch())
    assert all(
        torch.equal(p.to_local(), old) for p, old in zip(model.parameters(), before, strict=True)
    )
    return str(caught.value)


def test_a_sharded_model_is_refused_on_every_rank() -> None:
    first, second = run(sharded, 2)
    assert first == second
    assert "IP775" in first


def test_a_probe_calibrates_with_its_input() -> None:
    deep = nn.Sequential(*[one for _ in range(30) for one in (nn.Linear(20, 20), nn.ReLU())])
    text = LINEAR.replace('"orthogonal"', '{ fn = "normal", std = 0.05 }')
    step = '\n[[calibrate]]\nfn = "lsuv"\n'
    assert not initpolicy.probe(deep, policy(text), input=(64, 20)).ok
    assert initpolicy.probe(deep, policy(text + step), input=(64, 20)).ok


class Branching(nn.Module):
    """A network that no trace can follow, because it asks how large its input is."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(12, 20), nn.Linear(20, 20)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.first(x)
        return self.second(torch.relu(hidden) if len(x) > 1 else torch.tanh(hidden))


def test_data_say_what_follows_a_layer_as_well() -> None:
    automatic = policy(LINEAR.replace('"orthogonal"', '{ fn = "xavier_normal", gain = "auto" }'))
    model = Branching()
    with pytest.raises(InitPolicyError, match="IP231"):
        initpolicy.apply(model, automatic)
    for data, activation in ((batch(), "relu"), (batch(1), "tanh")):
        plan = initpolicy.apply(model, automatic, data=data)
        assert f" for {activation})" in plan["first.weight"].winner.initializer
        assert initpolicy.verify(model, automatic, data=data).ok
