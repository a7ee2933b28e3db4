"""Full disks, Ctrl-C and killed processes: no file is incomplete, and it goes on from there."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import initpolicy
from initpolicy.laws import LawError
from initpolicy.materialization import replacing, writing
from initpolicy.materialization.blocks import Block
from initpolicy.materialization.layout import INDEX
from initpolicy.problems import InitPolicyError

LAYERS = 5
SHARD = 64 * 64 * 4  # one layer a file
NAMES = [f"model-0000{i}-of-00005.safetensors" for i in range(1, LAYERS + 1)]
ONE_BY_ONE = {"max_shard_size": SHARD, "threads": 1}


@pytest.fixture
def whole(planned, tmp_path) -> dict[str, bytes]:
    """Every file of a checkpoint that nothing disturbed."""
    initpolicy.materialize(planned(), tmp_path / "whole", **ONE_BY_ONE)
    return contents(tmp_path / "whole")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def stamps(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_ino for path in folder.iterdir()}


def refusal(*given, **arguments) -> str:
    with pytest.raises(InitPolicyError) as raised:
        initpolicy.materialize(*given, **arguments)
    return str(raised.value)


def failing_after(count: int, error: BaseException, monkeypatch) -> None:
    """Let the first `count` writes succeed, headers among them; then the disk is full."""
    write = replacing.Replacement.write
    lock = threading.Lock()
    done = 0

    def limited(self, offset, data) -> None:
        nonlocal done
        with lock:
            done += 1
            if done > count:
                raise error
        write(self, offset, data)

    monkeypatch.setattr(replacing.Replacement, "write", limited)


@pytest.mark.parametrize("count", range(0, 2 * LAYERS))
def test_a_full_disk_leaves_whole_files_alone(planned, whole, tmp_path, monkeypatch, count) -> None:
    out = tmp_path / "out"
    failing_after(count, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), monkeypatch)
    told = refusal(planned(), out, **ONE_BY_ONE)
    assert told.startswith(f"IP518 {out}/model-0000")
    assert told.endswith(
        " cannot be written: No space left on device; make room, and go on with `resume=True` "
        "(`--resume`)"
    )
    left = contents(out)
    assert all(whole[name] == data for name, data in left.items())
    assert INDEX not in left
    monkeypatch.undo()
    initpolicy.materialize(planned(), out, resume=True, **ONE_BY_ONE)
    assert contents(out) == whole


@pytest.mark.skipif(os.name != "posix", reason="needs limits of POSIX")
def test_a_file_that_may_not_grow(planned, tmp_path) -> None:
    import resource

    plan, out = planned(), tmp_path / "out"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        told = refusal(plan, out, **ONE_BY_ONE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert told.endswith(
        " cannot be written: File too large; write smaller files, with another `max_shard_size`"
    )
    assert contents(out) == {}


def test_too_little_room_is_told_before_anything_is_written(
    planned, whole, tmp_path, monkeypatch
) -> None:
    from initpolicy.materialization import folder

    usage = folder.shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(folder.shutil, "disk_usage", lambda path: usage)
    out = tmp_path / "out"
    size = sum(len(data) for name, data in whole.items() if name != INDEX)
    assert refusal(planned(), out, **ONE_BY_ONE) == (
        f"IP518 {out} cannot be written: {size:,} bytes are to be written, and its disk has 1,000 "
        "left; make room, or name a folder on another disk"
    )
    assert contents(out) == {}


def test_resume_keeps_what_is_complete_and_redoes_the_rest(planned, whole, tmp_path) -> None:
    out = tmp_path / "whole"
    before = stamps(out)
    (out / NAMES[1]).unlink()
    (out / NAMES[2]).write_bytes(whole[NAMES[2]][:-1])
    (out / NAMES[3]).write_bytes(whole[NAMES[3]][:20])
    (out / NAMES[4]).write_bytes(b"")
    done = initpolicy.materialize(planned(), out, resume=True, **ONE_BY_ONE)
    assert contents(out) == whole
    assert [file.kept for file in done.written] == [True, False, False, False, False]
    assert stamps(out)[NAMES[0]] == before[NAMES[0]]
    again = initpolicy.materialize(planned(), out, resume=True, **ONE_BY_ONE)
    assert all(file.kept for file in again.written)


def test_the_index_is_gone_while_a_file_that_it_names_is_missing(
    planned, whole, tmp_path, monkeypatch
) -> None:
    out = tmp_path / "whole"
    (out / NAMES[1]).unlink()
    failing_after(0, OSError(errno.EIO, "broken"), monkeypatch)
    told = refusal(planned(), out, resume=True, **ONE_BY_ONE)
    assert told == (
        f"IP518 {out}/{NAMES[1]} cannot be written: broken; go on with `resume=True` (`--resume`)"
    )
    assert sorted(contents(out)) == [name for name in NAMES if name != NAMES[1]]


def test_what_is_there_is_not_replaced(planned, whole, tmp_path) -> None:
    out = tmp_path / "whole"
    keep = "write `resume=True` (`--resume`) to keep what is complete, or name another folder"
    assert refusal(planned(), out, **ONE_BY_ONE) == (
        f"IP517 {out} has 5 files of this checkpoint already: {', '.join(NAMES)}; {keep}"
    )
    (out / NAMES[0]).unlink()
    (out / NAMES[1]).write_bytes(whole[NAMES[1]][:-1])
    assert refusal(planned(), out, **ONE_BY_ONE) == (
        f"IP517 {out} has 4 files of this checkpoint already: {', '.join(NAMES[1:])}; {keep}"
    )
    assert contents(out).keys() == whole.keys() - {NAMES[0]}


@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_of_another_plan_is_refused(planned, whole, tmp_path, resume) -> None:
    out = tmp_path / "whole"
    told = refusal(planned(seed=4), out, resume=resume, **ONE_BY_ONE)
    assert told == (
        f"IP516 {out} has 6 files of another checkpoint: {', '.join([*NAMES, INDEX])}; name "
        "another folder, or remove them; a checkpoint is continued with the plan, the type and the "
        "sizes of files that it was begun with"
    )
    for other in (
        {"max_shard_size": "5GB"},
        {"max_shard_size": 2 * SHARD},
        {"max_shard_size": SHARD, "dtype": "float64"},
    ):
        assert refusal(planned(), out, resume=resume, **other).startswith(f"IP516 {out} has ")
    assert contents(out) == whole


def test_a_single_file_of_another_plan_is_refused(planned, tmp_path) -> None:
    out = tmp_path / "out"
    initpolicy.materialize(planned(), out)
    before = contents(out)
    text = 'format = 1\n[[rule]]\ninit.weight = "zeros"\n'
    for other in (planned(text=text), planned(seed=4)):
        assert refusal(other, out, resume=True).startswith(
            f"IP516 {out} has 1 file of another checkpoint: model.safetensors; "
        )
    assert refusal(planned(), out, resume=True, max_shard_size=SHARD).startswith("IP516")
    assert contents(out) == before


def test_other_files_of_the_folder_are_left_alone(planned, tmp_path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for name in ("config.json", "model.onnx", "adapter_model.safetensors"):
        (out / name).write_text("mine")
    initpolicy.materialize(planned(), out)
    assert all((out / name).read_text() == "mine" for name in ("config.json", "model.onnx"))
    assert (out / "adapter_model.safetensors").read_text() == "mine"


def test_parts_in_any_order_are_the_whole_and_the_last_one_writes_the_index(
    planned, whole, tmp_path
) -> None:
    out = tmp_path / "out"
    order = [2, 0, 1]
    for number, rank in enumerate(order):
        done = initpolicy.materialize(planned(), out, part=(rank, 3), **ONE_BY_ONE)
        assert done.complete == (number == 2)
        assert (out / INDEX).exists() == (number == 2)
        assert done.files == LAYERS
    assert contents(out) == whole
    # Who has nothing to write, and comes late, has nothing to complain of.
    done = initpolicy.materialize(planned(), out, part=(6, 7), **ONE_BY_ONE)
    assert done.complete
    assert not done.written
    assert refusal(planned(), out, part=(1, 3), **ONE_BY_ONE).startswith("IP517")
    assert contents(out) == whole


def test_parts_of_different_plans_are_refused(planned, tmp_path) -> None:
    out = tmp_path / "out"
    initpolicy.materialize(planned(), out, part=(0, 2), **ONE_BY_ONE)
    told = refusal(planned(seed=4), out, part=(1, 2), **ONE_BY_ONE)
    assert told.startswith("IP516")
    assert not (out / INDEX).exists()


def test_processes_at_once_write_one_checkpoint(planned, whole, tmp_path) -> None:
    out, plan = tmp_path / "out", planned()
    failed: list[BaseException] = []

    def run(rank: int) -> None:
        try:
            initpolicy.materialize(plan, out, part=(rank, 4), **ONE_BY_ONE)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert contents(out) == whole


PROGRAM = """
import signal, sys, time, threading
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell in the background ignores it
import torch, initpolicy
from torch import nn
from initpolicy.materialization.blocks import Block

