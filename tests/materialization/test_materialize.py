"""Files that are written from a plan hold what the plan gives a model in memory."""

from __future__ import annotations

import contextlib
import json
import math
import re
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import nn
from torch.nn.utils import parametrizations, weight_norm

import initpolicy
from initpolicy.laws import (
    Arranged,
    Constant,
    Dct,
    Formula,
    Law,
    LawError,
    Normal,
    Orthogonal,
    Stacked,
    Stratified,
    TruncatedNormal,
    Uniform,
    ZeroRows,
)
from initpolicy.materialization import blocks, writing
from initpolicy.materialization.container import Entry
from initpolicy.materialization.layout import Given
from initpolicy.plans import Decision, Plan
from initpolicy.problems import InitPolicyError

FLOATS = (
    torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.float8_e4m3fn,
    torch.float8_e5m2,
)  # fmt: skip
OTHERS = (torch.int64, torch.int32, torch.int8, torch.uint8, torch.bool, torch.complex64)
drawn = st.sampled_from(
    [Normal(0.0, 0.5), Uniform(-1.0, 1.0), TruncatedNormal(0.0, 1.0, -2.0, 2.0), Constant(1.0)]
)
matrices = st.sampled_from(
    [Orthogonal(), Dct(), Stratified(Uniform(0.0, 1.0)), Formula("z * 0.1 + i")]
)
stacks = st.lists(drawn | matrices, min_size=1, max_size=3).map(lambda laws: Stacked(tuple(laws)))
laws = st.one_of(
    drawn,
    matrices,
    stacks,
    st.builds(lambda law: ZeroRows(law, (0,)), drawn | matrices | stacks),
    st.sampled_from([Arranged(Orthogonal(), layout) for layout in ("io", "boi", "obi", "bbio")]),
)
shapes = st.lists(st.integers(0, 6), max_size=4).map(tuple)


def type_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


@st.composite
def planned_models(draw: st.DrawFn) -> tuple[nn.Module, Plan]:
    """A model of parameters and buffers, and a plan that fills it."""
    model = nn.Module()
    decisions: list[Decision] = []
    for number in range(draw(st.integers(0, 6))):
        name = f"t{number}"
        shape, law = draw(shapes), draw(laws)
        dtype = draw(st.sampled_from(FLOATS + OTHERS))
        with contextlib.suppress(LawError):
            law.validate(shape, dtype)
            tensor = torch.zeros(shape).to(dtype)
            is_parameter = draw(st.booleans())
            if is_parameter:
                model.register_parameter(name, nn.Parameter(tensor, requires_grad=False))
            else:
                model.register_buffer(name, tensor)
            kind = "parameter" if is_parameter else "buffer"
            decisions.append(Decision(name, kind, shape, type_name(dtype), "Module", law, None))
    order = [name for name, _ in model.named_parameters()] + [n for n, _ in model.named_buffers()]
    decisions.sort(key=lambda decision: order.index(decision.name))
    return model, Plan(tuple(decisions), draw(st.integers(0, 2**64 - 1)), "a test", "A title")


