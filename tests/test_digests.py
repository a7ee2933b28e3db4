"""Digests: as docs/digest.md defines them, the same for every layout, and for files."""

import itertools
import json
import math
from hashlib import blake2b
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file, save_model
from torch import nn

import initpolicy
from initpolicy import digests, field
from initpolicy.field import Elements, Runs, pieces
from initpolicy.field import elements as summing
from initpolicy.problems import InitPolicyError

WIDTHS = {torch.uint8: 8, torch.int16: 16, torch.int32: 32, torch.int64: 64}
DTYPES = [
    torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.float8_e4m3fn,
    torch.float8_e5m2, torch.complex64, torch.complex128, torch.bool, torch.uint8, torch.int8,
    torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32, torch.uint64,
]  # fmt: skip


# The definition once more, in Python's own integers.


def mix(bits, index):
    a = (bits + (index + 1) * 0x9E3779B97F4A7C15) % 2**64
    a = (a ^ a >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    a = (a ^ a >> 27) * 0x94D049BB133111EB % 2**64
    b = (bits + (index + 1) * 0xD1B54A32D192ED03) % 2**64
    b = (b ^ b >> 33) * 0xFF51AFD7ED558CCD % 2**64
    b = (b ^ b >> 33) * 0xC4CEB9FE1A85EC53 % 2**64
    return a ^ a >> 31, b ^ b >> 33


def reference_sums(numbers, indices):
    pairs = [mix(bits, index) for bits, index in zip(numbers, indices, strict=True)]
    return [sum(pair[k] for pair in pairs) % 2**64 for k in (0, 1)]


def numbers_of(tensor):
    """The bits of each element, read from the bytes of its memory."""
    size = tensor.element_size() // (2 if tensor.is_complex() else 1)
    data = bytes(tensor.contiguous().flatten().view(torch.uint8).tolist())
    return [int.from_bytes(data[at : at + size], "little") for at in range(0, len(data), size)]


def number(value):
    return value.to_bytes(8, "little")


def text(value):
    return number(len(value.encode())) + value.encode()


def reference(tensor):
    numbers = numbers_of(tensor)
    message = text("initpolicy tensor") + number(1) + text(str(tensor.dtype)[6:])
    for value in (tensor.ndim, *tensor.shape, *reference_sums(numbers, range(len(numbers)))):
        message += number(value)
    return blake2b(message, digest_size=16).hexdigest()


def reference_of_all(named):
    message = text("initpolicy model") + number(1) + number(len(named))
    for name in sorted(named, key=str.encode):
        message += text(name) + text(reference(named[name]))
    return blake2b(message, digest_size=16).hexdigest()


# What tests are made of.


@st.composite
def tensors(draw, dtypes=tuple(DTYPES), at_least=0):
    dtype = draw(st.sampled_from(dtypes))
    shape = draw(st.lists(st.integers(at_least, 5), max_size=4))
    size = math.prod(shape) * dtype.itemsize
    data = bytearray(draw(st.binary(min_size=size, max_size=size)))
    if dtype is torch.bool:
        data = bytearray(byte % 2 for byte in data)
    if not size:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(data, dtype=torch.uint8).view(dtype).view(shape)


@st.composite
def laid_out(draw, tensor):
    """The same elements in memory of other strides."""
    order = draw(st.permutations(range(tensor.ndim)))
    steps = draw(st.lists(st.integers(1, 3), min_size=tensor.ndim, max_size=tensor.ndim))
    wide = [tensor.shape[dim] * steps[dim] for dim in order]
    memory = torch.zeros(wide, dtype=tensor.dtype)
    inverse = sorted(range(tensor.ndim), key=order.__getitem__)
    view = memory.permute(inverse)[tuple(slice(None, None, step) for step in steps)]
    same_width = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64, 16: None}
    bits = same_width[tensor.element_size()]
    if bits is None:
        view.copy_(tensor)
    else:
        view.view(bits).copy_(tensor.view(bits))  # as floats, NaNs might lose their bits
    return view


