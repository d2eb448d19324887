"""What every import of weights does: one at a time in a folder, with room enough, safe on the disk"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from darkroom.pipelines.errors import Unavailable


@contextmanager
def alone(place: Path) -> Iterator[None]:
    """Let one import at a time write to `place`. Raises Unavailable where another is at it."""
    handle = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise Unavailable(f"{place}: another import is writing here; wait for its end") from None
    finally:
        os.close(handle)


def check_space(place: Path, wanted_bytes: int) -> None:
    """Raise Unavailable if there is less room at `place` than an import will take."""
    free = shutil.disk_usage(place).free
    if free < wanted_bytes:
        raise Unavailable(f"{place}: {free / 1e9:.1f} GB free and {wanted_bytes / 1e9:.1f} GB needed; make room")


def sync(path: Path) -> None:
    """Return once what `path`, a file or a folder, holds is on the disk."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