@contextlib.contextmanager
def blocks_of(size: int) -> Iterator[None]:
    """Blocks so small that tensors of a few elements are cut."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK", size)
        patch.setattr(writing, "BLOCK", size)
        yield


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    flat = (tensor.contiguous().reshape(-1).view(torch.uint8) for tensor in (one, other))
    return torch.equal(*flat)


def loaded(folder: Path | str) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for file in sorted(Path(folder).glob("*.safetensors")):
        tensors = load_file(file)
        assert not found.keys() & tensors.keys()
        found |= tensors
    return found


def with_sorted_metadata(file: bytes) -> bytes:
    size = int.from_bytes(file[:8], "little")
    content = json.loads(file[8 : 8 + size])
    content["__metadata__"] = dict(sorted(content["__metadata__"].items()))
    return (
        file[:8]
        + json.dumps(content, separators=(",", ":")).encode().ljust(size)
        + file[8 + size :]
    )


@settings(max_examples=60)
@given(
    planned_models(),
    st.integers(1, 400),
    st.sampled_from([16, 64, 1 << 20]),
    st.integers(1, 3),
    st.integers(1, 3),
)
def test_files_together_are_the_model_bit_for_bit(model_and_plan, limit, block, threads, world):
    model, plan = model_and_plan
    initpolicy.apply(model, plan)
    state = model.state_dict()
    with tempfile.TemporaryDirectory() as folder, blocks_of(block):
        for rank in range(world):
            done = initpolicy.materialize(
                plan, folder, max_shard_size=limit, threads=threads, part=(rank, world)
            )
            assert rank < world - 1 or done.complete
        assert done.complete
        found = loaded(folder)
        assert found.keys() == state.keys()
        assert all(same(found[name], state[name]) for name in state)
        files = sorted(path.name for path in Path(folder).iterdir())
        assert len(files) == done.files + (done.index is not None)
        for file in Path(folder).glob("*.safetensors"):
            with safe_open(file, "pt") as opened:
                metadata = opened.metadata()
            theirs = save({name: state[name] for name in load_file(file)}, metadata)
            assert file.read_bytes() == with_sorted_metadata(theirs)
            assert metadata["format"] == "pt"
            assert (metadata["seed"], metadata["draws"]) == (str(plan.seed), "1")
            assert (metadata["policy"], metadata["title"]) == ("a test", "A title")


@settings(max_examples=60)
@given(laws, shapes, st.sampled_from(FLOATS), st.sampled_from([16, 40, 1 << 20]))
def test_units_and_blocks_are_all_elements_once(law: Law, shape, dtype, size) -> None:
    try:
        law.validate(shape, dtype)
    except LawError:
        assume(False)
    tensors = [Given(Entry(name, shape, dtype), law, name) for name in ("a", "b")]
    with blocks_of(size):
        cut = list(blocks.blocks(tensors))
    offset = 0
    reached = {"a": 0, "b": 0}
    for block in cut:
        assert block.offset == offset
        assert block.size <= size or [piece.unit.together for piece in block.pieces] == [True]
        for piece in block.pieces:
            assert piece.unit.start == reached[piece.of.entry.name]
            reached[piece.of.entry.name] = piece.unit.stop
            offset += piece.size
    assert set(reached.values()) == {math.prod(shape)}


@settings(max_examples=40)
@given(laws, shapes, st.sampled_from(FLOATS), st.integers())
def test_a_cast_is_the_law_drawn_in_that_type(law, shape, own, seed) -> None:
    cast = torch.bfloat16
    model = nn.Module()
    model.register_buffer("t", torch.zeros(shape).to(cast))
    plans = [
        Plan((Decision("t", "buffer", shape, name, "Module", law, None),), abs(seed) % 2**64, "a")
        for name in (type_name(own), "bfloat16")
    ]
    try:
        law.validate(shape, cast)
    except LawError:
        assume(False)
    initpolicy.apply(model, plans[1])
    with tempfile.TemporaryDirectory() as folder:
        initpolicy.materialize(plans[0], folder, dtype="bfloat16")
        assert same(load_file(f"{folder}/model.safetensors")["t"], model.t)


def test_only_floating_point_tensors_are_cast(tmp_path) -> None:
    plan = initpolicy.plan(nn.BatchNorm1d(3, device="meta"), "torch")
    initpolicy.materialize(plan, tmp_path / "out", dtype=torch.float16)
    found = load_file(tmp_path / "out/model.safetensors")
    assert {name: tensor.dtype for name, tensor in found.items()} == {
        "weight": torch.float16,
        "bias": torch.float16,
        "running_mean": torch.float16,
        "running_var": torch.float16,
        "num_batches_tracked": torch.int64,
    }


def test_index_and_names_as_hugging_face_has_them(tmp_path, planned) -> None:
    plan = planned(layers=3)
    done = initpolicy.materialize(plan, tmp_path / "out", max_shard_size="20KB")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "model-00001-of-00003.safetensors",
        "model-00002-of-00003.safetensors",
        "model-00003-of-00003.safetensors",
        "model.safetensors.index.json",
    ]
    index = json.loads((tmp_path / "out/model.safetensors.index.json").read_text())
    assert index["weight_map"] == {
        f"{i}.weight": f"model-0000{i + 1}-of-00003.safetensors" for i in range(3)
    }
    with safe_open(tmp_path / "out/model-00002-of-00003.safetensors", "pt") as opened:
        digest = opened.metadata()["plan"]
    assert index["metadata"] == {"total_size": 3 * 64 * 64 * 4, "plan": digest}
    assert re.fullmatch("[0-9a-f]{32}", digest)
    assert (done.complete, done.files, done.index) == (True, 3, "model.safetensors.index.json")
    assert [(f.name, f.tensors, f.kept) for f in done.written] == [
        (f"model-0000{i}-of-00003.safetensors", 1, False) for i in (1, 2, 3)
    ]
    assert done.size == sum(
        path.stat().st_size for path in (tmp_path / "out").glob("*.safetensors")
    )


def test_tied_tensors_are_written_once_and_the_metadata_say_where(tmp_path) -> None:
    model = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 5, bias=False))
    model[1].weight = model[0].weight
    (tmp_path / "policy.toml").write_text('format = 1\n[[rule]]\ninit.weight = "normal"\n')
    plan = initpolicy.apply(model, tmp_path / "policy.toml")
    initpolicy.materialize(plan, tmp_path / "out")
    found = load_file(tmp_path / "out/model.safetensors")
    assert list(found) == ["0.weight"]
    assert same(found["0.weight"], model[1].weight)
    with safe_open(tmp_path / "out/model.safetensors", "pt") as opened:
        assert opened.metadata()["1.weight"] == "0.weight"


def test_tensors_of_files_are_copied(tmp_path) -> None:
    torch.save({"w": torch.arange(12.0).view(3, 4)}, tmp_path / "w.pt")
    (tmp_path / "policy.toml").write_text(
        'format = 1\n[[rule]]\ninit.weight = { fn = "from_file", path = "w.pt", key = "w" }\n'
    )
    plan = initpolicy.plan(nn.Linear(4, 3, bias=False), tmp_path / "policy.toml")
    initpolicy.materialize(plan, tmp_path / "out", dtype="float16")
    found = load_file(tmp_path / "out/model.safetensors")["weight"]
    assert torch.equal(found, torch.arange(12.0).view(3, 4).half())
    (tmp_path / "w.pt").unlink()
    assert refused(plan, tmp_path / "other").startswith("IP216 weight: ")


def test_buffers_that_state_dict_lacks_are_not_written(tmp_path) -> None:
    model = nn.Module()
    model.register_buffer("here", torch.zeros(2))
    model.register_buffer("gone", torch.zeros(2), persistent=False)
    model.register_buffer("kept", torch.zeros(2), persistent=False)
    (tmp_path / "policy.toml").write_text(
        'format = 1\n[[rule]]\nbuffer.here = 1\nbuffer.gone = 2\nbuffer.kept = "keep"\n'
    )
    plan = initpolicy.plan(model, tmp_path / "policy.toml")
    initpolicy.materialize(plan, tmp_path / "out")
    assert list(load_file(tmp_path / "out/model.safetensors")) == ["here"]


def test_progress_is_told_every_byte(tmp_path, planned) -> None:
    told: list[int] = []
    done = initpolicy.materialize(
        planned(), tmp_path / "out", max_shard_size="40KB", progress=told.append
    )
    assert sum(told) == done.size


def test_memory_is_bounded_by_blocks(tmp_path, planned, monkeypatch) -> None:
    held: list[int] = []
    draw = blocks.Block.draw

    def noting(self, memory, seed) -> None:
        held.append(memory.numel())
        draw(self, memory, seed)

    monkeypatch.setattr(blocks.Block, "draw", noting)
    initpolicy.materialize(planned(layers=2, width=1200), tmp_path / "out")
    size = 2 * 1200 * 1200 * 4
    assert len(held) == -(-size // blocks.BLOCK)
    assert max(held) <= blocks.BLOCK
    assert sum(held) == size


@pytest.mark.parametrize("threads", [1, 3, 100])
def test_threads_are_bounded(tmp_path, planned, threads, monkeypatch) -> None:
    started: list[object] = []
    start = writing.Thread.start
    monkeypatch.setattr(
        writing.Thread, "start", lambda self: (started.append(self), start(self))[1]
    )
    initpolicy.materialize(planned(), tmp_path / "out", threads=threads)
    assert len(started) == min(threads, writing.MOST_THREADS) + 1


@pytest.mark.parametrize("threads", [1, 2])
def test_no_more_threads_draw_at_once_than_may(tmp_path, planned, threads, monkeypatch) -> None:
    draw, lock = blocks.Block.draw, threading.Lock()
    now, most = 0, 0

    def counting(self, memory, seed) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.005)
        draw(self, memory, seed)
        with lock:
            now -= 1

    monkeypatch.setattr(blocks.Block, "draw", counting)
    plan = planned(layers=8)
    initpolicy.materialize(plan, tmp_path / "out", max_shard_size=1, threads=threads)
    assert 1 <= most <= threads


def refused(plan: Plan, folder: Path, **arguments: object) -> str:
    with pytest.raises(InitPolicyError) as raised:
        initpolicy.materialize(plan, folder, **arguments)  # type: ignore[arg-type]
    assert not folder.exists()
    return str(raised.value)


def test_what_is_left_as_it_is_cannot_be_written(tmp_path) -> None:
    (tmp_path / "policy.toml").write_text(
        'format = 1\nuncovered = "keep"\n[[rule]]\ntype = "Linear"\n'
        'init.weight = { chunks = ["normal", "keep"] }\n'
    )
    model = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4, affine=False))
    plan = initpolicy.plan(model, tmp_path / "policy.toml")
    assert refused(plan, tmp_path / "out") == (
        "IP511 5 tensors are left as they are, and a file has no values to leave: 0.weight, "
        "0.bias, 1.running_mean, 1.running_var, 1.num_batches_tracked; write rules that fill them "
        "(`init.` for parameters, `buffer.` for buffers), or apply the policy to the model in "
        "memory and save that"
    )


@pytest.mark.parametrize(
    ("wrapped", "name"), [(parametrizations.weight_norm, "weight"), (weight_norm, "weight")]
)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_computed_tensors_cannot_be_written(tmp_path, wrapped, name) -> None:
    plan = initpolicy.plan(wrapped(nn.Linear(3, 2)), "torch")
    assert refused(plan, tmp_path / "out") == (
        f"IP512 1 tensor is computed from others, which a file would have to hold: {name}; "
        "write rules on the tensors that it is computed from, or apply the policy to the model in "
        "memory and save that"
    )


def test_rules_on_what_a_tensor_is_computed_from_can_be_written(tmp_path) -> None:
    model = parametrizations.weight_norm(nn.Linear(3, 2, bias=False))
    (tmp_path / "policy.toml").write_text(
        'format = 1\n[[rule]]\ninit.original0 = 1\ninit.original1 = "normal"\n'
    )
    plan = initpolicy.apply(model, tmp_path / "policy.toml")
    initpolicy.materialize(plan, tmp_path / "out")
    found = load_file(tmp_path / "out/model.safetensors")
    assert found.keys() == model.state_dict().keys()
    assert all(same(found[name], value) for name, value in model.state_dict().items())


def test_types_that_cannot_be_given(tmp_path) -> None:
    (tmp_path / "policy.toml").write_text("format = 1\n[[rule]]\ninit.weight = 1e5\n")
    model = nn.Linear(2, 2, bias=False)
    plan = initpolicy.plan(model, tmp_path / "policy.toml")
    assert refused(plan, tmp_path / "out", dtype="float16") == (
        "IP513 weight: 100000 does not fit into float16, whose largest value is 65504"
    )
    plan = initpolicy.plan(model.to(torch.complex128), tmp_path / "policy.toml")
    assert refused(plan, tmp_path / "out") == (
        "IP513 weight: safetensors cannot hold complex128; save the model with `torch.save` instead"
    )


@pytest.mark.parametrize("names", [("\udc80",), ("__metadata__",), ("w", "\udc80")], ids=repr)
def test_names_that_no_file_can_hold(names, tmp_path) -> None:
    """Neither odd bytes, of a tied tensor's other name either, nor what the header needs itself."""
    model = nn.Module()
    model._parameters = dict.fromkeys(names, nn.Parameter(torch.zeros(3)))
    (tmp_path / "policy.toml").write_text('format = 1\n[[rule]]\ninit."*" = 1\n')
    plan = initpolicy.plan(model, tmp_path / "policy.toml")
    assert refused(plan, tmp_path / "out") == f"IP513 {names[-1]!r} is no name that a file can hold"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("part", [(-1, 2), (2, 2), (0, 0)])
