"""Filling: the same bits whatever the runs, strides, threads and neighbours; and good manners."""

import itertools
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from initpolicy import field
from initpolicy.field import pieces
from initpolicy.field.formats import FLOAT8

STREAM = field.stream(7, "layer.weight")
NORMAL = field.NormalDraw(0.0, 0.5)
DRAWS = [NORMAL, field.UniformDraw(-0.25, 1.0), field.TruncatedDraw(0.0, 1.0, -2.0, 0.5)]
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16, *FLOAT8]


def drawn(shape, draw=NORMAL, dtype=torch.float32, runs=None, **options):
    tensor = torch.empty(shape, dtype=dtype)
    field.fill([field.Fill(tensor, STREAM, draw, runs)], **options)
    return tensor


def same(a, b):
    return torch.equal(a.double(), b.double())


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("draw", DRAWS, ids=lambda draw: type(draw).__name__)
def test_any_split_into_runs(draw, dtype):
    whole = drawn(5000, draw, dtype)

    @given(st.lists(st.integers(0, 5000), max_size=40))
    @settings(max_examples=25, deadline=None)
    def check(cuts):
        cuts = [0, *sorted(cuts), 5000]
        runs = list(itertools.pairwise(cuts))
        every, other = runs[::2], runs[1::2]
        for some in (every, other, tuple(reversed(runs))):
            size = sum(stop - start for start, stop in some)
            wanted = torch.cat([whole[start:stop] for start, stop in some] or [whole[:0]])
            assert same(drawn(size, draw, dtype, tuple(some)), wanted)

    check()


def test_runs_across_pieces(monkeypatch):
    """Pieces that begin and end anywhere within runs."""
    whole = drawn(20_000)
    runs = tuple((start, start + 37) for start in range(0, 20_000 - 37, 61))
    wanted = torch.cat([whole[start:stop] for start, stop in runs])
    for size in (1, 7, 37, 1000, 1024):
        monkeypatch.setattr("initpolicy.field.threads.TASK", size)
        assert same(drawn(wanted.shape, runs=runs), wanted)
        assert same(drawn(wanted.shape, runs=runs, dtype=torch.bfloat16), wanted.bfloat16())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_many_short_runs_among_long_ones(dtype):
    """Runs that share a buffer, more than it holds, and runs on both sides of what is long."""
    whole = drawn(60_000, dtype=dtype)

    @given(
        st.lists(st.sampled_from([0, 1, 2, 3, 4, 8, 9, 31, 255, 256, 257, 600]), min_size=1),
        st.integers(0, 9),
        st.integers(0, 3),
    )
    @settings(max_examples=50, deadline=None)
    def check(lengths, gap, first):
        runs, start = [], first
        for length in itertools.cycle(lengths):
            if start + length > len(whole) or len(runs) == 1000:
                break
            runs.append((start, start + length))
            start += length + gap
        wanted = torch.cat([whole[start:stop] for start, stop in runs])
        assert same(drawn(wanted.shape, dtype=dtype, runs=field.Runs.of(runs)), wanted)

    check()


def test_runs_at_the_end_of_the_field():
    last = 2**64 - 1
    runs = [(start, min(start + 3, last)) for start in range(last - 2000, last, 5)]
    whole = drawn(2000, runs=[(last - 2000, last)])
    wanted = torch.cat([whole[a - last + 2000 : b - last + 2000] for a, b in runs])
    assert same(drawn(wanted.shape, runs=runs), wanted)


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 9)), min_size=1), st.data())
@settings(deadline=None)
def test_a_piece_draws_no_index_but_its_own(pairs, data):
    runs = [(start, start + size) for start, size in pairs]
    indices = [i for start, stop in runs for i in range(start, stop)]
    assume(indices)
    first = data.draw(st.integers(0, len(indices) - 1))
    last = data.draw(st.integers(first + 1, len(indices)))
    starts, stops = field.Runs.of(runs).between(first, last)
    got = [i for a, b in zip(starts, stops, strict=True) for i in range(int(a), int(b))]
    assert got == indices[first:last]


