"""Files that appear under their name when they are complete, and not before."""

from __future__ import annotations

import os
import secrets
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock

SYNC = 1 << 27
"""Bytes after which the disk is made to catch up, so that the end of a file is no long wait."""


class Replacement:
    """A file under a temporary name in the folder of its final one, which it takes at the end.

    Threads may write to it at once.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        self.temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
        # Without a buffer, and with the permissions that any new file has.
        self._file = open(self.temporary, "xb", buffering=0)  # noqa: SIM115
        self._lock = Lock()
        self._unsynced = 0

    def write(self, offset: int, data: memoryview | bytes) -> None:
        """Write all of `data` at `offset`."""
        left = memoryview(data)
        with self._lock:
            self._file.seek(offset)
            while left:
                left = left[self._file.write(left) :]
            self._unsynced += len(data)
            late = self._unsynced >= SYNC
            if late:
                self._unsynced = 0
        if late:
            _sync_data(self._file.fileno())

    def finish(self) -> None:
        """Give the file its final name, once all of it is on the disk."""
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self.temporary, self.target)
        _sync_folder(self.target.parent)

    def drop(self) -> None:
        """Remove the temporary file; the final name is left as it is."""
        with suppress(OSError):
            self._file.close()
        self.unlink()

    def unlink(self) -> None:
        """Remove the temporary name, though something may still be writing."""
        with suppress(OSError):
            self.temporary.unlink()


@contextmanager
def replacing(target: Path) -> Generator[Replacement]:
    """Write a file that replaces `target` when all went well."""
    file = Replacement(target)
    try:
        yield file
        file.finish()
    except BaseException:
        file.drop()
        raise


def leftovers(target: Path) -> list[Path]:
    """What processes that were killed left of this file."""
    before, after = f".{target.name}.", ".partial"
    return [
        path
        for path in target.parent.iterdir()
        if path.name.startswith(before)
        and path.name.endswith(after)
        and len(path.name) == len(before) + 8 + len(after)
    ]


def _sync_data(number: int) -> None:
    getattr(os, "fdatasync", os.fsync)(number)


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":  # where folders cannot be opened
        return
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    except OSError:
        pass  # not every network's file system can
    finally:
        os.close(number)
