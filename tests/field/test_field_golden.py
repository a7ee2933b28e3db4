"""Draw version 1 never changes: digests of every law in every dtype.

A digest that differs means other weights for everybody's seed. If that is meant, it is draw
version 2, and `python tests/field/test_field_golden.py` prints what belongs into golden.json.
"""

import hashlib
import json
import math
from pathlib import Path

import pytest
import torch

from initpolicy import field
from initpolicy.field.formats import FLOAT8

GOLDEN = Path(__file__).with_name("golden.json")
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16, *FLOAT8]
DRAWS = {
    "uniform": field.UniformDraw(-0.1, 0.1),
    "uniform, off centre": field.UniformDraw(0.25, 3.0),
    "normal": field.NormalDraw(0.0, 0.02),
    "normal, off centre": field.NormalDraw(1.0, 0.5),
    "truncated": field.TruncatedDraw(0.0, 0.02, -0.04, 0.04),
    "truncated, one side": field.TruncatedDraw(0.0, 1.0, 5.0, math.inf),
    "truncated, narrow tail": field.TruncatedDraw(0.0, 1.0, -8.5, -8.0),
}
# The beginning, a stretch not aligned to 4, indices past 2^34, and the end of the field.
RUNS = ((0, 4096), (9_999, 12_345), (2**34 - 7, 2**34 + 2_000), (2**64 - 1_001, 2**64 - 1))


def little_endian(tensor):
    size = tensor.element_size()
    same_size = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[size]
    array = tensor.view(same_size).numpy()
    return array.astype(array.dtype.newbyteorder("<")).tobytes()


def digest(draw, dtype):
    tensor = torch.empty(sum(stop - start for start, stop in RUNS), dtype=dtype)
    field.fill([field.Fill(tensor, field.stream(2026, "golden"), draw, RUNS)])
    return hashlib.sha256(little_endian(tensor)).hexdigest()


def digests():
    found = {
        f"{name}, {str(dtype).removeprefix('torch.')}": digest(draw, dtype)
        for name, draw in DRAWS.items()
        for dtype in DTYPES
    }
    words = b"".join(
        field.words(field.stream(2026, "golden"), start, stop).astype("<u4").tobytes()
        for start, stop in RUNS
    )
    return {"words": hashlib.sha256(words).hexdigest()} | found


@pytest.mark.parametrize("name", DRAWS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_law(name, dtype):
    golden = json.loads(GOLDEN.read_text())
    key = f"{name}, {str(dtype).removeprefix('torch.')}"
    assert digest(DRAWS[name], dtype) == golden[key]


def test_words():
    assert digests()["words"] == json.loads(GOLDEN.read_text())["words"]


def test_known_answers_of_philox():
    """Random123, tests/kat_vectors: word 0 to 3 of a counter whose lower half is 0."""
    zero = field.words(field.Stream((0, 0), (0, 0)), 0, 4)
    assert [f"{word:08x}" for word in zero] == ["6627e8d5", "e169c58d", "bc57ac4c", "9b00dbd8"]


KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0"),
]
ANSWERS = [
    "6627e8d5 e169c58d bc57ac4c 9b00dbd8",
    "408f276d 41c83b0e a20bc7c6 6d5451fd",
    "d16cfe09 94fdcceb 5001e420 24126ea1",
]


@pytest.mark.parametrize(("known", "answer"), list(zip(KNOWN, ANSWERS, strict=True)))
def test_known_answers_of_any_counter(known, answer):
    """The kernel's own rounds, at counters that no index reaches."""
    import numba
    import numpy as np
    from reference import philox as slow

    from initpolicy.field.lanes import interleaved, numbered, store
    from initpolicy.field.philox import common, philox

    @numba.njit
    def make(low, high, stream, out):
        counters = numbered(8) + low
        store(out, 0, interleaved(*philox(counters, common(high, stream), stream)))

    (low, high, c2, c3), key = ([int(word, 16) for word in text.split()] for text in known)
    out = np.zeros(32, np.uint32)
    make(np.uint64(low), np.uint64(high), tuple(map(np.uint64, (c2, c3, *key))), out)
    assert " ".join(f"{word:08x}" for word in out[:4]) == answer
    for i, words in enumerate(out.reshape(8, 4).tolist()):
        assert words == list(slow(((low + i) % 2**32, high, c2, c3), key))


if __name__ == "__main__":
    print(json.dumps(digests(), indent=1))
