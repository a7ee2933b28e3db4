"""Tensors in files: what a file holds, read from its header, and one tensor at a time.

Read are safetensors, the index of a sharded checkpoint (`*.index.json`), and what `torch.save`
wrote, as far as it holds tensors and nothing that could run code.
"""

# The stubs of safetensors and torch leave these functions without types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import json
import os
import pickle
import stat
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from initpolicy.laws.base import LawError
from initpolicy.problems import listed, suggest

PICKLES = (".pt", ".pth", ".bin", ".ckpt")
LARGEST_INDEX = 1 << 28  # bytes
LARGEST_REPEATED = 1 << 30  # bytes of a tensor that are fewer in the file
DEEPEST_TABLE = 32  # in one another, in a file of torch.save
MOST_NAMES = 1 << 18  # of tensors and tables

_TYPES = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "U16": torch.uint16,
    "U32": torch.uint32,
    "U64": torch.uint64,
    "I8": torch.int8,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
    "C64": torch.complex64,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
}


class FileError(LawError):
    """A file that cannot be read, or a tensor that it does not hold."""


@dataclass(frozen=True)
class Stored:
    """What the header says of one tensor."""

    shape: tuple[int, ...]
    dtype: torch.dtype


def stored(path: str, key: str) -> Stored:
    """Look up a tensor in the header of a file; raises `FileError` if it is not there."""
    found = header(path).get(key)
    if found is None:
        near = suggest(key, header(path))
        raise FileError(
            f"{path} has no tensor `{key}`",
            hint=f"near it are {listed(near)}" if near else f"it has {listed(header(path), 4)}",
        )
    return found


def header(path: str) -> Mapping[str, Stored]:
    """Every tensor of a file; reads its header alone, and that once. Raises `FileError`."""
    return _header(path, _stamp(path))


def load(path: str, key: str, rows: tuple[int, int] | None = None) -> Tensor:
    """Read one tensor, or some of its rows; raises `FileError`."""
    stored(path, key)
    if path.endswith(".json"):
        path = _shards(path, _stamp(path))[key]
    if path.endswith(PICKLES):
        whole = _pickled(path, _stamp(path))[key]
        return whole if rows is None else whole[slice(*rows)]
    with _opened(path) as file:
        return _taken(path, file, key, rows)


def tensors(path: str) -> Iterator[tuple[str, Tensor]]:
    """Give every tensor of a file, mapped into memory and not read; raises `FileError`."""
    names = header(path)
    if path.endswith(".json"):
        places = _shards(path, _stamp(path))
        for shard in dict.fromkeys(places.values()):
            for key, tensor in tensors(shard):
                if places.get(key) == shard:
                    yield key, tensor
    elif path.endswith(PICKLES):
        yield from _pickled(path, _stamp(path)).items()
    else:
        with _opened(path) as file:
            for key in names:
                yield key, _taken(path, file, key, None)


def checkpoint_in(folder: str) -> str:
    """Find the checkpoint of a folder: an index before what it lists; raises `FileError`."""
    try:
        names = sorted(file.name for file in Path(folder).iterdir() if file.is_file())
    except OSError as error:
        raise FileError(f"{folder} cannot be read: {error.strerror}") from None
    for ending in (".safetensors.index.json", ".safetensors", ".index.json", *PICKLES):
        found = [name for name in names if name.endswith(ending)]
        if len(found) > 1:
            raise FileError(
                f"{folder} has {len(found)} checkpoints: {listed(found)}", hint="name one of them"
            )
        if found:
            return str(Path(folder) / found[0])
    raise FileError(
        f"{folder} has no checkpoint",
        hint=f"a checkpoint's name ends in .safetensors, .index.json, {', '.join(PICKLES)}",
    )


YOUNGEST_KEPT = 100_000_000  # nanoseconds since a file changed: clocks of file systems are coarse


@dataclass(frozen=True)
class _Stamp:
    """What changes when a file does."""

    device: int
    number: int
    changed: int
    size: int
    read: int  # when a file changed just now it may change again unseen, so that this differs too


def _stamp(path: str) -> _Stamp:
    try:
        found = os.stat(path)
    except (OSError, ValueError) as error:
        told = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise FileError(
            f"{path} cannot be read: {told}",
            hint="a path starts from the folder of the policy's file",
        ) from None
    if not stat.S_ISREG(found.st_mode):  # to read a pipe may never end
        raise FileError(f"{path} cannot be read: it is no file")
    now = time.time_ns()
    young = abs(now - found.st_mtime_ns) < YOUNGEST_KEPT
    return _Stamp(found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size, now if young else 0)


