"""What a folder already holds of a checkpoint, and what is still to be written."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from contextlib import suppress
from enum import Enum
from pathlib import Path

from initpolicy.materialization.layout import INDEX, File, Layout
from initpolicy.materialization.replacing import leftovers, replacing
from initpolicy.problems import InitPolicyError, Problem, listed

_NAMES = re.compile(r"model(-\d{5,}-of-\d{5,})?\.safetensors(\.index\.json)?")


class State(Enum):
    """What lies under the name of a file."""

    missing = "missing"
    incomplete = "incomplete"
    complete = "complete"
    other = "other"


def state(folder: Path, file: File) -> State:
    """Compare what lies there with a file of the plan: its header and its size."""
    try:
        with open(folder / file.name, "rb") as opened:
            begin = opened.read(len(file.header))
            size = os.fstat(opened.fileno()).st_size
    except FileNotFoundError:
        return State.missing
    if not file.header.startswith(begin):
        return State.other
    return State.complete if size == file.size else State.incomplete


def prepare(folder: Path, layout: Layout, mine: Sequence[File], resume: bool) -> list[File]:
    """Give the files of `mine` that are to be written, in a folder that is ready for them.

    Raises `InitPolicyError`, with nothing changed, if that would replace anything, unless it is an
    incomplete file of this very plan and `resume` is asked for, or if there is no room.
    """
    _make(folder)
    index = _read(folder / INDEX)
    states = {file.name: state(folder, file) for file in layout.files}
    _refuse_others(folder, layout, states, index)
    present = [file.name for file in mine if states[file.name] is not State.missing]
    if present and not resume:
        raise InitPolicyError(
            Problem(
                "IP517",
                f"{folder} has {_files(len(present))} of this checkpoint already: "
                f"{listed(present)}",
                "write `resume=True` (`--resume`) to keep what is complete, or name another folder",
            )
        )
    todo = [file for file in mine if states[file.name] is not State.complete]
    _require_room(folder, todo)
    if index is not None and todo:  # it must not name what is not there
        (folder / INDEX).unlink(missing_ok=True)
    for file in mine:
        for path in leftovers(folder / file.name):
            path.unlink(missing_ok=True)
    return todo


def conclude(folder: Path, layout: Layout) -> bool:
    """Write the index if every file is complete; say whether the checkpoint is.

    Whoever renames the last file finds all of them, and so writes it; if two do, they write the
    same.
    """
    if any(state(folder, file) is not State.complete for file in layout.files):
        return False
    if layout.index is not None:
        if _read(folder / INDEX) != layout.index:
            _write_index(folder, layout.index)
        for path in leftovers(folder / INDEX):
            with suppress(OSError):  # where what another process still writes cannot be removed
                path.unlink()
    return True


def _write_index(folder: Path, index: bytes) -> None:
    try:
        with replacing(folder / INDEX) as file:
            file.write(0, index)
    except FileNotFoundError:
        # Another process wrote it at the same time, and took this one's for a leftover.
        if _read(folder / INDEX) != index:
            raise


def unwritable(path: Path, error: OSError | str, hint: str = "") -> InitPolicyError:
    """The problem of something that cannot be written."""
    reason = error if isinstance(error, str) else error.strerror or str(error)
    return InitPolicyError(Problem("IP518", f"{path} cannot be written: {reason}", hint))


def _make(folder: Path) -> None:
    if not folder.parent.is_dir():
        raise unwritable(folder, f"there is no folder {folder.parent}", "make it first")
    if folder.exists() and not folder.is_dir():
        raise unwritable(folder, "it is no folder", "name another")
    folder.mkdir(exist_ok=True)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise unwritable(folder, "the folder is not writable", "name another")


def _refuse_others(
    folder: Path, layout: Layout, states: dict[str, State], index: bytes | None
) -> None:
    others = [
        path.name
        for path in folder.iterdir()
        if _NAMES.fullmatch(path.name) and path.name != INDEX and path.name not in states
    ]
    others += [name for name, found in states.items() if found is State.other]
    if index is not None and index != layout.index:
        others.append(INDEX)
    if others:
        raise InitPolicyError(
            Problem(
                "IP516",
                f"{folder} has {_files(len(others))} of another checkpoint: "
                f"{listed(sorted(others))}",
                "name another folder, or remove them; a checkpoint is continued with the plan, the "
                "type and the sizes of files that it was begun with",
            )
        )


def _require_room(folder: Path, todo: Sequence[File]) -> None:
    needed = sum(file.size for file in todo)
    disk = shutil.disk_usage(folder)
    # Some file systems of networks tell no sizes.
    if disk.total and needed > disk.free:
        raise unwritable(
            folder,
            f"{needed:,} bytes are to be written, and its disk has {disk.free:,} left",
            "make room, or name a folder on another disk",
        )


def _read(path: Path) -> bytes | None:
    with suppress(FileNotFoundError):
        return path.read_bytes()
    return None


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"
