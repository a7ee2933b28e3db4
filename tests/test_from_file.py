"""Tensors from files: every kind of file, keys, rows and repeats, and what is said without them."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

import initpolicy
from initpolicy import InitPolicyError
from initpolicy.laws import FromFile, LawError, from_json
from initpolicy.laws.files import header, load
from initpolicy.policy import load as load_policy
from initpolicy.policy import parse

ALL = '[[rule]]\ninit."*" = {{ fn = "from_file", path = "{}" }}\n'


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.Linear(4, 2)))


def rule(value, head=""):
    return parse(f"format = 1\n{head}\n[[rule]]\n{value}", "x.toml")


def same(model, expected):
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, expected[name]), name


def said(model, policy, act=initpolicy.plan):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(InitPolicyError) as caught:
        act(model, policy)
    same(model, before)
    return str(caught.value)


@pytest.mark.parametrize("kind", ["safetensors", "index", "pth", "old pth", "nested ckpt"])
def test_a_whole_model_from_each_kind_of_file(kind):
    expected = {name: tensor + 1 for name, tensor in net().state_dict().items()}
    key, path = "{name}", "net.safetensors"
    if kind == "safetensors":
        save_file(expected, path)
    elif kind == "index":
        names = list(expected)
        save_file({name: expected[name] for name in names[:1]}, "a-1.safetensors")
        save_file({name: expected[name] for name in names[1:]}, "a-2.safetensors")
        path = "net.safetensors.index.json"
        shards = {
            name: "a-1.safetensors" if name == names[0] else "a-2.safetensors" for name in names
        }
        Path(path).write_text(json.dumps({"metadata": {}, "weight_map": shards}))
    elif kind == "nested ckpt":
        path, key = "net.ckpt", "state_dict.{module}.{local}"
        torch.save({"epoch": 3, "state_dict": expected}, path)
    else:
        path = "net.pth"
        torch.save(expected, path, _use_new_zipfile_serialization=kind == "pth")
    text = (
        f'format = 1\n[[rule]]\ninit."*" = {{ fn = "from_file", path = "{path}", key = "{key}" }}'
    )
    for draws in ("initpolicy", "torch"):
        model = net()
        plan = initpolicy.apply(model, parse(text), draws=draws)
        same(model, expected)
    assert initpolicy.Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
    meta = net().to("meta")
    assert initpolicy.plan(meta, parse(text)).decisions == plan.decisions


def test_paths_start_from_the_policys_folder(tmp_path):
    (tmp_path / "deep").mkdir()
    expected = {name: tensor + 1 for name, tensor in net().state_dict().items()}
    save_file(expected, "deep/net.safetensors")
    Path("deep/base.toml").write_text("format = 1\n" + ALL.format("net.safetensors"))
    Path("top.toml").write_text('format = 1\nextends = ["deep/base.toml"]\n')
    for policy in ("deep/base.toml", "top.toml", load_policy("top.toml")):
        model = net()
        plan = initpolicy.apply(model, policy)
        same(model, expected)
    assert str(plan["0.weight"].law) == "0.weight of deep/net.safetensors"


def test_keys_of_captures_and_expressions():
    save_file({f"h.{k}.w": torch.full((2, 2), float(k)) for k in range(6)}, "h.safetensors")
    model = nn.ModuleDict({f"block{k}": nn.Linear(2, 2, bias=False) for k in range(3)})
    value = '{ fn = "from_file", path = "h.safetensors", key = "h.{2 * k + shift}.w" }'
    initpolicy.apply(model, rule(f'name = "block<k>"\ninit.weight = {value}', "vars.shift = 1"))
    assert [float(block.weight.detach()[0, 0]) for block in model.values()] == [1, 3, 5]


def test_rows_repeats_scale_layout_and_chunks():
    table = torch.arange(12.0).reshape(6, 2)
    save_file({"t": table}, "t.safetensors")

    def filled(shape, arguments):
        model = nn.Module()
        model.w = nn.Parameter(torch.empty(shape))
        value = f'{{ fn = "from_file", path = "t.safetensors", key = "t", {arguments} }}'
        initpolicy.apply(model, rule(f"init.w = {value}"))
        return model.w.detach()

    assert torch.equal(filled((2, 2), 'rows = "1:3"'), table[1:3])
    assert torch.equal(filled((12, 2), "repeat = 2"), torch.cat([table, table]))
    assert torch.equal(
        filled((4, 2), 'rows = "4:6", repeat = 2, scale = -2'), -2 * table[4:].repeat(2, 1)
    )
    assert torch.equal(filled((2, 6), 'layout = "i o"'), table.t())
    assert torch.equal(filled((12, 2), "chunks = 2"), torch.cat([table, table]))


def test_half_of_a_model_is_drawn_and_half_of_it_loaded():
    model, again = net(), net()
    save_file({"a.weight": torch.ones(4, 3)}, "a.safetensors")
    text = """
    format = 1
    extends = ["torch"]
    [[rule]]
    name = "0"
    init.weight = { fn = "from_file", path = "a.safetensors", key = "a.weight" }
    """
    initpolicy.apply(model, parse(text), seed=4)
    initpolicy.apply(again, "torch", seed=4)
    assert torch.equal(model[0].weight, torch.ones(4, 3))
    assert torch.equal(model[1][0].weight, again[1][0].weight)


def test_tied_tensors_are_looked_up_by_their_first_name():
    model = nn.ModuleDict({"embed": nn.Embedding(5, 4), "head": nn.Linear(4, 5, bias=False)})
    model["head"].weight = model["embed"].weight
    save_file({"embed.weight": torch.ones(5, 4)}, "net.safetensors")
    plan = initpolicy.apply(model, parse("format = 1\n" + ALL.format("net.safetensors")))
    assert plan.warnings == ()
    assert torch.equal(model["head"].weight, torch.ones(5, 4))


FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
WHOLE = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64]


@pytest.mark.parametrize("found", [*FLOATS, *WHOLE, torch.bool])
@pytest.mark.parametrize("wanted", [*FLOATS, *WHOLE, torch.bool, torch.complex64])
def test_which_types_are_converted(found, wanted):
    save_file({"w": torch.ones(3, dtype=found)}, "w.safetensors")
    law = FromFile("w.safetensors", "w")
    names = {torch.bool: "bool"}
    a, b = (
        names.get(t, str(t).removeprefix("torch.").replace("bfloat16", "float16"))
        for t in (found, wanted)
    )
    # numpy's rule of what is safe, but that fractions may be rounded, and are not made of integers
    whole = found in WHOLE and wanted in WHOLE and np.can_cast(a, b)
    fraction = found.is_floating_point and (wanted.is_floating_point or wanted.is_complex)
    fine = found == wanted or whole or fraction
    if not fine:
        with pytest.raises(LawError) as caught:
            law.validate((3,), wanted)
        assert caught.value.message.startswith("w.safetensors: `w` is of ")
        return
    law.validate((3,), wanted)
    tensor = torch.zeros(3, dtype=wanted)
    law.write_torch(tensor)
    assert torch.equal(tensor, torch.ones(3, dtype=wanted))


def test_a_check_compares_with_the_file():
    values = torch.tensor([0.1, float("nan"), 3.0])
    save_file({"w": values}, "w.safetensors")
    law = FromFile("w.safetensors", "w")
    assert law.check(values) == ()
    assert law.check(values.bfloat16()) == ()
    assert law.check(values + 1) == ("2 of 3 values are not those of w of w.safetensors",)


@given(
    st.text(), st.text(), st.none() | st.tuples(st.integers(0), st.integers(0)), st.integers(1),
    st.floats(allow_nan=False, allow_infinity=False),
)  # fmt: skip
def test_json_round_trip(path, key, rows, repeat, factor):
    law = FromFile(path, key, rows, repeat, factor)
    assert from_json(json.loads(json.dumps(law.to_json()))) == law


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ('key = "0.wieght"', "net.safetensors has no tensor `0.wieght`; near it are 0.weight"),
        ('key = "zzz"',
         "net.safetensors has no tensor `zzz`; it has 0.bias, 0.weight, 1.0.bias, 1.0.weight"),
        ('key = "1.0.weight"',
         "net.safetensors: `1.0.weight` has shape (2, 4), and the tensor (4, 3)"),
        ('rows = "0:3"',
         "net.safetensors: `0.weight` has shape (4, 3), which gives (3, 3), and the tensor (4, 3)"),
        ('rows = "2:9"', "net.safetensors: `0.weight` has no rows 2:9; its shape is (4, 3)"),
        ('rows = "all"', '`rows` is "all"; write two numbers, as in "0:10"'),
        ('key = "{i}"', 'i: no name "i". In scope: alias, auto_gain, depth, fan_in, '),
        ('key = "{1 / 2}"', "1 / 2: it is 0.5, where a whole number is needed"),
        ("repeat = 2",
         "net.safetensors: `0.weight` has shape (4, 3), which gives (8, 3), and the tensor (4, 3); "
         'to take some of its rows write `rows = "0:4"`'),
    ],
)  # fmt: skip
def test_messages_about_tensors(value, message):
    save_file(net().state_dict(), "net.safetensors")
    entry = f'{{ fn = "from_file", path = "net.safetensors", {value} }}'
    found = said(net(), rule(f'name = "0"\ninit.weight = {entry}', 'uncovered = "keep"'))
    assert found.partition(" for 0.weight: ")[2].startswith(message)
    assert found.startswith("x.toml:5: IP2")


def test_messages_about_files():
    def about(path):
        policy = rule(f'init."*" = {{ fn = "from_file", path = "{path}" }}')
        return said(nn.Linear(2, 2, bias=False), policy).partition(" for weight: ")[2]

    assert about("no.safetensors") == (
        "no.safetensors cannot be read: No such file or directory; "
        "a path starts from the folder of the policy's file"
    )
    save_file({"weight": torch.ones(2, 2)}, "whole.safetensors")
    content = Path("whole.safetensors").read_bytes()
    for size in (0, 4, 30, len(content) - 1):
        Path("cut.safetensors").write_bytes(content[:size])
        assert about("cut.safetensors").startswith("cut.safetensors is no safetensors file, or is ")
    Path("x.h5").write_bytes(b"")
    assert about("x.h5") == (
        "x.h5 is of no kind that is known; its name must end in .safetensors, .index.json, "
        ".pt, .pth, .bin, .ckpt"
    )
    Path("a.index.json").write_text("{}")
    assert about("a.index.json") == (
        "a.index.json is no index of a sharded checkpoint: no `weight_map`"
    )
    Path("a.index.json").write_text('{"weight_map": {"weight": "../whole.safetensors"}}')
    assert about("a.index.json") == (
        "a.index.json names the shard `../whole.safetensors`, which does not lie beside it"
    )
    Path("a.index.json").write_text('{"weight_map": {"wei": "whole.safetensors"}}')
    assert (
        about("a.index.json")
        == "a.index.json says that whole.safetensors has `wei`, and it has not"
    )
    Path("cut.pth").write_bytes(b"PK")
    assert about("cut.pth").startswith("cut.pth ")


class Evil:
    def __reduce__(self):
        return Path.touch, (Path("ran"),)


def test_a_pickle_that_could_run_code_is_not_read():
    torch.save({"weight": torch.ones(2, 2), "more": Evil()}, "evil.pth")
    policy = rule('init."*" = { fn = "from_file", path = "evil.pth" }')
    found = said(nn.Linear(2, 2, bias=False), policy)
    assert found.endswith(
        "evil.pth holds more than tensors, and is not read because that could run code; "
        "save the state dict alone, or as safetensors"
    )
    assert not Path("ran").exists()


def test_nothing_is_written_if_the_file_is_gone_by_then():
    save_file(net().state_dict(), "net.safetensors")
    plan = initpolicy.plan(net(), parse("format = 1\n" + ALL.format("net.safetensors")))
    save_file({"0.weight": torch.ones(4, 3)}, "net.safetensors")
    found = said(net(), plan, initpolicy.apply)
    assert [line[:6] for line in found.splitlines()] == ["IP216 "] * 3
    Path("net.safetensors").unlink()
    assert "cannot be read: No such file" in said(net(), plan, initpolicy.apply)


def test_planning_reads_headers_alone():
    save_file({"w": torch.zeros(1 << 20)}, "w.safetensors")
    assert header("w.safetensors")["w"].shape == (1 << 20,)
    assert load("w.safetensors", "w", (5, 7)).tolist() == [0, 0]
    # the same, cut out of the middle: a file of the same size with a hole is read as it is
    with open("w.safetensors", "r+b") as file:
        file.seek(-4, 2)
        file.write(np.float32(7).tobytes())
    model = nn.Module()
    model.w = nn.Parameter(torch.empty(1 << 20))
    initpolicy.apply(model, parse("format = 1\n" + ALL.format("w.safetensors")))
    assert float(model.w.detach()[-1]) == 7


def test_the_stages_of_the_vgg19_encoder_come_from_a_file(tmp_path):
    from initpolicy.model import load_model

    example = Path(initpolicy.__file__).parent.parent / "examples" / "vgg19_encoder.py"
    model = load_model(f"{example}:vgg19_encoder", kwargs={"width": 2, "code_size": 3})
    # torchvision's VGG19: convolution, ReLU, ..., pooling, numbered in one row
    layers, channels = [], 3
    for size in [2, 2, "M", 4, 4, "M", *[8] * 4, "M", *[16] * 4, "M", *[16] * 4, "M"]:
        if size == "M":
            layers.append(nn.MaxPool2d(2, 2))
        else:
            layers += [nn.Conv2d(channels, size, 3, padding=1), nn.ReLU()]
            channels = size
    published = nn.ModuleDict({"features": nn.Sequential(*layers), "classifier": nn.Linear(2, 2)})
    torch.save(published.state_dict(), "vgg19.pth")
    page = (example.parent.parent / "docs" / "policies.md").read_text(encoding="utf-8")
    text = page.partition("## vgg19-encoder")[2].partition("```toml\n")[2].partition("```")[0]
    Path("mine.toml").write_text(text)
    plan = initpolicy.apply(model, "mine.toml", seed=2)
    convs = [m for m in published["features"] if isinstance(m, nn.Conv2d)]
    mine = [m for stage in model.stages for m in stage if isinstance(m, nn.Conv2d)]
    assert len(convs) == len(mine) == 16
    for theirs, ours in zip(convs, mine, strict=True):
        assert torch.equal(theirs.weight, ours.weight)
        assert torch.equal(theirs.bias, ours.bias)
    assert str(plan["fc4.bias"].law) == "0"
    assert float(model.fc4.weight.detach().abs().sum()) > 0
    missing = dict(published.state_dict())
    del missing["features.34.weight"]
    torch.save(missing, "vgg19.pth")
    with pytest.raises(InitPolicyError, match=r"IP216 .* for stages.4.conv4.weight: .* no tensor"):
        initpolicy.apply(model, "mine.toml")


def test_a_file_written_again_at_once_is_read_again():
    for dtype in (torch.int16, torch.float16, torch.bfloat16) * 20:  # of one size, within a tick
        save_file({"w": torch.ones(3, dtype=dtype)}, "w.safetensors")
        assert header("w.safetensors")["w"].dtype == dtype


def test_files_of_one_name_in_two_folders_are_two(tmp_path, monkeypatch):
    for number, dtype in enumerate((torch.int16, torch.float16)):
        folder = tmp_path / str(number)
        folder.mkdir()
        monkeypatch.chdir(folder)
        save_file({"w": torch.ones(3, dtype=dtype)}, "w.safetensors")
        os.utime("w.safetensors", (1, 1))
        assert header("w.safetensors")["w"].dtype == dtype
