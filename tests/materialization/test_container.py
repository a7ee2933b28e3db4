"""Headers, against what safetensors writes itself."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load, save

from initpolicy.materialization.container import TYPES, Entry, bytes_in, header, ordered
from initpolicy.plans import Plan

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=8).filter(
    lambda name: name != "__metadata__"
)
shapes = st.lists(st.integers(0, 3), max_size=3).map(tuple)


def with_sorted_metadata(file: bytes) -> bytes:
    """What safetensors wrote, but for the order of the metadata, which is another each time."""
    size = int.from_bytes(file[:8], "little")
    content = json.loads(file[8 : 8 + size])
    if "__metadata__" in content:
        content["__metadata__"] = dict(sorted(content["__metadata__"].items()))
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()
    assert len(text) <= size
    return file[:8] + text.ljust(size) + file[8 + size :]


@given(
    st.dictionaries(names, st.tuples(shapes, st.sampled_from(list(TYPES))), max_size=6),
    st.dictionaries(names, names, max_size=4),
    st.randoms(use_true_random=False),
)
def test_the_bytes_are_those_of_safetensors(tensors, metadata, random) -> None:
    made = {
        name: torch.frombuffer(
            bytearray(random.randbytes(16 * 27)), dtype=torch.uint8
        ).view(dtype)[: torch.Size(shape).numel()].view(shape)
        for name, (shape, dtype) in tensors.items()
    }  # fmt: skip
    entries = ordered(Entry(name, tuple(t.shape), t.dtype) for name, t in made.items())
    ours = header(entries, metadata)
    for entry in entries:
        ours += bytes(bytes_in(made[entry.name].contiguous()))
    assert ours == with_sorted_metadata(save(made, metadata or None))


def test_metadata_are_in_order_and_may_hold_any_text() -> None:
    plan = Plan((), 7, "dir\udcff/policy.toml", 'a "title"\n')
    from initpolicy.materialization.container import origin

    file = header([], origin(plan))
    assert json.loads(file[8:])["__metadata__"] == {
        "draws": "1",
        "format": "pt",
        "policy": "dir\\udcff/policy.toml",
        "seed": "7",
        "title": 'a "title"\n',
    }
    assert list(json.loads(file[8:])["__metadata__"]) == [
        "draws", "format", "policy", "seed", "title",
    ]  # fmt: skip
    assert load(file) == {}


@pytest.mark.parametrize("dtype", list(TYPES))
def test_every_type_is_read_back(dtype: torch.dtype) -> None:
    entry = Entry("t", (2,), dtype)
    bits = bytes(range(entry.size))
    assert load(header([entry], {}) + bits)["t"].dtype == dtype
