"""Values that were learned before, and are in a file."""

from __future__ import annotations

import re

from initpolicy.initializers.initializer import FileName, InitializerError, Template
from initpolicy.laws import FromFile
from initpolicy.model.facts import Facts

_OWN_NAME = Template("{name}")


def from_file(
    tensor: Facts,
    *,
    path: FileName,
    key: Template = _OWN_NAME,
    rows: str = "",
    repeat: int = 1,
) -> FromFile:
    """Tensor of a file: safetensors, a sharded index, or a state dict of `torch.save`.

    `path` starts from the folder of the policy's file. In `key`, `{name}` stands for the tensor's
    name, `{module}` and `{local}` for its two parts, and `{2 * i}` for a number. `rows` takes some
    rows, as `"0:10"`, and `repeat` lays copies one after the other along dimension 0.

    >>> print(from_file(Facts((8, 3)), path=FileName("net.safetensors"), key=Template("fc.weight")))
    fc.weight of net.safetensors
    """
    found = re.fullmatch("([0-9]{1,18}):([0-9]{1,18})", rows)
    if rows and found is None:
        raise InitializerError(f'`rows` is "{rows}"', hint='write two numbers, as in "0:10"')
    return FromFile(path, key, (int(found[1]), int(found[2])) if found else None, repeat)
