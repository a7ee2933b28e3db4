"""Digests of models, state dicts and files, of tensors, and of the sums of their elements."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from initpolicy import field
from initpolicy.digests import ranks
from initpolicy.laws import files, runs_of
from initpolicy.model import Inventory, ModelError, is_sharded, mesh_of, shard_of
from initpolicy.model.sharding import Shard
from initpolicy.problems import InitPolicyError, Problem, listed
from initpolicy.resolve import read_model

VERSION = 1
"""The version of everything in docs/digest.md. It enters every digest."""

Source = nn.Module | Mapping[str, Any] | str | os.PathLike[str]
"""A model, a state dict, the file of a checkpoint, or the folder of one."""

Progress = Callable[[int], None]


def digest(source: Source, *, threads: int | None = None, progress: Progress | None = None) -> str:
    """Give one hash of all values that a checkpoint of a model holds; `tensors_of` says which.

    >>> model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    >>> digest(model) == digest(model.state_dict())
    True
    """
    return combined(digests(source, threads=threads, progress=progress))


def digests(
    source: Source, *, threads: int | None = None, progress: Progress | None = None
) -> dict[str, str]:
    """Give the digest of each tensor that `tensors_of` gives, sorted by name.

    Raises `InitPolicyError` as these two do.
    """
    return of_tensors(tensors_of(source), threads=threads, progress=progress)


def tensors_of(source: Source, inventory: Inventory | None = None) -> dict[str, Tensor]:
    """Give what a checkpoint holds, each tensor once.

    Of a model these are its parameters and persistent buffers under their canonical names; of a
    parametrized module the originals, and not what is computed from them. Of a state dict or a
    file it is what is there, a tensor of several names under the first. `inventory` is that of
    the model, if it has been read. Raises `InitPolicyError` if a file cannot be read.

    >>> layer = nn.utils.parametrizations.weight_norm(nn.Linear(2, 3, bias=False))
    >>> [(name, tuple(tensor.shape)) for name, tensor in tensors_of(layer).items()]
    [('parametrizations.weight.original0', (3, 1)), ('parametrizations.weight.original1', (3, 2))]
    """
    if isinstance(source, nn.Module):
        slots = (inventory or read_model(source)).slots
        named = (([s.name for s in slot.sites if s.persistent], slot.tensor) for slot in slots)
        return {names[0]: tensor for names, tensor in named if names}
    if isinstance(source, Mapping):
        return _each_once((k, v) for k, v in source.items() if isinstance(v, Tensor))
    if not isinstance(cast("object", source), str | os.PathLike):
        message = f"a value of type {type(source).__name__} has no digest"
        hint = "give a model, a dictionary of tensors, or the path of a file"
        raise InitPolicyError(Problem("IP504", message, hint))
    path = os.fspath(source)
    try:
        if not os.path.exists(path):
            raise files.FileError(f"{path} cannot be read: there is no such file or folder")
        return _each_once(files.tensors(files.checkpoint_in(path) if os.path.isdir(path) else path))
    except files.FileError as error:
        raise InitPolicyError(Problem("IP504", error.message, error.hint)) from error


def _each_once(named: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    seen: set[Hashable] = set()
    found: dict[str, Tensor] = {}
    for name, tensor in named:
        view = _view(tensor)
        if view not in seen:
            found[name] = tensor
            seen.add(view)
    return found


def _view(tensor: Tensor) -> Hashable:
    """What is equal for two tensors that are the same elements of the same memory."""
    local = cast("Any", tensor).to_local() if is_sharded(tensor) else tensor
    if not _is_plain(local) or local.is_meta or not local.numel():
        return id(tensor)
    return local.data_ptr(), local.device, local.dtype, tensor.shape, local.shape, local.stride()


def of_tensor(tensor: Tensor, *, threads: int | None = None) -> str:
    """Give the digest of one tensor; raises as `of_tensors` does.

    >>> of_tensor(torch.zeros(3)) == of_tensor(torch.zeros(6)[::2])
    True
    >>> of_tensor(torch.zeros(3)) == of_tensor(-torch.zeros(3))
    False
    """
    return of_tensors({"the tensor": tensor}, threads=threads)["the tensor"]


def of_tensors(
    tensors: Mapping[str, Tensor],
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> dict[str, str]:
    """Give the digest of each tensor, sorted by name.

    Of a `DTensor` each process reads what it holds, and all processes that hold parts of it must
    call this. `threads` is how many may read, and `progress` is told the bytes just read. Raises
    `InitPolicyError` for tensors without values or without plain memory and, in all processes, if
    that happened in one of them, or if what should be copies of one tensor differ.
    """
    names = sorted(tensors, key=_bytes)
    shards, problems = _examined(names, tensors)
    meshes = [mesh_of(tensors[name]) for name in names if is_sharded(tensors[name])]
    ranks.settle(meshes, shards, problems)
    jobs = [_elements(tensors[name], shards.get(name)) for name in names]
    sums = field.sums(jobs, threads=threads, progress=progress)
    ranks.reduce(sums, names, shards)
    found = zip(names, sums.tolist(), strict=True)
    return {name: of_sums(s, tensors[name].shape, tensors[name].dtype) for name, s in found}


def _examined(
    names: Sequence[str], tensors: Mapping[str, Tensor]
) -> tuple[dict[str, Shard], list[Problem]]:
    """What is held of each `DTensor`, and what stands against reading them all."""
    shards: dict[str, Shard] = {}
    problems: list[Problem] = []
    empty: list[str] = []
    for name in names:
        tensor = tensors[name]
        try:
            if is_lazy(tensor) or tensor.is_meta:
                empty.append(name)
            elif shard := shard_of(tensor, name):
                shards[name] = shard
            elif not _is_plain(tensor):
                what = f"{name} has no plain memory to read: it is {_kind(tensor)}"
                problems.append(Problem("IP503", what))
        except ModelError as error:
            problems.append(Problem("IP503", error.message, error.hint))
    elsewhere = [name for name, shard in shards.items() if shard.mesh.get_coordinate() is None]
    if elsewhere:
        message = f"this rank holds nothing of the mesh of {listed(elsewhere)}"
        problems.append(Problem("IP503", message, "take the digests on the ranks of that mesh"))
    if empty:
        message = f"{len(empty)} of {len(names)} tensors have no values: {listed(empty)}"
        lazy = any(is_lazy(tensors[name]) for name in empty)
        hint = (
            "call the model once on an example input" if lazy else 'give `apply` a `device="cpu"`'
        )
        problems.append(Problem("IP501", message, hint))
    return shards, problems


def _is_plain(tensor: Tensor) -> bool:
    """Whether the elements lie in memory as the type says."""
    if tensor.layout is not torch.strided or tensor.is_quantized:
        return False
    own = getattr(type(tensor), "__torch_dispatch__", None)  # of classes that keep it elsewhere
    return own is getattr(Tensor, "__torch_dispatch__", None)


def _kind(tensor: Tensor) -> str:
    """What a tensor is that is not plain."""
    if tensor.is_quantized:
        return "quantized"
    return type(tensor).__name__ if tensor.layout is torch.strided else str(tensor.layout)


def _elements(tensor: Tensor, shard: Shard | None) -> field.Elements:
    if shard is None:
        return field.Elements(tensor)
    return field.Elements(shard.local, runs_of(shard))


def of_sums(sums: Sequence[int], shape: Sequence[int], dtype: torch.dtype) -> str:
    """Give the digest of a tensor from both sums over its elements, as `field.sums` gives them.

    For engines that share tensors out in a way of their own: the sums of parts are added.

    >>> whole = torch.arange(6.0)
    >>> part = field.Elements(whole[2:], field.Runs.one(2, 6))
    >>> total = field.sums([field.Elements(whole[:2]), part]).sum(0)
    >>> of_sums(total.tolist(), whole.shape, whole.dtype) == of_tensor(whole)
    True
    """
    kind = str(dtype).removeprefix("torch.")
    return _hash("initpolicy tensor", VERSION, kind, len(shape), *shape, *sums)


def combined(digests: Mapping[str, str]) -> str:
    """Give one hash of named digests, such as those of all stages of a pipeline together.

    >>> combined({"a": "00", "b": "11"}) == combined({"b": "11", "a": "00"})
    True
    """
    names = sorted(digests, key=_bytes)
    pairs = [text for name in names for text in (name, digests[name])]
    return _hash("initpolicy model", VERSION, len(names), *pairs)


def _hash(*parts: str | int) -> str:
    """BLAKE2b-128 of numbers of 64 bits, and of texts behind their lengths."""
    message = bytearray()
    for part in parts:
        data = _bytes(part) if isinstance(part, str) else b""
        message += (len(data) if isinstance(part, str) else part).to_bytes(8, "little") + data
    return blake2b(message, digest_size=16).hexdigest()


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
