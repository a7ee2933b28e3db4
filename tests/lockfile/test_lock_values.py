"""Locks of plans, and values against locks; the values come from `apply`, tensor by tensor."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from libraries import torchvision_models, transformers
from torch import nn

import initpolicy
from initpolicy import Plan, digests, lockfile
from initpolicy.laws import (
    Arranged,
    Constant,
    Dct,
    FromFile,
    Normal,
    Orthogonal,
    Sparse,
    Stacked,
    Stratified,
    TruncatedNormal,
    Uniform,
    ZeroRows,
)
from initpolicy.lockfile import check_values, drawing
from initpolicy.plans import Decision
from initpolicy.policy import parse
from initpolicy.problems import InitPolicyError, Location

LAWS = [
    Normal(0.5, 0.1),
    Uniform(-1, 1),
    TruncatedNormal(0, 1, -2, 2),
    Constant(-0.0),
    Sparse(0.3, 0.1),
    ZeroRows(Normal(0, 1), (1, 3)),
    Stacked((Normal(0, 1), Uniform(0, 1))),
    Arranged(Uniform(0, 1), "io"),
    Stratified(Uniform(0, 1)),
    Orthogonal(0.5),
    Dct(),
    Stratified(Normal(0, 1)),
]


class Net(nn.Module):
    """A tie, a kept bias, a buffer that is not saved, and a weight under weight norm."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(6, 6)
        self.two = nn.Linear(6, 6)
        self.two.weight = self.one.weight
        self.norm = nn.utils.parametrizations.weight_norm(nn.Linear(4, 3, bias=False))
        self.turn = nn.Linear(5, 5, bias=False)
        self.register_buffer("steps", torch.zeros(3, dtype=torch.int64), persistent=False)


POLICY = parse(
    """
format = 1
seed = 4
[[rule]]
note = "all"
init.weight = { fn = "normal", std = 0.1 }
init.bias = 0
buffer.steps = 7
[[rule]]
name = "turn"
init.weight = "orthogonal"
[[rule]]
name = "two"
init.bias = "keep"
""",
    "net.toml",
)


SMALL = parse(
    """
format = 1
[[rule]]
init.weight = { fn = "normal", std = 0.1 }
init.bias = 0
""",
    "small.toml",
)


def plan_of(law, shape, dtype="float32", stream="") -> Plan:
    decision = Decision("w", "parameter", shape, dtype, "Net", law, None, stream=stream)
    return Plan((decision,), 3, "x.toml")


class Holder(nn.Module):
    def __init__(self, shape, dtype) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.empty(shape, dtype=dtype))


