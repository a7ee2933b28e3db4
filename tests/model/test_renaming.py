"""Names of a part of a model in the whole."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from initpolicy.model import RenameError, read, renamed


def tree(depth: int = 2) -> nn.Module:
    """Linear layers under every name of segments 0, 1, 01 and a, up to a depth."""
    module = nn.ModuleDict({"fc": nn.Linear(1, 1, bias=False)})
    if depth:
        for name in ("0", "1", "01", "a"):
            module[name] = tree(depth - 1)
    return module


TREE = read(tree())
names = st.lists(st.sampled_from(["0", "1", "01", "a", "fc"]), max_size=3).map(".".join)


def by_hand(name: str, prefixes: dict[str, str]) -> str:
    """As the documentation says it, with lists of segments."""
    segments = name.split(".") if name else []
    for length in range(len(segments), -1, -1):
        key = ".".join(segments[:length])
        if key in prefixes:
            new = prefixes[key].split(".") if prefixes[key] else []
            return ".".join([*new, *segments[length:]])
    return name


@given(st.dictionaries(names, names, max_size=4))
def test_the_longest_beginning_decides(prefixes):
    met = [name for name, _ in TREE.named_modules()] + list(TREE.by_name)
    expected = {name: by_hand(name, prefixes) for name in TREE.by_name}
    wrong = (
        any(key and key not in met for key in prefixes)
        or len(set(expected.values())) < len(expected)
        or any(name.rpartition(".")[2] != "weight" for name in expected.values())
    )
    try:
        part = renamed(TREE, prefixes)
    except RenameError:
        assert wrong
        return
    assert not wrong
    assert part.is_part
    assert [slot.name for slot in part.slots] == list(expected.values())
    for slot, before in zip(part.slots, TREE.slots, strict=True):
        assert slot.tensor is before.tensor
        assert slot.module is before.module
        assert slot.name == f"{slot.module_name}.{slot.local_name}".lstrip(".")
    for entry, before in zip(part.modules, TREE.modules, strict=True):
        assert entry.module is before.module
        assert entry.name == by_hand(before.name, prefixes)


@given(st.permutations([f"{a}.{b}" for a in "01a" for b in "01a"]))
def test_every_permutation_of_layers_can_be_made_and_undone(order):
    there = dict(zip(sorted(order), order, strict=True))
    part = renamed(TREE, there)
    assert set(part.by_name) == set(TREE.by_name)
    back = renamed(part, {new: old for old, new in there.items()})
    assert list(back.by_name) == list(TREE.by_name)


def test_an_empty_prefix_stands_before_everything():
    stage = nn.ModuleDict({"fc": nn.Linear(2, 2, bias=False)})
    stage.scale = nn.Parameter(stage.fc.weight[0].detach())
    part = renamed(read(stage), {"": "model.part"})
    assert list(part.by_name) == ["model.part.scale", "model.part.fc.weight"]
    assert [entry.names for entry in part.modules] == [("model.part",), ("model.part.fc",)]
    back = renamed(part, {"model.part": ""})
    assert list(back.by_name) == ["scale", "fc.weight"]
    assert [entry.names for entry in back.modules] == [("",), ("fc",)]


def test_a_tensor_moves_to_another_module():
    stage = nn.ModuleDict({"head": nn.Linear(2, 2)})
    part = renamed(read(stage), {"head.weight": "embed.weight"})
    assert list(part.by_name) == ["embed.weight", "head.bias"]
    assert part.by_name["embed.weight"].module_name == "embed"
    assert part.modules[1].names == ("head", "embed")


def test_names_of_one_tensor_may_become_one():
    stage = nn.ModuleDict({"a": nn.Linear(2, 2, bias=False), "b": nn.Linear(2, 2, bias=False)})
    stage.b.weight = stage.a.weight
    part = renamed(read(stage), {"b": "a"})
    assert [[site.name for site in slot.sites] for slot in part.slots] == [["a.weight"]]


def test_parts_of_a_computed_tensor_go_with_it():
    stage = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(2, 2, bias=False)))
    part = renamed(read(stage), {"0": "layers.8"})
    assert [(slot.name, slot.sites[0].part_of) for slot in part.slots] == [
        ("layers.8.weight", ""),
        ("layers.8.parametrizations.weight.original0", "layers.8.weight"),
        ("layers.8.parametrizations.weight.original1", "layers.8.weight"),
    ]


def test_every_error_at_once():
    stage = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2), "c": nn.Linear(2, 2)})
    with pytest.raises(RenameError) as caught:
        renamed(read(stage), {"layer": "x", "bb": "x", "a": "b", "c.bias": "c.shift"})
    assert [(error.message, error.hint) for error in caught.value.errors] == [
        (
            "`rename`: nothing in the model is called `layer`",
            "write dotted names of modules or tensors, of this model and of the whole one",
        ),
        ("`rename`: nothing in the model is called `bb`", "names near it are b"),
        (
            "`rename`: `a.weight` and `b.weight` would both be `b.weight`",
            "each tensor needs a name of its own",
        ),
        (
            "`rename`: `a.bias` and `b.bias` would both be `b.bias`",
            "each tensor needs a name of its own",
        ),
        (
            "`rename`: the tensor `c.bias` cannot become `c.shift`",
            "the last part of a tensor's name stays, since rules go by it",
        ),
    ]


@pytest.mark.parametrize("prefixes", [{"a": "b."}, {"a": ".b"}, {"a": "b..c"}, {"a": 3}, {3: "a"}])
def test_no_names(prefixes):
    with pytest.raises(RenameError, match="is no name"):
        renamed(read(nn.ModuleDict({"a": nn.Linear(2, 2)})), prefixes)


def test_no_mapping():
    with pytest.raises(RenameError, match="`rename` is a list, and no mapping"):
        renamed(read(nn.Linear(2, 2)), ["a"])