class Tied(nn.Module):
    """Ties, a buffer that no file holds, a parametrization, and a type beside float32."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(7, 4)
        self.norm = nn.BatchNorm1d(4)
        self.body = nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))
        self.old = nn.utils.weight_norm(nn.Linear(4, 2))
        self.head = nn.Linear(4, 7)
        self.head.weight = self.embed.weight
        self.register_buffer("scratch", torch.randn(3), persistent=False)
        self.register_buffer("table", torch.randn(4).to(torch.bfloat16))


def told(source):
    with pytest.raises(InitPolicyError) as caught:
        initpolicy.digest(source)
    return str(caught.value)


# One tensor.


@given(tensors())
def test_a_tensor_has_the_digest_that_the_definition_says(tensor):
    assert digests.of_tensor(tensor) == reference(tensor)


@given(st.data())
def test_strides_change_nothing(data):
    tensor = data.draw(tensors())
    other = data.draw(laid_out(tensor))
    assert digests.of_tensor(other) == digests.of_tensor(tensor)


def test_pieces_of_a_large_tensor_that_is_not_dense(monkeypatch):
    tensor = torch.randn(37, 41, 5)
    monkeypatch.setattr(pieces, "BUFFER", 100)
    assert digests.of_tensor(tensor.mT.contiguous().mT) == reference(tensor)
    assert digests.of_tensor(tensor[:1].expand(37, 41, 5)) == reference(tensor[:1].repeat(37, 1, 1))


@pytest.mark.parametrize("here", [True, False], ids=["kernel", "torch"])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_and_pieces_change_nothing(threads, here, monkeypatch):
    named = {str(size): torch.randn(size, 3) for size in (0, 1, 5, 400, 1000)}
    expected = {name: reference(tensor) for name, tensor in named.items()}
    monkeypatch.setattr("initpolicy.field.threads.TASK", 64)
    monkeypatch.setattr(summing, "TASK", 64)
    monkeypatch.setattr(summing, "BLOCK", 77)
    monkeypatch.setattr(summing, "piece_size", lambda total, threads: 100)
    monkeypatch.setattr(summing, "_is_here", lambda tensor: here)
    seen = []
    assert digests.of_tensors(named, threads=threads, progress=seen.append) == expected
    assert sum(seen) == sum(tensor.nbytes for tensor in named.values())


@given(st.data())
def test_every_bit_counts(data):
    tensor = data.draw(tensors([d for d in DTYPES if d is not torch.bool], at_least=1))
    changed = tensor.clone()
    memory = changed.view(-1).view(torch.uint8)
    at = data.draw(st.integers(0, 8 * len(memory) - 1))
    memory[at // 8] ^= 1 << at % 8
    assert digests.of_tensor(changed) != digests.of_tensor(tensor)


@given(st.data())
def test_every_place_counts(data):
    tensor = torch.arange(data.draw(st.integers(2, 40)))
    order = data.draw(st.permutations(range(len(tensor))))
    moved = tensor[torch.tensor(order)]
    assert (digests.of_tensor(moved) == digests.of_tensor(tensor)) == torch.equal(moved, tensor)


def test_what_compares_equal_and_is_not_the_same():
    zero = torch.zeros(3)
    nans = torch.tensor([0x7FC00000, 0x7FC00001], dtype=torch.int32).view(torch.float32)
    distinct = [
        zero, -zero, zero.double(), zero.int(), zero.view(3, 1), zero.view(1, 3), zero[:2],
        nans[:1], nans[1:], torch.zeros(()), torch.zeros(1), torch.zeros(0), torch.zeros(0, 2),
        torch.zeros(1, dtype=torch.complex64), torch.zeros(2), torch.zeros(1, dtype=torch.bool),
        torch.zeros(1, dtype=torch.uint8), torch.zeros(1, dtype=torch.int8),
    ]  # fmt: skip
    found = [digests.of_tensor(tensor) for tensor in distinct]
    assert len(set(found)) == len(set(map(reference, distinct))) == len(distinct) - 1  # zero[:2]


def test_complex_numbers_that_are_conjugates_until_they_are_read():
    tensor = torch.randn(3, 4, dtype=torch.complex64)
    assert digests.of_tensor(tensor.conj()) == reference(tensor.conj().resolve_conj())
    assert digests.of_tensor(tensor.conj().imag) == reference(-tensor.imag)


# Sums of parts.


@st.composite
def divisions(draw, size):
    """Runs that share out [0, size), dealt to some holders."""
    cuts = sorted({0, size, *draw(st.lists(st.integers(0, size), max_size=20))})
    runs = list(itertools.pairwise(cuts))
    holders = [draw(st.integers(0, 3)) for _ in runs]
    shares = [[r for r, h in zip(runs, holders, strict=True) if h == k] for k in range(4)]
    return [draw(st.permutations(share)) for share in shares]


@pytest.mark.parametrize("here", [True, False], ids=["kernel", "torch"])
@given(data=st.data())
@settings(max_examples=40)
def test_any_parts_add_up(data, here):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(summing, "_is_here", lambda tensor: here)
        tensor = data.draw(tensors())
        flat = tensor.flatten()
        parts = [
            Elements(torch.cat([flat[:0], *(flat[a:b] for a, b in share)]), Runs.of(share))
            for share in data.draw(divisions(len(flat)))
        ]
        total = field.sums(parts).sum(0).tolist()
        assert digests.of_sums(total, tensor.shape, tensor.dtype) == reference(tensor)


@pytest.mark.parametrize("here", [True, False], ids=["kernel", "torch"])
@given(
    st.sampled_from(list(WIDTHS)),
    st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 40)), min_size=1, max_size=4),
    st.integers(0, 2**64 - 1),
)
@settings(max_examples=40)
def test_every_index_of_64_bits(here, dtype, places, seed):
    runs = [(start, min(start + length, 2**64 - 1)) for start, length in places]
    indices = [index for start, stop in runs for index in range(start, stop)]
    width = WIDTHS[dtype]
    numbers = [mix(seed, k)[0] % 2**width for k in range(len(indices))]
    data = b"".join(value.to_bytes(width // 8, "little") for value in numbers)
    flat = torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else torch.empty(0).byte()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(summing, "_is_here", lambda tensor: here)
        found = field.sums([Elements(flat.view(dtype), Runs.of(runs))])
    assert found.tolist() == [reference_sums(numbers, indices)]


def test_runs_must_fit():
    with pytest.raises(ValueError, match=r"^the runs hold 3 indices, the tensor 2 elements$"):
        field.sums([Elements(torch.zeros(2), Runs.one(0, 3))])
    with pytest.raises(ValueError, match=r"^the tensor is on the meta device and has no values$"):
        field.sums([Elements(torch.zeros(2, device="meta"))])


# Version 1 never changes. A digest that differs makes every lock wrong that was ever written.


GOLDEN = {
    "float32": "8c507a490af7805622615044078c18db",
    "bfloat16": "cf54a17c2a5f936cd083c83c0f733c0a",
    "float8_e4m3fn": "0b7149d97a5f2eee58207381d36e0af3",
    "complex64": "81baf036b4a7feac3d3130bf9bb8cc7c",
    "bool": "79948babac0ce96f247a88ea55703284",
    "int64": "33c5434977c948b2e31f3f0958a1f358",
    "empty": "fbb51bb85c4b2079adff8594dd3eca95",
    "scalar": "ca5fa9117df99fd333d09c08312dba6f",
}


def golden():
    steps = torch.arange(-60, 60).view(4, 5, 6)
    tensors = {
        "float32": steps / 8,
        "bfloat16": (steps / 8).bfloat16(),
        "float8_e4m3fn": steps.to(torch.float8_e4m3fn),
        "complex64": torch.complex(steps / 8, -steps / 4),
        "bool": steps % 3 == 0,
        "int64": steps,
        "empty": torch.empty(0, 3),
        "scalar": torch.tensor(1.5),
    }
    return {name: digests.of_tensor(tensor) for name, tensor in tensors.items()}


def test_golden_digests_of_version_1():
    assert digests.VERSION == 1
    assert golden() == GOLDEN
    assert digests.combined(golden()) == "bef69db487312da13bc33c09afadbf35"


# Models and files.


def test_a_model_has_the_digest_of_what_its_checkpoint_holds():
    model = Tied()
    held = model.state_dict()
    del held["head.weight"]
    assert initpolicy.digest(model) == reference_of_all(held)
    assert digests.digests(model) == {name: reference(held[name]) for name in sorted(held)}


def test_the_order_of_modules_changes_nothing():
    a, b, c = nn.Linear(3, 2), nn.Linear(2, 4), nn.BatchNorm1d(2)
    one, two = nn.Module(), nn.Module()
    one.a, one.b, one.c = a, b, c
    two.c, two.b, two.a = c, b, a
    assert initpolicy.digest(one) == initpolicy.digest(two)
    two.a, two.b = b, a
    assert initpolicy.digest(one) != initpolicy.digest(two)


def test_names_are_sorted_by_their_bytes():
    named = {
        name: torch.tensor(float(k))
        for k, name in enumerate(["b", "B", "a.1", "ä", "\U0001f600", "\uffee"])
    }
    assert initpolicy.digest(named) == reference_of_all(named)
    assert list(digests.digests(named)) == sorted(named, key=str.encode)


@pytest.fixture
def saved(tmp_path):
    """A model in every kind of checkpoint."""
    model = Tied()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    once = {name: tensor for name, tensor in state.items() if name != "head.weight"}
    save_file(once, tmp_path / "one.safetensors")
    torch.save(model.state_dict(), tmp_path / "tied.pt")
    torch.save(model.state_dict(), tmp_path / "old.bin", _use_new_zipfile_serialization=False)
    for kind, ending in (("safe", "safetensors"), ("bin", "bin")):
        folder = tmp_path / kind
        folder.mkdir()
        places = {}
        for k, names in enumerate([list(once)[::2], list(once)[1::2]]):
            shard = f"model-{k + 1:05}-of-00002.{ending}"
            some = {name: once[name] for name in names}
            (save_file if kind == "safe" else torch.save)(some, folder / shard)
            places |= dict.fromkeys(names, shard)
        index = {"metadata": {}, "weight_map": places}
        (folder / f"model.{ending}.index.json").write_text(json.dumps(index))
    return model, tmp_path


PATHS = [
    "one.safetensors", "tied.pt", "old.bin", "safe", "bin", "safe/model.safetensors.index.json",
    "bin/model.bin.index.json",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_a_checkpoint_has_the_digest_of_its_model(saved, path):
    model, folder = saved
    assert digests.digests(folder / path) == digests.digests(model)
    assert initpolicy.digest(str(folder / path)) == initpolicy.digest(model)


def test_an_index_says_which_file_counts(tmp_path):
    save_file({"a": torch.zeros(2), "b": torch.zeros(2)}, tmp_path / "1.safetensors")
    save_file({"b": torch.ones(2), "c": torch.ones(2)}, tmp_path / "2.safetensors")
    index = {"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    wanted = {"a": torch.zeros(2), "b": torch.ones(2)}
    assert initpolicy.digest(tmp_path) == reference_of_all(wanted)


def test_a_state_dict_has_the_digest_of_its_model():
    model = Tied()
    state = model.state_dict() | {"_extra_state": {"anything": 1}}
    assert initpolicy.digest(state) == initpolicy.digest(model)


def test_a_file_of_a_tied_model_is_named_as_it_is(tmp_path):
    """safetensors keeps the alphabetically first name of a tied tensor, which may be another."""
    model = nn.Module()
    model.wte, model.head = nn.Embedding(5, 3), nn.Linear(3, 5, bias=False)
    model.head.weight = model.wte.weight
    save_model(model, str(tmp_path / "model.safetensors"))
    assert list(digests.digests(model)) == ["wte.weight"]
    assert digests.digests(tmp_path) == {"head.weight": digests.of_tensor(model.wte.weight)}


def test_a_buffer_that_a_file_holds_under_its_second_name_alone():
    model = nn.Sequential(nn.Module(), nn.Module())
    model[0].register_buffer("a", torch.ones(2), persistent=False)
    model[1].register_buffer("b", model[0].a)
    assert digests.digests(model) == digests.digests(model.state_dict())


def test_types_that_only_files_have(tmp_path):
    kinds = [torch.uint16, torch.uint32, torch.uint64, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz]
    named = {str(kind): torch.arange(6, dtype=torch.uint8).to(kind) for kind in kinds}
    save_file(named, tmp_path / "model.safetensors")
    assert initpolicy.digest(tmp_path / "model.safetensors") == reference_of_all(named)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's accounts")
@pytest.mark.parametrize("ending", ["safetensors", "pt"])
def test_a_file_is_never_copied_into_memory(tmp_path, ending):
    def anonymous():
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))

    save = save_file if ending == "safetensors" else torch.save
    save({"a": torch.zeros(1 << 24), "b": torch.ones(1 << 12)}, tmp_path / f"x.{ending}")
    initpolicy.digest({"warm": torch.zeros(2)})
    seen = []
    before = anonymous()
    digests.digests(tmp_path / f"x.{ending}", progress=lambda _: seen.append(anonymous()))
    assert max(seen) - before < 8 << 10  # KiB, of a file of 64 MiB


# Problems, word by word.


def test_tensors_without_values():
    model = nn.Linear(2, 3, device="meta")
    assert told(model) == (
        'IP501 2 of 2 tensors have no values: bias, weight; give `apply` a `device="cpu"`'
    )
    assert told(nn.LazyLinear(2)) == (
        "IP501 2 of 2 tensors have no values: bias, weight; call the model once on an example input"
    )


def test_tensors_without_plain_memory():
    assert told({"a": torch.eye(2).to_sparse(), "b": torch.ones(1)}) == (
        "IP503 a has no plain memory to read: it is torch.sparse_coo"
    )
    rough = torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)
    assert told({"a": rough}) == "IP503 a has no plain memory to read: it is quantized"


def test_a_class_of_its_own():
    class Named(torch.Tensor):
        pass

    class Elsewhere(torch.Tensor):
        @classmethod
        def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
            raise NotImplementedError

    values = torch.randn(3)
    assert digests.of_tensor(values.as_subclass(Named)) == reference(values)
    other = torch.Tensor._make_wrapper_subclass(Elsewhere, (2,))
    assert told({"a": other}) == "IP503 a has no plain memory to read: it is Elsewhere"


@pytest.mark.parametrize(("source", "name"), [(torch.ones(2), "Tensor"), (None, "NoneType")])
def test_what_is_no_model(source, name):
    assert told(source) == (
        f"IP504 a value of type {name} has no digest; "
        "give a model, a dictionary of tensors, or the path of a file"
    )


def test_files_that_cannot_be_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert told("x.safetensors") == (
        "IP504 x.safetensors cannot be read: there is no such file or folder"
    )
    Path("x.safetensors").write_bytes(b"no")
    assert told("x.safetensors").startswith(
        "IP504 x.safetensors is no safetensors file, or is damaged: "
    )
    torch.save(nn.Linear(2, 2), "x.pt")
    assert told("x.pt") == (
        "IP504 x.pt holds more than tensors, and is not read because that could run code; "
        "save the state dict alone, or as safetensors"
    )
    Path("none").mkdir()
    assert told("none") == (
        "IP504 none has no checkpoint; a checkpoint's name ends in .safetensors, .index.json, "
        ".pt, .pth, .bin, .ckpt"
    )
    Path("two").mkdir()
    Path("two/a.pt").touch()
    Path("two/b.pt").touch()
    index = {"weight_map": {"a": "missing.safetensors"}}
    Path("model.safetensors.index.json").write_text(json.dumps(index))
    assert told("model.safetensors.index.json") == (
        "IP504 model.safetensors.index.json says that missing.safetensors has `a`, "
        "and there is no such file"
    )
    assert told("two") == "IP504 two has 2 checkpoints: a.pt, b.pt; name one of them"


if __name__ == "__main__":
    print(json.dumps(golden(), indent=4), digests.combined(golden()))
