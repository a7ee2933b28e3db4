"""Write a model's tensors into a safetensors file, wholly or not at all."""

from __future__ import annotations

import os
from collections.abc import Hashable
from pathlib import Path
from typing import TYPE_CHECKING

from initpolicy.problems import InitPolicyError, Problem

if TYPE_CHECKING:
    from torch import Tensor, nn

    from initpolicy.plans import Plan


def check(target: str, example: str = "model.safetensors") -> Path:
    """The file that `--out` names; raises at once if it could not be written in the end."""
    file = Path(target)
    if file.is_dir() or not file.name:
        raise unwritable(target, "it is a folder", f"write --out {file / example}")
    if file.exists() and not file.is_file():
        raise unwritable(target, "it is no ordinary file", "name another")
    folder = file.resolve().parent
    if not folder.is_dir():
        raise unwritable(target, f"there is no folder {file.parent}", "make it first")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise unwritable(target, f"the folder {file.parent} is not writable", "name another")
    return file


def save(model: nn.Module, plan: Plan, file: Path) -> int:
    """Write `model.state_dict()` to `file`, and give the size of the file in bytes.

    A tied tensor is written once, under its first name, and the metadata says under which name to
    find the others, as `safetensors.torch.save_model` does. `load_model` of the same module reads
    the file back. Until the last byte is written, what was there before stays.
    """
    from initpolicy.materialization.container import (
        TYPES,
        Entry,
        bytes_in,
        header,
        ordered,
        origin,
    )
    from initpolicy.materialization.replacing import replacing

    tensors, names = _tensors(model, plan)
    for name, tensor in tensors.items():
        if tensor.dtype not in TYPES:
            raise unwritable(str(file), f"safetensors cannot hold {tensor.dtype} ({name})")
    entries = ordered(
        Entry(name, tuple(tensor.shape), tensor.dtype) for name, tensor in tensors.items()
    )
    target = file.resolve()  # a link stays one, and the file behind it is replaced
    try:
        with replacing(target) as written:
            begin = header(entries, names | origin(plan))
            written.write(0, begin)
            offset = len(begin)
            for entry in entries:
                written.write(offset, bytes_in(tensors[entry.name].cpu()))
                offset += entry.size
        return target.stat().st_size
    except OSError as error:
        raise unwritable(str(file), error.strerror or str(error)) from error
    except (RuntimeError, TypeError, ValueError) as error:  # such as a tensor without memory
        raise unwritable(str(file), str(error) or type(error).__name__) from error


def _tensors(model: nn.Module, plan: Plan) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors to write, and for each name that is left out the one under which it is found."""
    import torch

    state = {
        name: value
        for name, value in model.state_dict().items()
        if isinstance(value, torch.Tensor)  # and no extra state, which may be anything
    }
    aliases = {alias for decision in plan for alias in decision.aliases}
    # Canonical names come first, so that they are the ones kept.
    ordered = sorted(state, key=lambda name: name in aliases)
    kept: dict[Hashable, str] = {}
    elsewhere: dict[str, str] = {}
    for name in ordered:
        first = kept.setdefault(_view(state[name]), name)
        if first != name:
            elsewhere[name] = first
    used: set[int] = set()
    tensors: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if name in elsewhere:
            continue
        memory = tensor.untyped_storage().data_ptr()
        # The format has no views: two that share memory, and are not the same, are written apart.
        tensors[name] = tensor.clone() if memory in used and memory else tensor
        tensors[name] = tensors[name].contiguous()
        used.add(memory)
    return tensors, elsewhere


def _view(tensor: Tensor) -> Hashable:
    if not tensor.numel():
        return id(tensor)
    return tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride()


def unwritable(file: str, reason: str, hint: str = "") -> InitPolicyError:
    """The error of a file that cannot be written."""
    return InitPolicyError(Problem("IP403", f"{file} cannot be written: {reason}", hint))
