"""The safetensors format: one header that names every tensor, and then their bytes."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch

from initpolicy.field import DRAW_VERSION
from initpolicy.plans import Plan

TYPES = {
    getattr(torch, name): code
    for name, code in (
        # In the order in which a file holds them, widest first.
        ("uint64", "U64"),
        ("int64", "I64"),
        ("float64", "F64"),
        ("complex64", "C64"),
        ("float32", "F32"),
        ("uint32", "U32"),
        ("int32", "I32"),
        ("bfloat16", "BF16"),
        ("float16", "F16"),
        ("uint16", "U16"),
        ("int16", "I16"),
        ("float8_e5m2fnuz", "F8_E5M2FNUZ"),
        ("float8_e4m3fnuz", "F8_E4M3FNUZ"),
        ("float8_e4m3fn", "F8_E4M3"),
        ("float8_e5m2", "F8_E5M2"),
        ("int8", "I8"),
        ("uint8", "U8"),
        ("bool", "BOOL"),
    )
}
"""What the format calls each type that it can hold."""

_RANKS = {dtype: rank for rank, dtype in enumerate(TYPES)}
_ALIGNMENT = 8


@dataclass(frozen=True)
class Entry:
    """One tensor of a file.

    >>> Entry("weight", (2, 3), torch.bfloat16).size
    12
    """

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def size(self) -> int:
        """Its size in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


def ordered(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """Give tensors in the order in which safetensors writes them: by type, then by name."""
    return tuple(sorted(entries, key=lambda entry: (_RANKS[entry.dtype], entry.name)))


def header(entries: Iterable[Entry], metadata: Mapping[str, str]) -> bytes:
    """Give what comes before the bytes of `entries`, which are in their order.

    The metadata are sorted, so that equal tensors make equal files.

    >>> header([Entry("bias", (2,), torch.float32)], {})[8:]
    b'{"bias":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}       '
    """
    content: dict[str, object] = {}
    if metadata:
        content["__metadata__"] = dict(sorted(metadata.items()))
    start = 0
    for entry in entries:
        stop = start + entry.size
        content[entry.name] = {
            "dtype": TYPES[entry.dtype],
            "shape": list(entry.shape),
            "data_offsets": [start, stop],
        }
        start = stop
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()
    text = text.ljust(-(-len(text) // _ALIGNMENT) * _ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


def origin(plan: Plan) -> dict[str, str]:
    """What the metadata of a file tell of the plan whose values it holds."""
    return {
        "format": "pt",
        "policy": _text(plan.policy),
        "title": _text(plan.title),
        "seed": str(plan.seed),
        "draws": str(DRAW_VERSION),
    }


def _text(given: str) -> str:
    """A text without what UTF-8 cannot say, such as odd bytes in the path of a policy."""
    return given.encode(errors="backslashreplace").decode()


def bytes_in(tensor: torch.Tensor) -> memoryview:
    r"""Give the bytes of a contiguous tensor on the CPU, without a copy.

    >>> bytes(bytes_in(torch.tensor([1, 258], dtype=torch.int16)))
    b'\x01\x00\x02\x01'
    """
    return tensor.detach().reshape(-1).view(torch.uint8).numpy().data