def test_parts_that_do_not_exist(tmp_path, planned, part) -> None:
    assert refused(planned(), tmp_path / "out", part=part) == (
        f"IP515 there is no part {part[0]} of {part[1]}; parts are counted from 0, as ranks are: "
        "the last of 8 is `(7, 8)`"
    )


def test_a_part_is_a_rank_and_a_world(tmp_path, planned) -> None:
    assert refused(planned(), tmp_path / "out", part=3) == (
        "IP515 there is no part 3; parts are counted from 0, as ranks are: "
        "the last of 8 is `(7, 8)`"
    )


def test_no_threads(tmp_path, planned) -> None:
    assert refused(planned(), tmp_path / "out", threads=0) == (
        "IP515 0 threads cannot draw; write 1 or more"
    )


def test_folders_that_cannot_be_written_to(tmp_path, planned) -> None:
    missing = tmp_path / "missing" / "out"
    assert refused(planned(), missing) == (
        f"IP518 {missing} cannot be written: there is no folder {missing.parent}; make it first"
    )
    (tmp_path / "file").touch()
    with pytest.raises(InitPolicyError) as raised:
        initpolicy.materialize(planned(), tmp_path / "file")
    assert str(raised.value) == (
        f"IP518 {tmp_path / 'file'} cannot be written: it is no folder; name another"
    )


@pytest.mark.parametrize("name", ["", "a\0b", "\ud800"])
def test_names_that_no_folder_can_have(name, tmp_path, planned, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    plan = planned()
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InitPolicyError) as raised:
        initpolicy.materialize(plan, name)
    assert str(raised.value) == (
        f"IP518 no folder can have the name {name!r}; "
        'name another, or "." for the one that you are in'
    )
    assert sorted(tmp_path.iterdir()) == before


def test_a_policy_in_place_of_a_plan(tmp_path: Path) -> None:
    with pytest.raises(InitPolicyError) as caught:
        initpolicy.materialize("torch", tmp_path / "out")
    assert str(caught.value) == (
        "IP302 'torch' is no plan; give what `initpolicy.plan(model, policy)` returns"
    )
    assert not (tmp_path / "out").exists()
