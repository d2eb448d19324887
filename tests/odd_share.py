"""A file system as no server should have it, but some do: run as `odd_share.py FOLDER PLACE FAULTS`.

It shows FOLDER at PLACE, has neither links nor a rename that never replaces, folds the case of names, keeps times in
steps of two seconds, refuses chmod and chown, and hands out inode numbers of its own. FAULTS is a JSON file of errno by
path ("/", "/season/a.jpg"): whatever is asked of such a path is answered so.
"""

# Paths are text here, as FUSE gives them.
# ruff: noqa: PTH102, PTH104, PTH106, PTH108, PTH118, PTH208

import errno
import json
import os
import sys
from pathlib import Path
from typing import Any

import mfusepy  # type: ignore[import-not-found,import-untyped,unused-ignore]

STEP_NS = 2 * 10**9


class Odd(mfusepy.Operations):  # type: ignore[misc]
    """The answers, by the path asked for."""

    use_ns = True

    def __init__(self, folder: str, faults: Path) -> None:
        self._folder = folder
        self._faults = faults

    def _at(self, path: str) -> str:
        """Return the file behind `path`, however that is spelled."""
        faults: dict[str, int] = json.loads(self._faults.read_text())
        if path in faults:
            raise OSError(faults[path], os.strerror(faults[path]))
        found = self._folder
        for name in path.strip("/").split("/"):
            alike = [entry for entry in os.listdir(found) if entry.casefold() == name.casefold()]
            found = os.path.join(found, name if name in alike or not alike else alike[0]) if name else found
        return found

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        found = os.lstat(self._at(path))
        names = ("st_mode", "st_uid", "st_gid", "st_size", "st_blocks", "st_blksize", "st_dev")
        answer = {name: getattr(found, name) for name in names}
        times = {
            f"st_{kind}": getattr(found, f"st_{kind}_ns") // STEP_NS * STEP_NS for kind in ("atime", "mtime", "ctime")
        }
        return answer | times | {"st_nlink": 1, "st_ino": 0}

    def readdir(self, path: str, fh: int) -> list[str]:
        return [".", "..", *os.listdir(self._at(path))]

    def mkdir(self, path: str, mode: int) -> int:
        os.mkdir(self._at(path), mode)
        return 0

    def rmdir(self, path: str) -> int:
        os.rmdir(self._at(path))
        return 0

    def unlink(self, path: str) -> int:
        os.unlink(self._at(path))
        return 0

    def rename(self, old: str, new: str) -> int:
        os.rename(self._at(old), self._at(new))
        return 0

    def create(self, path: str, mode: int, fi: object = None) -> int:
        return os.open(self._at(path), os.O_RDWR | os.O_CREAT | os.O_TRUNC, mode)

    def open(self, path: str, flags: int) -> int:
        return os.open(self._at(path), flags & ~os.O_NOFOLLOW)

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        self._at(path)
        return os.pread(fh, size, offset)

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        self._at(path)
        return os.pwrite(fh, data, offset)

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        os.truncate(self._at(path), length)
        return 0

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        self._at(path)
        os.fsync(fh)
        return 0

    def release(self, path: str, fh: int) -> int:
        os.close(fh)
        return 0

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
        if times is None:
            os.utime(self._at(path))
        else:
            os.utime(self._at(path), ns=times)
        return 0

    def statfs(self, path: str) -> dict[str, int]:
        found = os.statvfs(self._folder)
        return {name: getattr(found, name) for name in dir(found) if name.startswith("f_") and name != "f_fsid"}

    def _refuse(self, *_arguments: object) -> int:
        raise OSError(errno.EPERM, "not here")

    chmod = chown = link = symlink = _refuse


class Door(mfusepy.FUSE):  # type: ignore[misc]
    """The library hands a rename on without its flags, and would replace where that was not wished."""

    def rename_fuse_3(self, old: bytes, new: bytes, flags: int) -> int:
        if flags:
            raise OSError(errno.EINVAL, "no such flags")
        return int(self.rename_fuse_2(old, new))


if __name__ == "__main__":
    folder, place, faults = sys.argv[1:]
    fresh = {"attr_timeout": 0, "entry_timeout": 0, "negative_timeout": 0}
    Door(Odd(folder, Path(faults)), place, foreground=True, nothreads=True, **fresh)
