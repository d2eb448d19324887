"""Lets something happen in the midst of some work: at its n-th step on the disk, or at a crash point."""

import errno
import os
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

CHANGES = frozenset({"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.utime"})
POINTS = "darkroom."
COMMIT = "darkroom.journal."
COMMIT_DUE = "darkroom.journal.commit-due"
WRITES = frozenset({"open", "os.rename", "os.mkdir", "os.link"})
# Where a flush to the disk follows, or what was flushed is not yet.
FLUSHES = frozenset(
    f"{POINTS}{point}"
    for point in (
        *("atomic.draft-written", "atomic.draft-named", "place.draft-made", "place.draft-written"),
        *("place.named", "place.folder-made", "original.gone", "journal.commit-due"),
    )
)

Event = Callable[[str], None]
"""What happens; told the name of the step."""


def changing(name: str, arguments: Any) -> bool:
    """Where a process may be killed: before each change of the disk, and at each crash point."""
    if name == "open":
        _, mode, flags = arguments
        return bool(flags & (os.O_WRONLY | os.O_RDWR)) or bool(mode and set(mode) & set("wax+"))
    return name in CHANGES or name.startswith(POINTS)


def between_commits(name: str, arguments: Any) -> bool:
    """Where others may act: before each reading too.

    Inside a transaction they would have to wait. Nor may they come between a last look at a file and its removal, two
    system calls in a row: there is no way to remove a file on a condition.
    """
    return name == "open" or (changing(name, arguments) and name != "os.remove" and not name.startswith(COMMIT))


def writing(name: str, arguments: Any) -> bool:
    """Where a disk may be full or broken."""
    return changing(name, arguments) and (name in WRITES or name in FLUSHES)


def killed(_step: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def disk_full(step: str) -> None:
    if step == COMMIT_DUE:
        raise sqlite3.OperationalError("database or disk is full")
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def disk_broken(step: str) -> None:
    if step == COMMIT_DUE:
        raise sqlite3.OperationalError("disk I/O error")
    raise OSError(errno.EIO, os.strerror(errno.EIO))


class Interruptions:
    """One hook into all that this process does: Python never lets go of a hook, so there is one for all houses."""

    def __init__(self) -> None:
        self._left: int | None = None
        self._lasting = False
        self._event: Event = killed
        self._counts: Callable[[str, Any], bool] = changing
        sys.addaudithook(self._hear)

    @contextmanager
    def at(
        self, step: int, event: Event, counts: Callable[[str, Any], bool], *, lasting: bool = False
    ) -> Iterator[None]:
        """Let `event` happen before step number `step` of what is done here, from 0; `lasting`: and at each later one.

        counts: tells which steps are counted
        """
        self._left, self._event, self._counts, self._lasting = step, event, counts, lasting
        try:
            yield
        finally:
            self._left = None

    def _hear(self, name: str, arguments: Any) -> None:
        if self._left is None or not self._counts(name, arguments):
            return
        if self._left:
            self._left -= 1
            return
        if not self._lasting:
            self._left = None
        self._event(name)


@cache
def interruptions() -> Interruptions:
    return Interruptions()