@pytest.mark.parametrize("law", LAWS, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("stream", ["", "shared"])
def test_a_digest_is_that_of_the_values_whatever_the_blocks(
    law, dtype, stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(law, (6, 6), dtype, stream)
    model = Holder((6, 6), getattr(torch, dtype))
    initpolicy.apply(model, plan)
    for block in (5, 7, 1 << 22):
        monkeypatch.setattr(drawing, "BLOCK", block)
        (entry,) = lockfile.lock(plan)
        expected = digests.of_tensor(model.w) if law.is_exact else None
        assert entry.digest == expected
        assert check_values(lockfile.lock(plan), model).same
        assert check_values(lockfile.lock(plan, digests=False), model).same


def test_a_law_of_a_whole_matrix_is_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "BLOCK", 5)
    told: list[int] = []
    for law, parts in ((Normal(0, 1), [20] * 7 + [4]), (Orthogonal(), [144])):
        told.clear()
        stream = drawing.stream_of(0, "w", law)
        drawing.digest_of(law, (6, 6), "float32", stream, progress=told.append)
        assert told == parts


@pytest.mark.parametrize("law", LAWS, ids=str)
@settings(max_examples=5)
@given(data=st.data())
def test_one_other_value_is_found(law, data: st.DataObject) -> None:
    plan = plan_of(law, (6, 6))
    model = Holder((6, 6), torch.float32)
    initpolicy.apply(model, plan)
    flat = model.w.detach().view(-1)
    at = data.draw(st.integers(0, 35))
    # Of laws that hold to rounding, a change that is not rounding.
    flat[at] = math.nextafter(float(flat[at]), 9) + (0.01 if not law.is_exact else 1e-6)
    for locked in (lockfile.lock(plan), lockfile.lock(plan, digests=False)):
        found = check_values(locked, model)
        assert [(one.name, one.what) for one in found.differences] == [("w", "values")]
        assert (found.compared, found.unjudged) == (1, 0)


def test_the_lock_of_a_model() -> None:
    model = Net()
    plan = initpolicy.apply(model, POLICY)
    lock = lockfile.lock(plan)
    head, _, body = lockfile.write(lock).partition("\n\n")
    zero = digests.of_tensor(torch.zeros(6))
    steps = digests.of_tensor(torch.full((3,), 7))
    assert 'rule "all" = net.toml:6\n' in head
    assert body.splitlines() == [
        "norm.parametrizations.weight.original0  [3, 1] float32  keep",
        "norm.parametrizations.weight.original1  [3, 4] float32  keep",
        'norm.weight  [3, 4] float32 unsaved  normal(mean=0.0, std=0.1)  by "all"  rounding',
        f'one.bias  [6] float32  constant(value=0.0)  by "all"  {zero}',
        'one.weight  [6, 6] float32  normal(mean=0.0, std=0.1)  by "all"  also two.weight  '
        + digests.of_tensor(model.one.weight),
        f'steps  [3] int64 buffer unsaved  constant(value=7.0)  by "all"  {steps}',
        "turn.weight  [5, 5] float32  orthogonal(gain=1.0)  by 'name turn'  rounding",
        "two.bias  [6] float32  keep  by 'name two'",
    ]
    assert lockfile.parse(lockfile.write(lock)) == lock


@pytest.mark.parametrize("with_digests", [True, False])
def test_values_of_a_model_against_its_lock(with_digests: bool) -> None:
    model = Net()
    plan = initpolicy.apply(model, POLICY)
    lock = lockfile.lock(plan, digests=with_digests)
    found = check_values(lock, model)
    assert found.same
    assert (found.compared, found.unjudged) == (5, 3)
    assert check_values(lock, model.state_dict()).same
    with torch.no_grad():
        model.two.weight[5, 5] += 1e-6
        model.norm.parametrizations.weight.original1[0, 0] += 0.1
        model.turn.weight.mul_(-1)
        model.steps[2] = 6
        model.two.bias.add_(1)  # which is kept: anything may be in it
    found = check_values(lock, model)
    rounding = "more than rounding explains"
    assert [(one.name, one.what, one.told, one.law, one.rule) for one in found.differences] == [
        ("norm.weight", "values", rounding, "N(0, 0.1)", '"all" net.toml:6'),
        ("one.weight", "values", "", "N(0, 0.1)", '"all" net.toml:6'),
        ("steps", "values", "", "7", '"all" net.toml:6'),
        ("turn.weight", "values", rounding, "orthogonal", "name turn net.toml:11"),
    ]  # fmt: skip
    found = check_values(lock, model.state_dict())
    assert [one.name for one in found.differences] == ["one.weight", "turn.weight"]


def test_tensors_that_are_others() -> None:
    plan = initpolicy.plan(nn.Linear(3, 2), SMALL)
    lock = lockfile.lock(plan)
    layer = nn.Linear(4, 2).bfloat16()
    layer.weight = nn.Parameter(layer.weight[:, :3].float())
    layer.register_parameter("scale", nn.Parameter(torch.ones(1)))
    found = check_values(lock, nn.Linear(4, 2))
    assert [(one.name, one.what, one.told) for one in found.differences] == [
        ("bias", "values", ""),
        ("weight", "shape", "[2, 3] in the lock, [2, 4] here"),
    ]
    layer.bias = None
    layer.register_buffer("more", torch.ones(1))
    layer.weight = nn.Parameter(layer.weight.half())
    found = check_values(lock, layer)
    assert [(one.name, one.what, one.told) for one in found.differences] == [
        ("bias", "missing", ""),
        ("more", "unknown", ""),
        ("scale", "unknown", ""),
        ("weight", "dtype", "float32 in the lock, float16 here"),
    ]


def test_a_checkpoint_on_disk(tmp_path) -> None:
    from safetensors.torch import save_file

    model = nn.Linear(3, 2)
    lock = lockfile.lock(initpolicy.apply(model, SMALL))
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    assert check_values(lock, tmp_path / "model.safetensors").same
    save_file(model.state_dict() | {"bias": torch.ones(2)}, tmp_path / "model.safetensors")
    (found,) = check_values(lock, tmp_path / "model.safetensors").differences
    assert (found.name, found.what) == ("bias", "values")
    (found,) = check_values(lock, {"weight": model.weight}).differences
    assert (found.name, found.what) == ("bias", "missing")


def test_no_file_is_read_because_a_lock_names_it(tmp_path) -> None:
    from safetensors.torch import save_file

    save_file({"w": torch.ones(2)}, tmp_path / "w.safetensors")
    plan = plan_of(FromFile(str(tmp_path / "w.safetensors"), "w"), (2,))
    model = Holder((2,), torch.float32)
    initpolicy.apply(model, plan)
    lock = lockfile.lock(plan)
    assert lock.entries[0].digest == digests.of_tensor(torch.ones(2))
    save_file({"w": torch.zeros(2)}, tmp_path / "w.safetensors")
    assert lockfile.compare(lock, plan).changes[0].fields == ("digest",)
    (tmp_path / "w.safetensors").unlink()
    assert check_values(lock, model).same
    found = check_values(replace(lock, entries=(replace(lock.entries[0], digest=None),)), model)
    assert (found.same, found.compared, found.unjudged) == (True, 0, 1)
    with pytest.raises(InitPolicyError, match=r"IP216 w: .*w\.safetensors cannot be read"):
        lockfile.lock(plan)


def test_values_that_cannot_be_compared() -> None:
    def problem(lock, model) -> str:
        with pytest.raises(InitPolicyError) as caught:
            check_values(lock, model)
        return str(caught.value)

    plan = plan_of(Normal(0, 1), (2, 2))
    lock = lockfile.lock(plan, digests=False)
    model = Holder((2, 2), torch.float32)
    assert problem(lock, model.to("meta")) == (
        "IP533 1 tensors have no values to compare: w; give them some first, with "
        "`initpolicy.apply`"
    )
    model = Holder((2, 2), torch.float32)
    assert problem(replace(lock, draws=9), model) == (
        "IP533 the values of w must be drawn again, and the lock has draws 9 where this program "
        "makes 1; write the lock anew with `initpolicy lock MODEL POLICY`"
    )
    wrong = replace(lock, entries=(replace(lock.entries[0], law=Sparse(0.5), shape=(2,)),))
    assert problem(wrong, Holder((2,), torch.float32)) == (
        "IP533 the lock has a law that w cannot follow: sparse needs exactly 2 dimensions and "
        "(2,) has 1"
    )


def test_a_lock_does_not_depend_on_the_order_of_the_plan() -> None:
    plan = initpolicy.plan(Net(), POLICY)
    other = replace(plan, decisions=plan.decisions[::-1])
    assert lockfile.write(lockfile.lock(plan)) == lockfile.write(lockfile.lock(other))


def test_paths_are_the_same_on_all_systems() -> None:
    policy = parse("format = 1\n[[rule]]\ninit.'*' = 0\n", "./a/../b.toml")
    lock = lockfile.lock(initpolicy.plan(nn.Linear(2, 2), policy))
    assert lock.policy == "b.toml"
    assert lock.rules == {"for every module": (Location("b.toml", 3),)}


def densenet() -> tuple[nn.Module, str]:
    return torchvision_models().densenet121(weights=None), "densenet"


def gpt2() -> tuple[nn.Module, str]:
    library = transformers()
    config = library.GPT2Config(vocab_size=96, n_positions=40, n_embd=32, n_layer=12, n_head=2)
    return library.GPT2LMHeadModel(config), "gpt2"


def llama() -> tuple[nn.Module, str]:
    library = transformers()
    config = library.LlamaConfig(
        vocab_size=96, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1,
    )  # fmt: skip
    return library.LlamaForCausalLM(config), "llama"


@pytest.mark.parametrize("build", [densenet, gpt2, llama])
def test_real_models(build) -> None:
    model, policy = build()
    plan = initpolicy.apply(model, policy, seed=1)
    lock = lockfile.lock(plan)
    text = lockfile.write(lock)
    assert len(text.partition("\n\n")[2].splitlines()) == len(plan)
    again = lockfile.parse(text)
    assert again == lock
    assert lockfile.compare(again, plan).same
    held = digests.digests(model)
    locked = {entry.name: entry.digest for entry in lock if entry.persistent}
    assert locked == held
    assert check_values(again, model).same
    other = initpolicy.apply(model, policy, seed=2)
    drawn = {decision.name for decision in other.filled if decision.law and decision.law.is_drawn}
    found = check_values(again, model)
    assert {one.name for one in found.differences} == drawn
    assert {c.name for c in lockfile.compare(again, other).changes} == drawn
