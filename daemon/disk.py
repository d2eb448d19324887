"""Free space: is there enough for the next step, with the reserve left alone?"""

import errno
import os
from pathlib import Path

from darkroom.daemon.units import show_bytes

HYSTERESIS = 1.1  # who waits goes on only when there is a tenth more, or jobs would start and stop at the brink
INODES = 1000  # free ones that a job may need: parts, drafts, folders

GONE = (errno.EIO, errno.EROFS, errno.ENODEV, errno.ENXIO, errno.ESHUTDOWN)  # until it is mounted anew
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)  # a full disk, used-up inodes, a used-up quota


def short_of(path: Path, needed: int, reserve: int, *, waiting: bool = False, volume: str = "") -> str:
    """Say what the volume of `path` lacks, in one line; "" if there is enough and it can be written to.

    needed:   bytes the next step will write;  reserve: bytes that must be left after it
    waiting:  jobs wait already, so a tenth more is asked for
    volume:   what people call it, such as "work volume"
    A volume that does not answer lacks everything: nothing is raised, the caller's loop goes on.
    """
    try:
        found = os.statvfs(path)
    except OSError as error:
        return f"{volume} {path}: {error.strerror}; is it there and mounted? jobs wait".lstrip()
    if found.f_flag & os.ST_RDONLY:
        return f"{volume} {path}: read-only; mount it for writing; jobs wait".lstrip()
    free_bytes = found.f_bavail * found.f_frsize
    free_inodes = found.f_favail if found.f_files else None  # btrfs has no fixed number and says 0
    lack = shortage(free_bytes, free_inodes, needed + reserve, waiting=waiting)
    return f"{volume} {path}: {lack}; jobs wait".lstrip() if lack else ""


def why_gone(path: Path) -> str:
    """Say why the disk of the folder `path`, of this user, takes nothing any more, not even a date; "" if it does."""
    try:
        os.utime(path)
    except OSError as error:
        if error.errno in GONE:
            return f"{path}: {error.strerror}; is its disk well, and mounted for writing?"
    return ""


def shortage(free_bytes: int, free_inodes: int | None, wanted_bytes: int, *, waiting: bool) -> str:
    """Say what is missing, "" if nothing is.

    free_inodes: None where the file system has no fixed number of them
    """
    factor = HYSTERESIS if waiting else 1
    if free_bytes < wanted_bytes * factor:
        return f"{show_bytes(free_bytes)} free, {show_bytes(wanted_bytes * factor)} needed"
    if free_inodes is not None and free_inodes < INODES * factor:
        return f"{free_inodes} inodes free, {INODES * factor:.0f} needed; remove small files"
    return ""