@lru_cache(maxsize=64)
def _header(path: str, stamp: _Stamp) -> Mapping[str, Stored]:
    if path.endswith(".json"):
        return _sharded(path, stamp)
    if path.endswith(PICKLES):
        whole = _pickled(path, stamp)
        return {key: Stored(tuple(tensor.shape), tensor.dtype) for key, tensor in whole.items()}
    if not path.endswith(".safetensors"):
        raise FileError(
            f"{path} is of no kind that is known",
            hint=f"its name must end in .safetensors, .index.json, {', '.join(PICKLES)}",
        )
    with _opened(path) as file:
        keys: list[str] = list(file.keys())
        slices = [file.get_slice(key) for key in keys]
        return {
            key: Stored(tuple(one.get_shape()), _type_of(path, key, one.get_dtype()))
            for key, one in zip(keys, slices, strict=True)
        }


def _taken(path: str, file: Any, key: str, rows: tuple[int, int] | None) -> Tensor:
    """Read a tensor, or its rows, from an open file."""
    try:
        taken = file.get_tensor(key) if rows is None else file.get_slice(key)[slice(*rows)]
    except Exception as error:  # of several types, for sizes that torch has not
        raise FileError(f"{path}: `{key}` cannot be read: {_first_line(error)}") from None
    return cast("Tensor", taken)


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _type_of(path: str, key: str, name: str) -> torch.dtype:
    if name not in _TYPES:
        raise FileError(f"{path}: `{key}` is of the type {name}, which is not known")
    return _TYPES[name]


def _opened(path: str) -> Any:
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(path, framework="pt")
    except SafetensorError as error:
        raise FileError(f"{path} is no safetensors file, or is damaged: {error}") from None
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error}") from None


def _sharded(path: str, stamp: _Stamp) -> Mapping[str, Stored]:
    found: dict[str, Stored] = {}
    for key, shard in _shards(path, stamp).items():
        if not os.path.isfile(shard):
            raise FileError(f"{path} says that {shard} has `{key}`, and there is no such file")
        own = header(shard)
        if key not in own:
            raise FileError(f"{path} says that {shard} has `{key}`, and it has not")
        found[key] = own[key]
    return found


@lru_cache(maxsize=16)
def _shards(path: str, stamp: _Stamp) -> Mapping[str, str]:
    """The file of each key; shards lie beside their index."""
    if stamp.size > LARGEST_INDEX:
        raise FileError(f"{path} is larger than {LARGEST_INDEX:,} bytes, as no index is")
    try:
        names: Any = json.loads(Path(path).read_text(encoding="utf-8"))["weight_map"]
        shards = {str(key): str(name) for key, name in names.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise FileError(f"{path} is no index of a sharded checkpoint: no `weight_map`") from None
    for name in shards.values():
        if Path(name).name != name or name in ("", ".."):
            raise FileError(f"{path} names the shard `{name}`, which does not lie beside it")
        if name.endswith(".json"):  # it might name this one
            raise FileError(f"{path} names the shard `{name}`, which would be an index itself")
    return {key: str(Path(path).parent / name) for key, name in shards.items()}


@lru_cache(maxsize=2)
def _pickled(path: str, stamp: _Stamp) -> Mapping[str, Tensor]:
    try:
        try:
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError:  # of the older format, or damaged
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise FileError(
            f"{path} holds more than tensors, and is not read because that could run code",
            hint="save the state dict alone, or as safetensors",
        ) from None
    except Exception as error:  # torch raises what the damage happens to lead to
        told = f"{path} was not written by torch.save, or is damaged: {_first_line(error)}"
        raise FileError(told) from None
    found: dict[str, Tensor] = {}
    for name, tensor in _flat(path, content):
        _check_size(path, name, tensor)
        found[name] = tensor
    return found


def _flat(path: str, content: object) -> Iterator[tuple[str, Tensor]]:
    """Give the tensors of tables within tables, which may be in themselves or in many others."""
    waiting = [("", 0, content)]
    met = 0
    while waiting:
        name, depth, one = waiting.pop()
        met += 1
        if depth > DEEPEST_TABLE or met > MOST_NAMES:
            raise FileError(f"{path} has tables in tables without end")
        if isinstance(one, Tensor):
            yield name, one.detach()
        elif isinstance(one, Mapping):
            items = list(cast("Mapping[object, object]", one).items())
            inside = [(f"{name}.{key}" if depth else str(key), depth + 1, of) for key, of in items]
            waiting += reversed(inside)


def _check_size(path: str, name: str, tensor: Tensor) -> None:
    """Raise `FileError` for a tensor that repeats a few bytes until they would fill any memory."""
    if tensor.layout is not torch.strided or tensor.is_meta:
        return
    size = tensor.numel() * tensor.dtype.itemsize
    if size > max(LARGEST_REPEATED, tensor.untyped_storage().nbytes()):
        raise FileError(f"{path}: `{name}` is {size:,} bytes large, and the file has not as many")
