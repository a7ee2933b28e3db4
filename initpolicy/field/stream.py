"""Streams: which part of the random field a tensor's values come from."""

from __future__ import annotations

import hashlib
import operator
import struct
from dataclasses import dataclass

DRAW_VERSION = 1
"""The version of everything in docs/draws.md. It enters every stream."""


@dataclass(frozen=True)
class Stream:
    """The field's words for one tensor: a Philox key and the upper half of its counters.

    Both pairs hold 32-bit words. The lower half of a counter is the element's index divided by 4.
    """

    key: tuple[int, int]
    high: tuple[int, int]

    def part(self, tag: str) -> Stream:
        """Return the stream of a part of the tensor that needs draws of its own.

        >>> whole = stream(0, "qkv.weight")
        >>> len({whole, whole.part("0"), whole.part("1")})
        3
        """
        words = (*self.key, *self.high)
        return _digest(b"".join(word.to_bytes(4, "little") for word in words), tag)


NO_STREAM = Stream((0, 0), (0, 0))
"""For laws that draw nothing."""


def stream(seed: int, name: str, tag: str = "") -> Stream:
    """Return the stream of a tensor, from the seed and the tensor's canonical name.

    Args:
        seed: any integer in [0, 2^64).
        name: canonical name of the tensor.
        tag: sets apart further draws of the same tensor, such as a mask.

    Raises:
        ValueError: the seed is outside [0, 2^64).
        TypeError: the seed is no integer.

    >>> stream(0, "fc.weight") == stream(0, "fc.weight")
    True
    >>> stream(0, "fc.weight") == stream(0, "fc.weight", "mask")
    False
    """
    seed = operator.index(seed)
    if not 0 <= seed < 1 << 64:
        raise ValueError(f"seed must be at least 0 and less than 2**64, not {seed}")
    numbers = DRAW_VERSION.to_bytes(8, "little") + seed.to_bytes(8, "little")
    return _digest(numbers, name, tag)


def _digest(message: bytes, *texts: str) -> Stream:
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        message += len(data).to_bytes(8, "little") + data
    digest = hashlib.blake2b(message, digest_size=16).digest()
    a, b, c, d = struct.unpack("<4I", digest)
    return Stream((a, b), (c, d))