def test_rows_of_a_sharded_matrix():
    """A shard of columns: one run a row."""
    whole = drawn((64, 96))
    runs = tuple((row * 96 + 32, row * 96 + 64) for row in range(64))
    assert same(drawn((64, 32), runs=runs), whole[:, 32:64])


LAYOUTS = {
    "transposed": lambda t: torch.empty(t.shape[::-1], dtype=t.dtype).permute(3, 2, 1, 0),
    "channels_last": lambda t: t.contiguous(memory_format=torch.channels_last),
    "every other": lambda t: torch.empty([2 * n for n in t.shape], dtype=t.dtype)[
        ::2, ::2, ::2, ::2
    ],
    "offset": lambda t: torch.empty(t.numel() + 3, dtype=t.dtype)[3:].view(t.shape),
    "columns": lambda t: torch.empty((*t.shape[:3], 99), dtype=t.dtype)[..., 5 : 5 + t.shape[3]],
}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("buffer", [1 << 20, 100, 7])
def test_strides(layout, dtype, buffer, monkeypatch):
    monkeypatch.setattr(pieces, "BUFFER", buffer)
    wanted = drawn((4, 5, 6, 7), dtype=dtype)
    tensor = LAYOUTS[layout](torch.empty((4, 5, 6, 7), dtype=dtype))
    field.fill([field.Fill(tensor, STREAM, NORMAL)])
    assert same(tensor, wanted)


def test_nothing_around_is_touched():
    base = torch.full((10, 10), 7.0)
    field.fill([field.Fill(base[2:5, 3:6], STREAM, NORMAL)])
    assert (base == 7.0).sum() == 91
    flat = torch.full((100,), 7.0)
    field.fill([field.Fill(flat[3:6], STREAM, NORMAL)])
    assert (flat == 7.0).sum() == 97


def test_threads_and_neighbours():
    """One huge tensor and a thousand small ones; every number of threads."""
    sizes = [1_700_001, *([501] * 600), 0, 300_003]
    streams = [field.stream(0, str(i)) for i in range(len(sizes))]

    def everything(**options):
        tensors = [torch.empty(size) for size in sizes]
        jobs = zip(tensors, streams, strict=True)
        field.fill([field.Fill(t, s, NORMAL) for t, s in jobs], **options)
        return tensors

    alone = []
    for size, stream in zip(sizes, streams, strict=True):
        alone.append(torch.empty(size))
        field.fill([field.Fill(alone[-1], stream, NORMAL)], threads=1)
    for options in ({}, {"threads": 1}, {"threads": 2}, {"threads": 5}):
        assert all(map(torch.equal, everything(**options), alone))


@pytest.mark.parametrize("threads", [1, 2])
def test_progress_counts_bytes(threads):
    got = []
    tensor = torch.empty(3_000_000, dtype=torch.float64)
    jobs = [field.Fill(tensor, STREAM, NORMAL), field.Fill(torch.empty(3, 3), STREAM, NORMAL)]
    field.fill(jobs, threads=threads, progress=got.append)
    assert sum(got) == 24_000_036
    assert len(got) > 2


def test_shapes_without_elements_or_dimensions():
    assert drawn(()).item() == drawn(4)[0].item()
    assert drawn((0, 3)).shape == (0, 3)
    field.fill([])


def test_parameters_are_filled_without_a_graph():
    parameter = torch.nn.Parameter(torch.empty(3, 3))
    version = parameter._version
    field.fill([field.Fill(parameter, STREAM, NORMAL)])
    assert same(parameter.detach(), drawn((3, 3)))
    assert parameter.requires_grad
    assert parameter.grad_fn is None
    assert parameter._version > version
    with torch.inference_mode():
        frozen = torch.empty(3, 3)
    field.fill([field.Fill(frozen, STREAM, NORMAL)])
    assert same(frozen, parameter.detach())