draw = Block.draw
def slow(self, memory, seed):
    time.sleep(0.05)
    draw(self, memory, seed)
Block.draw = slow
with torch.device("meta"):
    model = nn.Sequential(*[nn.Linear(64, 64, bias=False) for _ in range(5)])
plan = initpolicy.plan(model, sys.argv[1], seed=3)
print("ready", flush=True)
initpolicy.materialize(plan, sys.argv[2], max_shard_size=64 * 64 * 4, threads=1)
"""


def begun(policy: Path, out: Path) -> subprocess.Popen[str]:
    """A process that writes a file in a twentieth of a second, when its first file is there."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(policy), str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (out / NAMES[0]).exists() and process.poll() is None:
        time.sleep(0.001)
    return process


@pytest.mark.skipif(os.name != "posix", reason="needs signals of POSIX")
@pytest.mark.parametrize("number", ["SIGKILL", "SIGINT"])
def test_a_process_that_is_stopped_leaves_whole_files_and_is_gone_on_with(
    planned, whole, tmp_path, number
) -> None:
    out, plan = tmp_path / "out", planned()
    process = begun(tmp_path / "policy.toml", out)
    process.send_signal(signal.Signals[number])
    _, told = process.communicate(timeout=60)
    left = contents(out)
    final = {name: data for name, data in left.items() if not name.endswith(".partial")}
    assert 0 < len(final) < len(whole), told
    assert all(whole[name] == data for name, data in final.items())
    if number == "SIGINT":
        assert final == left
        assert "KeyboardInterrupt: stopped after " in told
    before = stamps(out)
    done = initpolicy.materialize(plan, out, resume=True, **ONE_BY_ONE)
    assert contents(out) == whole
    assert {file.name for file in done.written if file.kept} == set(final)
    assert all(stamps(out)[name] == before[name] for name in final)


