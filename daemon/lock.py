"""One daemon for each state folder."""

import fcntl
import os
import time
from pathlib import Path

from darkroom.pipelines.errors import Unavailable

PATIENCE_S = 5.0  # a killed daemon's worker holds the lock too, and needs a moment to be gone


def take_lock(state: Path, patience_s: float = PATIENCE_S) -> int:
    """Return a file descriptor that holds the lock on `state` for as long as it, or a copy in a child, is open.

    Raises Unavailable if another daemon has it.
    """
    handle = os.open(state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o664)
    deadline = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return handle
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(handle)
                raise Unavailable(f"{state}: another darkroom is running on this state folder; stop it first") from None
            time.sleep(0.05)


def is_taken(state: Path) -> bool:
    """Tell whether a daemon, or a worker it left, has the lock on `state`; a process number alone may be anybody's."""
    try:
        handle = os.open(state / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False
