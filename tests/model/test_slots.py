from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

import pytest
import torch
import torch.distributed as distributed
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.nn.utils import parametrizations

from initpolicy.model import Facts, Inventory, ModelError, declared, read
from initpolicy.model.names import MAX_NAMES


def names(model: nn.Module) -> list[str]:
    return [slot.name for slot in read(model).slots]


def all_names(model: nn.Module) -> list[list[str]]:
    return [[site.name for site in slot.sites] for slot in read(model).slots]


def summary(inventory: Inventory) -> tuple[list[object], list[object]]:
    modules = [(entry.names, type(entry.module)) for entry in inventory.modules]
    slots = [
        (slot.shape, [(s.name, s.local_name, s.kind) for s in slot.sites])
        for slot in inventory.slots
    ]
    return list(modules), list(slots)


class Bare(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", torch.zeros(2), persistent=False)
        self.W1 = nn.Parameter(torch.zeros(3, 2))
        self.register_parameter("W2", nn.Parameter(torch.zeros(2, 2)))
        self.register_parameter("bias", None)
        self.register_buffer("steps", torch.tensor(0))
        self.register_buffer("cache", None)
        self.not_registered = torch.zeros(1)


# Trees of modules with random children, drawing from a pool, so that modules and parameters are
# shared; children's names repeat the ones that wrappers use.
@st.composite
def models(draw: st.DrawFn) -> nn.Module:
    pool: list[nn.Module] = [nn.Linear(2, 1), nn.BatchNorm1d(2), nn.ReLU(), Bare()]
    parameters = [nn.Parameter(torch.zeros(2)) for _ in range(3)]
    local_names = st.sampled_from(["a", "b", "module", "0"])
    for _ in range(draw(st.integers(1, 6))):
        module = nn.Module()
        for name in draw(st.sets(local_names)):
            module.add_module(name, draw(st.sampled_from(pool)))
        for name in draw(st.sets(st.sampled_from(["w", "v"]))):
            module.register_parameter(name, draw(st.sampled_from([None, *parameters])))
        pool.append(module)
    return pool[-1]


@settings(deadline=None)
@given(models())
def test_slots_are_the_named_parameters_and_buffers(model: nn.Module) -> None:
    slots = read(model).slots
    parameters = [(slot.name, id(slot.tensor)) for slot in slots if slot.kind == "parameter"]
    buffers = [(slot.name, id(slot.tensor)) for slot in slots if slot.kind == "buffer"]
    assert parameters == [(name, id(tensor)) for name, tensor in model.named_parameters()]
    assert buffers == [(name, id(tensor)) for name, tensor in model.named_buffers()]


@settings(deadline=None)
@given(models())
def test_every_name_is_found_once_and_on_its_tensor(model: nn.Module) -> None:
    every = dict(model.named_parameters(remove_duplicate=False))
    every.update(model.named_buffers(remove_duplicate=False))
    inventory = read(model)
    sites = [site for slot in inventory.slots for site in slot.sites]
    assert sorted(site.name for site in sites) == sorted(every)
    for name, slot in inventory.by_name.items():
        assert slot.tensor is every[name]
    for site in sites:
        assert model.get_submodule(site.module_name) is site.module
        assert site.name == f"{site.module_name}.{site.local_name}".lstrip(".")


@settings(deadline=None)
@given(models())
def test_modules_have_every_name(model: nn.Module) -> None:
    inventory = read(model)
    assert [(entry.name, entry.module) for entry in inventory.modules] == list(
        model.named_modules()
    )
    every = model.named_modules(remove_duplicate=False)
    assert sorted(name for name, _ in inventory.named_modules()) == sorted(
        name for name, _ in every
    )
    for name, module in inventory.named_modules():
        assert model.get_submodule(name) is module


@settings(deadline=None)
@given(models())
def test_persistent_are_the_names_in_the_state_dict(model: nn.Module) -> None:
    sites = [site for slot in read(model).slots for site in slot.sites]
    assert {site.name for site in sites if site.persistent} == set(model.state_dict())


@settings(deadline=None)
@given(models())
def test_wrapping_changes_nothing(model: nn.Module) -> None:
    expected = summary(read(model))
    assert summary(read(nn.DataParallel(model))) == expected
    assert summary(read(checkpoint_wrapper(model))) == expected
    assert summary(read(torch.compile(nn.DataParallel(checkpoint_wrapper(model))))) == expected


def test_order_is_modules_then_parameters_then_buffers() -> None:
    model = nn.Sequential(nn.BatchNorm1d(2), Bare())
    assert names(model) == [
        "0.weight",
        "0.bias",
        "0.running_mean",
        "0.running_var",
        "0.num_batches_tracked",
        "1.W1",
        "1.W2",
        "1.mask",
        "1.steps",
    ]


def test_bare_parameters_and_what_is_none() -> None:
    inventory = read(Bare())
    slot = inventory.by_name["W2"]
    assert (slot.name, slot.module_name, slot.local_name) == ("W2", "", "W2")
    assert "bias" not in inventory.by_name
    assert declared(inventory.modules[0].module) == {
        "W1": "parameter",
        "W2": "parameter",
        "bias": "parameter",
        "mask": "buffer",
        "steps": "buffer",
        "cache": "buffer",
    }


def test_a_linear_alone() -> None:
    linear = nn.Linear(3, 2)
    weight, bias = read(linear).slots
    assert weight.module is linear
    assert (weight.name, weight.module_name, weight.shape) == ("weight", "", (2, 3))
    assert (bias.dtype, bias.kind, bias.aliases) == (torch.float32, "parameter", ())
    assert weight.facts == Facts((2, 3), "float32")


def test_non_persistent_buffers() -> None:
    slots = read(Bare()).by_name
    assert {name: slot.persistent for name, slot in slots.items()} == {
        "W1": True,
        "W2": True,
        "mask": False,
        "steps": True,
    }


def test_parameter_lists_and_dicts_own_their_parameters() -> None:
    model = nn.Module()
    model.layers = nn.ParameterList([torch.zeros(2), torch.zeros(3)])
    model.named = nn.ParameterDict({"left": torch.zeros(1)})
    assert names(model) == ["layers.0", "layers.1", "named.left"]
    assert read(model).slots[0].module is model.layers


def test_tied_parameters_are_one_slot() -> None:
    model = nn.ModuleDict({"wte": nn.Embedding(5, 3), "head": nn.Linear(3, 5)})
    model["head"].weight = model["wte"].weight
    slots = read(model).slots
    assert [slot.name for slot in slots] == ["wte.weight", "head.bias"]
    (alias,) = slots[0].aliases
    assert (alias.name, alias.module) == ("head.weight", model["head"])
    assert (alias.module_name, alias.local_name) == ("head", "weight")


def test_a_shared_module_has_all_its_names() -> None:
    shared = nn.Linear(2, 2)
    model = nn.Sequential(OrderedDict(a=shared, b=nn.Sequential(shared)))
    assert all_names(model) == [["a.weight", "b.0.weight"], ["a.bias", "b.0.bias"]]
    assert [entry.names for entry in read(model).modules] == [("",), ("a", "b.0"), ("b",)]


def test_what_is_computed_is_told_apart():
    plain = nn.Linear(2, 2)
    assert read(plain).computed == ()
    model = nn.Sequential(plain, parametrizations.weight_norm(nn.Linear(2, 2)))
    inventory = read(model)
    assert [slot.name for slot in inventory.computed] == ["1.weight"]
    assert set(inventory.computed) < set(inventory.slots)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_the_same_view_of_the_same_memory_is_tied(device: str) -> None:
    a, b, c = (nn.Linear(2, 2, bias=False, device=device) for _ in range(3))
    b.weight.data = a.weight.data
    c.weight.data = a.weight.data.t()
    assert b.weight is not a.weight
    # The transpose is other elements in the same memory: no tie.
    assert all_names(nn.Sequential(a, c, b)) == [["0.weight", "2.weight"], ["1.weight"]]
    assert all_names(nn.Sequential(c, b, a)) == [["0.weight"], ["1.weight", "2.weight"]]


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_parts_of_one_memory_are_not_tied(device: str) -> None:
    flat = torch.zeros(4, 2, device=device)
    parts = [flat[:2], flat[2:], flat[1:3], flat[:3], flat]
    assert len(read(nn.ParameterList(parts)).slots) == 5
    model = nn.ParameterList([*parts, flat[:3], flat[2:]])
    assert all_names(model) == [["0"], ["1", "6"], ["2"], ["3", "5"], ["4"]]


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_tensors_without_elements_are_not_tied(device: str) -> None:
    empty = torch.zeros(0, 3, device=device)
    slots = read(nn.ParameterList([empty, empty.view(0, 3), torch.zeros(())])).slots
    assert [(slot.name, slot.shape) for slot in slots] == [("0", (0, 3)), ("1", (0, 3)), ("2", ())]


def test_freed_memory_is_not_tied() -> None:
    model = nn.ParameterList([torch.zeros(2), torch.zeros(2)])
    for parameter in model:
        parameter.untyped_storage().resize_(0)
    assert all_names(model) == [["0"], ["1"]]


def test_what_is_parameter_and_buffer_is_a_parameter() -> None:
    model = nn.ModuleDict({"first": nn.Module(), "second": nn.Linear(1, 1, bias=False)})
    model["first"].register_buffer("copy", model["second"].weight.detach())
    (slot,) = read(model).slots
    assert (slot.name, slot.kind) == ("second.weight", "parameter")
    assert slot.tensor is model["second"].weight
    assert [alias.name for alias in slot.aliases] == ["first.copy"]


def test_lazy_tensors_have_no_shape_yet() -> None:
    model = nn.Sequential(nn.LazyLinear(3), nn.LazyBatchNorm1d())
    inventory = read(model)
    assert [slot.name for slot in inventory.slots if not slot.lazy] == ["1.num_batches_tracked"]
    assert inventory.slots[0].dtype is torch.float32
    with pytest.raises(ModelError) as caught:
        _ = inventory.slots[0].shape
    assert str(caught.value) == (
        "0.weight has no shape yet: LazyLinear infers it in the first forward pass"
    )
    assert caught.value.hint == "call the model once on an example input before it is initialized"
    with pytest.raises(ModelError, match="has no shape yet"):
        _ = inventory.slots[0].facts
    model(torch.zeros(2, 4))
    assert read(model).slots[0].shape == (3, 4)


def test_a_computed_weight_comes_before_what_torch_lists() -> None:
    model = nn.Sequential(parametrizations.weight_norm(nn.Linear(2, 2)))
    assert names(model) == ["0.weight", *(name for name, _ in model.named_parameters())]
    assert "0.parametrizations.weight.original0" in names(model)


def test_meta_models_and_data_types() -> None:
    model = nn.Linear(2, 1, device="meta", dtype=torch.complex64)
    assert read(model).slots[0].facts == Facts((1, 2), "complex64")


def test_a_user_s_module_called_module_keeps_its_name() -> None:
    class DataParallel(nn.Module):  # not torch's
        def __init__(self) -> None:
            super().__init__()
            self.module = nn.Linear(1, 1, bias=False)

    assert names(DataParallel()) == ["module.weight"]


def test_a_subclass_of_a_wrapper_is_a_wrapper() -> None:
    class Ours(nn.DataParallel):
        pass

    assert names(Ours(nn.Linear(1, 1, bias=False))) == ["weight"]


def test_wrappers_inside_a_model() -> None:
    block = nn.Sequential(nn.Linear(2, 2, bias=False))
    model = nn.ModuleDict({"h": nn.ModuleList([checkpoint_wrapper(block), torch.compile(block)])})
    inventory = read(model)
    assert [[site.name for site in slot.sites] for slot in inventory.slots] == [
        ["h.0.0.weight", "h.1.0.weight"]
    ]
    # One module a name, the one of the model: patterns that count must not count wrappers.
    assert [entry.names for entry in inventory.modules] == [
        ("",),
        ("h",),
        ("h.0", "h.1"),
        ("h.0.0", "h.1.0"),
    ]
    assert inventory.modules[2].module is block


@pytest.fixture
def one_process() -> Iterator[None]:
    store = distributed.HashStore()
    distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.usefixtures("one_process")
def test_distributed_data_parallel() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    expected = summary(read(model))
    assert summary(read(nn.parallel.DistributedDataParallel(model))) == expected


@pytest.mark.usefixtures("one_process")
def test_sharded_models_have_global_shapes() -> None:
    from torch.distributed.fsdp import fully_shard

    model = nn.Sequential(nn.Linear(4, 2), nn.Linear(2, 4))
    expected = [(slot.name, slot.shape, slot.dtype) for slot in read(model).slots]
    fully_shard(model, mesh=distributed.init_device_mesh("cpu", (1,)))
    assert [(slot.name, slot.shape, slot.dtype) for slot in read(model).slots] == expected


def test_fully_sharded_segment() -> None:
    wrapper = nn.Module()
    wrapper._fsdp_wrapped_module = nn.Sequential(nn.Linear(1, 1, bias=False))
    assert names(nn.ModuleDict({"inner": wrapper})) == ["inner.0.weight"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_scripted_modules_can_be_read() -> None:
    model = torch.jit.script(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))
    assert names(model)[:3] == ["0.weight", "0.bias", "1.weight"]


def test_equal_names_of_different_tensors_are_an_error() -> None:
    model = nn.Bilinear(1, 1, 1)
    model._orig_mod = nn.Linear(1, 1, bias=False)
    with pytest.raises(ModelError) as caught:
        read(model)
    assert str(caught.value) == (
        "two different tensors are named 'weight' when wrappers are left out of the names: "
        "one of Bilinear, one of Linear"
    )
    assert caught.value.hint == (
        "rename one of them; a wrapper's tensors must not be called as what it wraps"
    )


def test_a_wrapper_may_show_the_tensor_that_it_wraps() -> None:
    model = nn.Module()
    model._orig_mod = nn.Linear(1, 1, bias=False)
    model.weight = model._orig_mod.weight
    assert all_names(model) == [["weight"]]


def test_a_module_inside_itself() -> None:
    model = nn.ModuleDict({"child": nn.Linear(1, 1, bias=False)})
    model["child"].parent = model
    assert all_names(model) == [["child.weight"]]


def test_modules_shared_within_shared_modules_end() -> None:
    model: nn.Module = nn.Linear(1, 1, bias=False)
    for _ in range(40):
        model = nn.Sequential(model, model)
    (slot,) = read(model).slots
    assert len(slot.sites) == MAX_NAMES
    assert slot.name == ".".join("0" * 40) + ".weight"


def test_reading_leaves_values_and_generators_alone() -> None:
    model = nn.Linear(2, 2)
    state, version = torch.get_rng_state(), model.weight._version
    read(model)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.weight._version == version


def test_printing_a_slot_shows_names_and_no_values() -> None:
    assert repr(read(nn.Linear(1, 1)).slots[1]) == (
        "Slot(sites=(Site(name='bias', module_name='', local_name='bias', kind='parameter', "
        "persistent=True),))"
    )
