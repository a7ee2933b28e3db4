"""Which tensor lies in which file, against huggingface_hub; and shares of several processes."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from initpolicy.laws import Constant, Normal
from initpolicy.materialization.container import Entry
from initpolicy.materialization.layout import (
    Given,
    bytes_of,
    digest,
    lay_out,
    share_out,
    split,
    type_of,
)
from initpolicy.plans import Plan
from initpolicy.problems import InitPolicyError

sizes = st.lists(st.integers(0, 40), max_size=12)
ZERO = Constant(0.0)
PLAN = Plan((), 3, "policy.toml")


def tensors(numbers: list[int], law=ZERO) -> list[Given]:
    return [
        Given(Entry(f"t{i}", (number,), torch.float32), law, f"t{i}")
        for i, number in enumerate(numbers)
    ]


@given(sizes, st.integers(1, 200))
def test_files_are_those_of_huggingface_hub(numbers, limit) -> None:
    hub = pytest.importorskip("huggingface_hub")
    state = {f"t{i}": torch.empty(number, device="meta") for i, number in enumerate(numbers)}
    theirs = hub.split_torch_state_dict_into_shards(state, max_shard_size=limit)
    groups = split(tensors(numbers), limit)
    if numbers:
        assert [[one.entry.name for one in group] for group in groups] == list(
            theirs.filename_to_tensors.values()
        )
        layout = lay_out(PLAN, tensors(numbers), limit)
        assert [file.name for file in layout.files] == list(theirs.filename_to_tensors)
        if layout.index is not None:
            index = json.loads(layout.index)
            assert index["weight_map"] == theirs.tensor_to_filename
            assert index["metadata"]["total_size"] == theirs.metadata["total_size"]
        assert (layout.index is not None) == theirs.is_sharded
    else:
        assert groups == [[]]


@given(sizes.filter(bool), st.integers(1, 100), st.integers(1, 9))
def test_every_file_is_written_by_one_process(numbers, limit, world) -> None:
    files = lay_out(PLAN, tensors(numbers), limit).files
    shares = [share_out(files, rank, world) for rank in range(world)]
    assert sorted(file.name for share in shares for file in share) == [f.name for f in files]
    loads = [sum(file.size for file in share) for share in shares]
    # Whoever has most got its last file when it had least.
    assert max(loads) - min(loads) <= max(file.size for file in files)


def test_the_digest_changes_with_whatever_changes_a_byte() -> None:
    one = tensors([3, 4], Normal(0.0, 1.0))
    found = [
        digest(PLAN, one),
        digest(Plan((), 4, "policy.toml"), one),
        digest(PLAN, tensors([3, 5], Normal(0.0, 1.0))),
        digest(PLAN, tensors([3, 4], Normal(0.0, 2.0))),
        digest(PLAN, one[:1]),
        digest(PLAN, [Given(item.entry, item.law, "other") for item in one]),
        digest(
            PLAN,
            [
                Given(Entry(x.entry.name, x.entry.shape, torch.float16), x.law, x.stream)
                for x in one
            ],
        ),
    ]
    assert len(set(found)) == len(found)
    assert digest(Plan((), 3, "elsewhere.toml", "title"), one) == found[0]


@given(st.integers(1, 10**6), st.sampled_from(["KB", "mb", "Gb", "TB", "KiB", "MIB", "gib", "TiB"]))
def test_sizes(number, unit) -> None:
    base = 1024 if "i" in unit.lower() else 1000
    power = "kmgt".index(unit[0].lower()) + 1
    assert bytes_of(f"{number}{unit}") == bytes_of(f" {number} {unit} ") == number * base**power
    assert bytes_of(number) == bytes_of(str(number)) == bytes_of(f"{number}B") == number


NO_SIZES = ["", "5XB", "GB", "-5GB", "0", 0, -1, True, "0.5B", "1e3", "५GB", "9" * 5000]


@pytest.mark.parametrize("size", NO_SIZES)
def test_what_is_no_size(size) -> None:
    with pytest.raises(InitPolicyError) as raised:
        bytes_of(size)
    assert str(raised.value) == (
        f'IP514 {size!r} is no size; write "5GB", "5GiB" or a number of bytes'
    )


def test_types() -> None:
    assert type_of("bfloat16") == type_of(torch.bfloat16) == torch.bfloat16
    for name in ("int8", "nn", "bf16", torch.int64):
        with pytest.raises(InitPolicyError, match=f"IP513 {name} is no floating-point type"):
            type_of(name)