def test_remains_of_a_killed_process_are_removed(planned, whole, tmp_path) -> None:
    out = tmp_path / "whole"
    (out / NAMES[1]).unlink()
    (out / f".{NAMES[1]}.0123abcd.partial").write_bytes(b"half")
    (out / ".mine.partial").write_bytes(b"mine")
    initpolicy.materialize(planned(), out, resume=True, **ONE_BY_ONE)
    assert contents(out) == whole | {".mine.partial": b"mine"}


@pytest.mark.parametrize("missing", [[], [INDEX], [NAMES[1], INDEX]])
def test_remains_of_the_index_are_removed(planned, whole, tmp_path, missing) -> None:
    out = tmp_path / "whole"
    for name in missing:
        (out / name).unlink()
    (out / f".{INDEX}.0123abcd.partial").write_bytes(whole[INDEX][:20])
    initpolicy.materialize(planned(), out, resume=True, **ONE_BY_ONE)
    assert contents(out) == whole


def test_the_index_of_a_killed_process_is_written_by_the_next(planned, whole, tmp_path) -> None:
    out, plan = tmp_path / "out", planned()
    dying = PROGRAM.replace("Block.draw = slow", DYING)
    arguments = [sys.executable, "-c", dying, str(tmp_path / "policy.toml"), str(out)]
    assert subprocess.run(arguments, check=False, capture_output=True).returncode == 9
    (partial,) = contents(out).keys() - whole.keys()
    assert partial.startswith(f".{INDEX}.")
    initpolicy.materialize(plan, out, resume=True, **ONE_BY_ONE)
    assert contents(out) == whole