def test_generators_are_left_alone():
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    drawn(1_500_000, threads=2)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])
    assert random.getstate() == before[2]


@pytest.mark.parametrize("threads", [1, 2])
def test_subnormals_do_not_depend_on_torchs_setting(threads):
    tiny = field.NormalDraw(0.0, 1e-39)
    wanted = drawn(1_500_000, tiny, threads=1)
    assert ((wanted != 0) & (wanted.abs() < 1e-39)).any()
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor does not flush subnormals")
    try:
        got = drawn(1_500_000, tiny, threads=threads)
        kept = torch.tensor(1e-40) * 1.0  # torch's own setting is as it was
        assert kept.view(torch.int32).item() == 0
    finally:
        torch.set_flush_denormal(False)
    assert torch.equal(got.view(torch.int32), wanted.view(torch.int32))


def test_narrow_formats_round_as_torch_does():
    """Every exponent, ties and subnormals included."""
    from kernels import kernels, narrow, numba

    from initpolicy.field.values import put

    count = kernels.COUNT

    @numba.njit
    def store(values, out):
        for i in range(0, values.size, count):
            put(out, i, kernels.load(values, i, count))

    codes = np.arange(0, 2**32, 4099, dtype=np.uint32)
    ties = (np.arange(2**16, dtype=np.uint32) << 16)[:, None] + np.array([0x7FFF, 0x8000, 0x8001])
    bits = np.concatenate([codes, ties.astype(np.uint32).ravel()])
    values = torch.from_numpy(bits.view(np.float32).copy())
    for dtype in DTYPES:
        largest = torch.finfo(dtype).max
        some = values[values.abs() <= largest]  # NaN is not
        some = some[: len(some) // count * count]
        if dtype in FLOAT8:
            got = narrow(some, dtype)
        else:
            got = torch.empty(len(some), dtype=dtype)
            store(some.numpy(), pieces.array_of(got))
        wanted = some.to(dtype)
        assert torch.equal(got.view(torch.uint8), wanted.view(torch.uint8)), dtype


def test_other_devices_get_the_same_values(monkeypatch):
    """A device that is not the CPU, by its copies: bounded, and of the CPU's values."""
    copied = []
    original = torch.Tensor.copy_

    class Device:
        type = "other"

    class Elsewhere(torch.Tensor):
        device = Device()
        is_cpu = False

        def copy_(self, values):
            copied.append(values.numel())
            return original(self.as_subclass(torch.Tensor), values)

    monkeypatch.setattr(pieces, "BUFFER", 1000)
    base = torch.empty(50, 70)
    elsewhere = base.as_subclass(Elsewhere)
    field.fill([field.Fill(elsewhere, STREAM, NORMAL)])
    assert same(base, drawn((50, 70)))
    assert sum(copied) == 3500
    assert max(copied) <= 1000


@pytest.mark.parametrize(
    ("job", "error", "message"),
    [
        (lambda: (torch.empty(3, device="meta"), NORMAL, None), ValueError, "meta"),
        (lambda: (torch.empty(3, dtype=torch.int64), NORMAL, None), TypeError, "int64"),
        (lambda: (torch.empty(3, dtype=torch.complex64), NORMAL, None), TypeError, "complex64"),
        (lambda: (torch.empty(1).expand(3), NORMAL, None), ValueError, "share memory"),
        (lambda: (torch.empty(3), NORMAL, ((0, 2),)), ValueError, "hold 2 indices, the tensor 3"),
        (lambda: (torch.empty(3), NORMAL, ((-1, 2),)), ValueError, "not within"),
        (lambda: (torch.empty(3), NORMAL, ((2, 1), (0, 4))), ValueError, "not within"),
        (lambda: (torch.empty(3), NORMAL, ((2**64 - 2, 2**64 + 1),)), ValueError, "not within"),
        (lambda: (torch.empty(3), field.NormalDraw(0.0, -1.0), None), ValueError, "at least 0"),
    ],
)
def test_everything_is_checked_before_anything_is_written(job, error, message):
    good = torch.full((3,), 7.0)
    tensor, draw, runs = job()
    with pytest.raises(error, match=message):
        field.fill([field.Fill(good, STREAM, NORMAL), field.Fill(tensor, STREAM, draw, runs)])
    assert (good == 7.0).all()


def test_threads_must_be_positive():
    with pytest.raises(ValueError, match="at least 1"):
        drawn(3, threads=0)


def test_errors_in_progress_stop_the_work():
    calls = []

    def stop(written):
        calls.append(written)
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        drawn(30_000_000, threads=1, progress=stop)
    assert len(calls) == 1


@pytest.fixture
def ctrl_c():
    """Python's own answer to Ctrl-C, also where a shell starts the tests in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("threads", [1, 2])
def test_interrupt(threads):
    """Ctrl-C ends a long fill, having told what was written."""
    tensor = torch.zeros(64_000_000)
    written = []
    timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))
    jobs = [field.Fill(tensor, field.stream(0, str(i)), NORMAL) for i in range(100)]

    def progress(count):
        written.append(count)
        if len(written) == 1:  # the work is under way, however busy the machine is
            timer.start()

    with pytest.raises(KeyboardInterrupt):
        field.fill(jobs, threads=threads, progress=progress)
    timer.join()
    assert 0 < sum(written) < 100 * 4 * 64_000_000
    still = tensor[-1000:].clone()
    time.sleep(0.05)
    assert torch.equal(tensor[-1000:], still)  # no thread works on


ROOT = Path(__file__).parents[2]


def python(code, **environment):
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(
        [sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=False
    )


def test_backends_load_at_the_first_fill():
    done = python(
        "import sys, initpolicy.field\n"
        "print([name for name in ('numba', 'llvmlite', 'triton') if name in sys.modules])"
    )
    assert done.stdout == "[]\n", done.stderr


DRAW = """
import sys, torch
from initpolicy import field
tensor = torch.empty(3)
field.fill([field.Fill(tensor, field.stream(7, "layer.weight"), field.NormalDraw(0.0, 0.5))])
print(tensor.tolist(), "numba" in sys.modules)
"""


def test_a_second_process_loads_no_compiler(tmp_path):
    for compiled in (True, False):
        done = python(DRAW, INITPOLICY_CACHE_DIR=str(tmp_path))
        assert done.stdout == f"{drawn(3).tolist()} {compiled}\n", done.stderr
    (file,) = tmp_path.iterdir()
    assert file.name.startswith("normal-")


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b"{}\n" + b, lambda b: b""])
def test_a_damaged_object_file_is_made_anew(tmp_path, damage):
    python(DRAW, INITPOLICY_CACHE_DIR=str(tmp_path))
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    done = python(DRAW, INITPOLICY_CACHE_DIR=str(tmp_path))
    assert done.stdout == f"{drawn(3).tolist()} True\n", done.stderr
    assert file.read_bytes().partition(b"\n")[0] == whole.partition(b"\n")[0]


def test_without_any_place_to_write():
    """A read-only install and home: compiled anew, the same values, no exception."""
    refuse = (
        "from pathlib import Path\n"
        "def refuse(self, *args, **named): raise OSError('read-only')\n"
        "Path.write_bytes = refuse\n"
        "from initpolicy.field import objects\n"
        "objects._read = lambda path: None\n"
    )
    done = python(refuse + DRAW)
    assert done.stdout == f"{drawn(3).tolist()} True\n", done.stderr


def test_object_files_are_looked_for_in_the_users_cache_after_the_package(monkeypatch, tmp_path):
    from initpolicy.field import objects

    monkeypatch.delenv("INITPOLICY_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    package = Path(objects.__file__).parent / "__pycache__"
    assert list(objects.folders()) == [package, tmp_path / "initpolicy"]
    monkeypatch.setenv("INITPOLICY_CACHE_DIR", str(tmp_path / "own"))
    assert list(objects.folders()) == [tmp_path / "own"]
