"""The kernels applied to chosen words, so that tests can reach every corner."""

import numba
import numpy as np
import torch

from initpolicy.field import cpu, kernels
from initpolicy.field import values as compiled
from initpolicy.field.draws import constants_of
from initpolicy.field.formats import FLOAT8, format_of
from initpolicy.field.pieces import array_of


@numba.njit(nogil=True)
def convert(words, out, law):
    kernels.draw_words(words, 0, out.size, out, 0, law)


def values_of(words, draw, dtype):
    """What a law makes of these words, as a tensor of the dtype."""
    words = np.asarray(words, np.uint32)
    entry, numbers = cpu.lower(constants_of(draw, dtype))
    kind = {"uniform": compiled.Uniform, "normal": compiled.Normal}.get(entry, compiled.Truncated)
    law = kind(*(getattr(np, t)(n) for t, n in zip(cpu.LAWS[entry], numbers, strict=True)))
    if entry == "uniform":
        law = law._replace(plain=bool(law.plain))
    out = torch.empty(len(words), dtype=torch.float32 if dtype in FLOAT8 else dtype)
    convert(np.append(words, np.zeros(kernels.COUNT, np.uint32)), array_of(out), law)
    if dtype not in FLOAT8:
        return out
    return narrow(out, dtype)


def narrow(values, dtype):
    codes = torch.empty(len(values), dtype=dtype)
    cpu.narrow(values.numpy(), array_of(codes), format_of(dtype))
    return codes