DYING = """
import os
from initpolicy.materialization import replacing
finish = replacing.Replacement.finish
def dying(self):
    if "index" in self.target.name:
        os._exit(9)
    finish(self)
replacing.Replacement.finish = dying
"""


def test_two_processes_that_write_the_index_at_once(planned, whole, tmp_path, monkeypatch) -> None:
    """The second one takes the file of the first for a leftover, which does no harm."""
    out, plan = tmp_path / "out", planned()
    finish = replacing.Replacement.finish
    others: list[bool] = []

    def late(self) -> None:
        if self.target.name == INDEX and not others:
            others.append(True)
            assert initpolicy.materialize(plan, out, resume=True, **ONE_BY_ONE).complete
        finish(self)

    monkeypatch.setattr(replacing.Replacement, "finish", late)
    assert initpolicy.materialize(plan, out, **ONE_BY_ONE).complete
    assert others
    assert contents(out) == whole


def test_a_folder_that_vanishes_before_the_index_is_an_error(
    planned, tmp_path, monkeypatch
) -> None:
    out = tmp_path / "out"
    finish = replacing.Replacement.finish

    def vanished(self) -> None:
        if self.target.name == INDEX:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory")
        finish(self)

    monkeypatch.setattr(replacing.Replacement, "finish", vanished)
    assert refusal(planned(), out, **ONE_BY_ONE) == (
        f"IP518 {out} cannot be written: No such file or directory"
    )


def test_ctrl_c_does_not_wait_for_a_disk_that_hangs(planned, tmp_path, monkeypatch) -> None:
    hanging, free = threading.Event(), threading.Event()

    def hang(number: int) -> None:
        hanging.set()
        free.wait()

    monkeypatch.setattr(writing, "_PATIENCE", 0.01)
    monkeypatch.setattr(replacing.os, "fsync", hang)

    def interrupted(work, running, progress) -> None:
        hanging.wait()
        raise KeyboardInterrupt

    monkeypatch.setattr(writing, "_watch", interrupted)
    try:
        with pytest.raises(KeyboardInterrupt, match=r"^stopped after 0 of [\d,]+ bytes: "):
            initpolicy.materialize(planned(), tmp_path / "out", threads=1)
        assert contents(tmp_path / "out") == {}
    finally:
        free.set()


def test_what_a_law_raises_is_told_and_nothing_is_left(planned, tmp_path, monkeypatch) -> None:
    def broken(self, memory, seed) -> None:
        raise RuntimeError("no such law")

    monkeypatch.setattr(Block, "draw", broken)
    with pytest.raises(RuntimeError, match="no such law"):
        initpolicy.materialize(planned(), tmp_path / "out")
    assert contents(tmp_path / "out") == {}


def test_a_file_that_changes_meanwhile_is_told(planned, tmp_path, monkeypatch) -> None:
    def broken(self, memory, seed) -> None:
        raise LawError("x.pt has changed", hint="wait")

    monkeypatch.setattr(Block, "draw", broken)
    out = tmp_path / "out"
    assert refusal(planned(), out) == f"IP216 {out}/model.safetensors: x.pt has changed; wait"
    assert contents(out) == {}


def test_what_progress_raises_is_told_and_nothing_is_left(planned, tmp_path) -> None:
    def broken(size: int) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        initpolicy.materialize(planned(), tmp_path / "out", progress=broken)
    assert all(not name.endswith(".partial") for name in contents(tmp_path / "out"))


def test_a_file_takes_its_name_when_it_is_on_the_disk_and_the_index_comes_last(
    planned, tmp_path, monkeypatch
) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def synced(number: int) -> None:
        done.append("sync")
        fsync(number)

    def renamed(one: Path, other: Path) -> None:
        done.append(other.name)
        assert one.stat().st_size > 0
        replace(one, other)

    monkeypatch.setattr(replacing.os, "fsync", synced)
    monkeypatch.setattr(replacing.os, "replace", renamed)
    monkeypatch.setattr(writing, "_MORE", 0)
    initpolicy.materialize(planned(), tmp_path / "out", **ONE_BY_ONE)
    # The file, its name, the folder.
    expected = [step for name in [*NAMES, INDEX] for step in ("sync", name, "sync")]
    assert done == expected
