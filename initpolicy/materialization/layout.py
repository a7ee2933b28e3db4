"""Which tensor lies in which file, decided from a plan alone."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from initpolicy import field
from initpolicy.laws import Law
from initpolicy.materialization.container import Entry, header, ordered, origin
from initpolicy.plans import Plan
from initpolicy.problems import InitPolicyError, Problem

INDEX = "model.safetensors.index.json"
_UNITS = {
    unit: base**power
    for power, prefix in enumerate("KMGT", 1)
    for unit, base in ((f"{prefix}B", 1000), (f"{prefix}IB", 1024))
} | {"": 1, "B": 1}


@dataclass(frozen=True)
class Given:
    """A tensor of a file, and the law that gives its values."""

    entry: Entry
    law: Law
    stream: str
    """The name that its draws are made from."""
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class File:
    """One file of a checkpoint."""

    name: str
    given: tuple[Given, ...]
    """Its tensors, in the order of their bytes."""
    header: bytes

    @cached_property
    def size(self) -> int:
        """Its size in bytes."""
        return len(self.header) + sum(one.entry.size for one in self.given)


@dataclass(frozen=True)
class Layout:
    """The files of a checkpoint, and the index that names them if there are several."""

    files: tuple[File, ...]
    index: bytes | None
    seed: int

    @property
    def size(self) -> int:
        """The size of all files in bytes."""
        return sum(file.size for file in self.files)


def lay_out(plan: Plan, given: Sequence[Given], limit: int) -> Layout:
    """Group tensors into files of at most `limit` bytes of tensors, as huggingface_hub does.

    A tensor that is larger has a file of its own.
    """
    groups = split(given, limit)
    count = len(groups)
    identity = origin(plan) | {"plan": digest(plan, given)}
    files: list[File] = []
    for number, group in enumerate(groups, 1):
        suffix = f"-{number:05d}-of-{count:05d}" if count > 1 else ""
        rows = {one.entry.name: one for one in group}
        inside = tuple(rows[entry.name] for entry in ordered(one.entry for one in group))
        names = {alias: one.entry.name for one in inside for alias in one.aliases}
        metadata = names | identity
        top = header((one.entry for one in inside), metadata)
        files.append(File(f"model{suffix}.safetensors", inside, top))
    index = _index(files, identity["plan"]) if count > 1 else None
    return Layout(tuple(files), index, plan.seed)


def split(given: Sequence[Given], limit: int) -> list[list[Given]]:
    """Give the tensors of each file, in the order of the files; always at least one file."""
    groups: list[list[Given]] = []
    current: list[Given] = []
    filled = 0
    for one in given:
        size = one.entry.size
        if size > limit:
            groups.append([one])
            continue
        if filled + size > limit:
            groups.append(current)
            current, filled = [], 0
        current.append(one)
        filled += size
    if current or not groups:
        groups.append(current)
    return groups


def share_out(files: Sequence[File], rank: int, world: int) -> list[File]:
    """Give the files that one of several processes writes: the largest first, to who has least.

    Every process comes to the same answer, and no file is written by two.
    """
    loads = [0] * world
    mine: list[File] = []
    for file in sorted(files, key=lambda file: (-file.size, file.name)):
        least = loads.index(min(loads))
        loads[least] += file.size
        if least == rank:
            mine.append(file)
    return sorted(mine, key=lambda file: file.name)


def digest(plan: Plan, given: Sequence[Given]) -> str:
    """Name in 32 hexadecimal digits all that decides on the bytes of the tensors.

    It covers the version of the draws, the seed, and each tensor's name, shape, type, stream and
    law; neither the policy's name nor how the tensors are grouped.
    """
    rows = [
        [one.entry.name, list(one.entry.shape), str(one.entry.dtype), one.stream, one.law.to_json()]
        for one in given
    ]
    content = json.dumps([field.DRAW_VERSION, plan.seed, rows], sort_keys=True)
    return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()


def bytes_of(size: int | str) -> int:
    """Read a size: a number of bytes, or a text such as "5GB" (5 * 10^9) or "5GiB" (5 * 2^30).

    >>> bytes_of("1.5 GB"), bytes_of("2kib"), bytes_of(7)
    (1500000000, 2048, 7)
    """
    if isinstance(size, str):
        match = re.fullmatch(r"\s*(\d{1,99}(?:\.\d*)?)\s*([A-Za-z]*)\s*", size, re.ASCII)
        if match and match[2].upper() in _UNITS:
            number = float(match[1]) if "." in match[1] else int(match[1])
            found = int(number * _UNITS[match[2].upper()])
            if found > 0:
                return found
    elif not isinstance(size, bool) and isinstance(size, int) and size > 0:  # pyright: ignore[reportUnnecessaryIsInstance]
        return size
    raise InitPolicyError(
        Problem("IP514", f"{size!r} is no size", 'write "5GB", "5GiB" or a number of bytes')
    )


def type_of(name: str | torch.dtype) -> torch.dtype:
    """Read the name of a floating-point type, such as "bfloat16"."""
    found = getattr(torch, name, None) if isinstance(name, str) else name
    if isinstance(found, torch.dtype) and found.is_floating_point:
        return found
    raise InitPolicyError(
        Problem(
            "IP513",
            f"{name} is no floating-point type",
            "write `bfloat16`, `float16`, `float32`, `float64`, or an 8-bit type of torch",
        )
    )


def _index(files: Sequence[File], plan: str) -> bytes:
    content = {
        "metadata": {
            "plan": plan,
            "total_size": sum(one.entry.size for file in files for one in file.given),
        },
        "weight_map": {one.entry.name: file.name for file in files for one in file.given},
    }
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()
