"""Checkpoints that lie, of which some were once met with a traceback, or read without end."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import initpolicy
from initpolicy.problems import InitPolicyError


def refused(file: Path) -> str:
    """What is said of a file of which there is no digest."""
    before = sorted(os.listdir(file.parent))
    with pytest.raises(InitPolicyError) as caught:
        initpolicy.digest(file)
    assert sorted(os.listdir(file.parent)) == before
    assert [problem.code for problem in caught.value.problems] == ["IP504"]
    return caught.value.problems[0].message


def tensor(shape: list[int], *offsets: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": list(offsets)}


def safetensors(folder: Path, header: object, values: bytes = bytes(8)) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    file = folder / "model.safetensors"
    file.write_bytes(struct.pack("<Q", len(text)) + text + values)
    return file


def test_a_header_that_is_true(tmp_path: Path) -> None:
    file = safetensors(tmp_path, {"a": tensor([2], 0, 8)})
    assert initpolicy.digest(file) == initpolicy.digest({"a": torch.zeros(2)})


@pytest.mark.parametrize(
    "header",
    [
        {"a": tensor([3], 0, 8)},
        {"a": tensor([2], 8, 0)},
        {"a": tensor([2], 0, 2**64 - 1)},
        {"a": tensor([2], 0, 2**70)},
        {"a": tensor([-2], 0, 8)},
        {"a": tensor([2**63 - 1], 0, 8)},
        {"a": tensor([2**40, 2**40], 0, 8)},
        {"a": tensor([2], 0, 8, dtype="F33")},
        {"a": tensor([16], 0, 8, dtype="F4")},
        {"a": tensor([2], 0, 8), "b": tensor([2], 0, 8)},
        {"a": tensor([1], 4, 8)},
        {"a": tensor([0, 2**63 + 5], 0, 0), "b": tensor([2], 0, 8)},
        {"__metadata__": {"a": 1}},
        b'{"a":' * 50_000,
        b"[" * 100_000,
        b"",
        b"\xff" * 8,
    ],
)
def test_a_header_that_lies(tmp_path: Path, header: object) -> None:
    refused(safetensors(tmp_path, header))


@pytest.mark.parametrize("length", [0, 1, 7, 2**31, 2**63, 2**64 - 1])
def test_a_length_that_lies(tmp_path: Path, length: int) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(struct.pack("<Q", length) + b"{}")
    refused(file)


@pytest.mark.parametrize("kept", [0, 1, 7, 8, 9, 50, -1])
def test_a_file_that_was_cut(tmp_path: Path, kept: int) -> None:
    file = safetensors(tmp_path, {"a": tensor([2], 0, 8)})
    file.write_bytes(file.read_bytes()[:kept])
    refused(file)


@pytest.mark.parametrize("name", ["a.safetensors", "a.pt", "a.safetensors.index.json"])
def test_what_is_no_file(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    assert refused(tmp_path / name).endswith("it is no file")
    (tmp_path / f"folder.{name}").mkdir()
    assert refused(tmp_path / f"folder.{name}").endswith("has no checkpoint")
    (tmp_path / f"circle.{name}").symlink_to(f"circle.{name}")
    refused(tmp_path / f"circle.{name}")


def index(folder: Path, content: object) -> Path:
    file = folder / "model.safetensors.index.json"
    file.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return file


@pytest.mark.parametrize(
    "shard",
    [
        "../outside.safetensors",
        "../../../../etc/passwd",
        "/etc/passwd",
        "..",
        ".",
        "",
        "\ud800.safetensors",
        "a\0.safetensors",
        "a" * 5000 + ".safetensors",
        "pipe.safetensors",
        "model.safetensors.index.json",
        "other.index.json",
    ],
)
def test_an_index_that_names_what_it_may_not(tmp_path: Path, shard: str) -> None:
    folder = tmp_path / "inside"
    folder.mkdir()
    save_file({"a": torch.zeros(2)}, tmp_path / "outside.safetensors")
    os.mkfifo(folder / "pipe.safetensors")
    whole = {"weight_map": {"a": "model.safetensors.index.json"}}
    (folder / "other.index.json").write_text(json.dumps(whole))
    refused(index(folder, {"weight_map": {"a": shard}}))


@pytest.mark.parametrize(
    "content", [b"", b"1" * 10_000, b'{"weight_map":' * 50_000, [1], {"weight_map": [1]}, b"\xff"]
)
def test_an_index_that_is_none(tmp_path: Path, content: object) -> None:
    refused(index(tmp_path, content))


def test_an_index_that_is_too_large(tmp_path: Path) -> None:
    file = index(tmp_path, {"weight_map": {}})
    os.truncate(file, 1 << 40)  # which takes no room on a disk
    assert "larger than" in refused(file)


def saved(folder: Path, content: object, new: bool) -> Path:
    torch.save(content, folder / "model.pt", _use_new_zipfile_serialization=new)
    return folder / "model.pt"


@pytest.mark.parametrize("new", [True, False])
def test_a_table_that_is_in_itself(tmp_path: Path, new: bool) -> None:
    table: dict[str, Any] = {}
    table["a"] = table
    assert refused(saved(tmp_path, table, new)).endswith("tables in tables without end")


def test_tables_that_double_at_each_step(tmp_path: Path) -> None:
    table: dict[str, Any] = {"a": torch.zeros(1)}
    for _ in range(30):
        table = {"a": table, "b": table}
    assert refused(saved(tmp_path, table, True)).endswith("tables in tables without end")


@pytest.mark.parametrize("new", [True, False])
def test_a_tensor_that_repeats_one_value_without_end(tmp_path: Path, new: bool) -> None:
    file = saved(tmp_path, {"a": torch.zeros(1).expand(2**40)}, new)
    assert "`a` is 4,398,046,511,104 bytes large" in refused(file)
    assert initpolicy.digest(saved(tmp_path, {"a": torch.zeros(1).expand(4)}, new))


@pytest.mark.parametrize("new", [True, False])
def test_a_file_that_would_run_code(tmp_path: Path, new: bool) -> None:
    class Harm:
        def __reduce__(self) -> tuple[Any, ...]:
            return open, (str(tmp_path / "harm"), "w")

    assert "could run code" in refused(saved(tmp_path, {"a": Harm()}, new))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"abc",
        b"PK\3\4" + bytes(100),
        b"PK\5\6" + bytes(18),
        b"\x80\x02.",
        b"\x80\x02h\x05.",
        b"\x80\x02\x85.",
        b"\x80\x02B\xff\xff\xff\x7f",
        b"\x80\x02I" + b"1" * 10_000 + b"\n.",
        b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
    ],
)
def test_what_torch_never_saved(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.pt").write_bytes(content)
    refused(tmp_path / "model.pt")


@pytest.mark.parametrize("cut", [1, 40, 400])
@pytest.mark.parametrize("new", [True, False])
def test_a_saved_file_that_was_cut(tmp_path: Path, cut: int, new: bool) -> None:
    buffer = io.BytesIO()
    torch.save({"a": torch.ones(3)}, buffer, _use_new_zipfile_serialization=new)
    (tmp_path / "model.pt").write_bytes(buffer.getvalue()[:-cut])
    refused(tmp_path / "model.pt")


WORST = """
import resource, sys
import torch, initpolicy
from initpolicy.problems import InitPolicyError

used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30),) * 2)
for file in sys.argv[1:]:
    try:
        initpolicy.digest(file)
    except InitPolicyError as error:
        print(error.problems[0].code)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited as Linux does it")
def test_the_worst_is_refused_with_a_gigabyte_of_memory(tmp_path: Path) -> None:
    table: dict[str, Any] = {"a": torch.zeros(1)}
    for _ in range(30):
        table = {"a" * 100: table, "b": table}
    contents = {"expanded": {"a": torch.zeros(1).expand(2**50)}, "doubled": table}
    for name, content in contents.items():
        torch.save(content, tmp_path / f"{name}.pt")
    header = tmp_path / "header.safetensors"
    header.write_bytes(struct.pack("<Q", 2**63) + b"{}")
    os.truncate(index(tmp_path, {}), 1 << 40)
    files = sorted(map(str, tmp_path.iterdir()))
    command = [sys.executable, "-c", WORST, *files]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ran.stdout.split() == ["IP504"] * 4, ran.stderr
