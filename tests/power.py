"""File systems of their own, in image files: small ones to fill up, and ones whose power can be cut."""

import ctypes
import fcntl
import os
import struct
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

SHUTDOWN, NO_LOG_FLUSH = 0x8004587D, 2  # FS_IOC_SHUTDOWN and its flag, linux/ext4.h and xfs_fs.h
SIZES_MB = {"xfs": 320, "btrfs": 128}  # the smallest they will be; sparse
MAKE = {
    "ext4": ("mkfs.ext4", "-q", "-F", "-m", "0"),  # no blocks for root alone
    "xfs": ("mkfs.xfs", "-q", "-f"),
    "btrfs": ("mkfs.btrfs", "-q", "-f"),
    "vfat": ("mkfs.vfat",),
    "exfat-fuse": ("mkfs.exfat",),
}
CLONE_NEWNS = 0x20000  # linux/sched.h
LIBC = ctypes.CDLL(None, use_errno=True)


class Disk:
    """A file system of one kind, mounted at `path`; what is in it outlives `detach` and, as far as it may, a cut."""

    def __init__(self, path: Path, kind: str, *, megabytes: int, options: Sequence[str] = ()) -> None:
        """Describe it; `options` are those of its mkfs."""
        self.path, self.kind = path, kind
        self._size_mb = max(megabytes, SIZES_MB.get(kind, 0))
        self._memory = path.with_name(f"{path.name}.memory")
        self._image = self._memory / "image"
        self._options = options
        self._device = ""

    def make(self) -> None:
        """Make the file system, not mounted yet. Raises OSError, CalledProcessError."""
        self.path.mkdir(parents=True)
        if self.kind != "tmpfs":
            self._memory.mkdir()
            _run("mount", "-t", "tmpfs", "tmpfs", self._memory)  # a busy disk below would make each sync slow
            with self._image.open("wb") as image:
                image.truncate(self._size_mb << 20)
            _run(*MAKE[self.kind], *self._options, self._image)
            self._device = _run("losetup", "--find", "--show", self._image).strip()  # one for all mounts

    def attach(self) -> None:
        """Mount it."""
        if self.kind == "tmpfs":
            _run("mount", "-t", "tmpfs", "-o", f"size={self._size_mb}m", "tmpfs", self.path)
        else:
            _run("mount", "-t", self.kind, self._device, self.path)

    def detach(self) -> None:
        """Unmount it."""
        _run("umount", self.path)

    def remove(self) -> None:
        """Unmount it for good, even if it is in use."""
        while self.path.is_mount():
            _run("umount", "--lazy", self.path)
        if self._device:
            _run("losetup", "--detach", self._device)
        if self._memory.is_mount():
            _run("umount", "--lazy", self._memory)

    def sync(self) -> None:
        """Bring all that was written to it so far on the disk."""
        with _opened(self.path) as handle:
            assert LIBC.syncfs(handle) == 0

    def cut_power(self, *, names_first: bool = False) -> None:
        """Lose whatever is not on the disk by now, and mount what is left.

        names_first: the file system has written its own log a moment ago, as it does every few seconds: names are
        on the disk then, and content is not unless somebody synced it
        """
        if names_first:
            with _opened(self.path / "neighbour", os.O_RDWR | os.O_CREAT) as handle:
                os.write(handle, b"x")
                assert LIBC.fsync(handle) == 0  # not os.fsync: a test may have put that out of action
        self.die()
        self.detach()
        self.attach()

    def die(self) -> None:
        """Let nothing more be written or read: from now on each call fails with EIO."""
        with _opened(self.path) as handle:
            fcntl.ioctl(handle, SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))

    @property
    def _ballast(self) -> Path:
        return self.path / "ballast"

    def fill(self) -> None:
        """Use up all space that is left."""
        with _opened(self._ballast, os.O_WRONLY | os.O_CREAT | os.O_APPEND) as handle:
            for size in (1 << 20, 1 << 16, 1 << 12, 1 << 9):
                while _writes(handle, size):
                    pass

    def fill_inodes(self) -> None:
        """Use up all inodes that are left."""
        self._ballast.mkdir(exist_ok=True)
        for number in range(1 << 20):
            try:
                (self._ballast / f"{number}").touch()
            except OSError:
                return

    def free(self) -> None:
        """Give back what was filled up."""
        _run("rm", "-rf", self._ballast)
        self.sync()  # ext4 gives blocks back with its next commit

    def allow(self, *, writing: bool) -> None:
        """Let it be written to, or only be read, from now on."""
        _run("mount", "-o", "remount,rw" if writing else "remount,ro", self.path)

    def use_up_quota(self) -> None:
        """Let it (of btrfs) hold no more than it holds."""
        _run("btrfs", "quota", "enable", self.path)
        _run("btrfs", "qgroup", "limit", "1", "0/5", self.path)  # 5 is the number of its root

    def end_quota(self) -> None:
        """Let it hold as much as there is room for."""
        _run("btrfs", "quota", "disable", self.path)

    def abort(self) -> None:
        """Have ext4 meet an error of its own, after which it can only be read."""
        _run("mount", "-o", "remount,abort", self.path)

    def revive(self) -> None:
        """Mount it anew after it died, though somebody may still hold what he had open there."""
        _run("umount", "--lazy", self.path)
        self.attach()


@contextmanager
def disk(path: Path, kind: str = "ext4", *, megabytes: int = 64, options: Sequence[str] = ()) -> Iterator[Disk]:
    """Yield a mounted disk; skip the test, saying why, where this machine cannot have one."""
    made = Disk(path, kind, megabytes=megabytes, options=options)
    try:
        try:
            made.make()
            made.attach()
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no {kind} can be mounted here: {_why(error)}")
        yield made
    finally:
        made.remove()


def see_mounts_alone() -> None:
    """Let this process have its own view of what is mounted, where it may; what it mounts is gone when it is.

    A namespace that a test beside this one makes would get our mounts too: they would outlive their unmounting, the
    server of a share would never end, and a disk that is mounted again would be as dead as it was left.
    """
    if os.geteuid() == 0 and LIBC.unshare(CLONE_NEWNS) == 0:
        _run("mount", "--make-rprivate", "/")


def _why(error: OSError | subprocess.CalledProcessError) -> str:
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}"
    return " ".join(error.stderr.split())


def _run(*command: object) -> str:
    return subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True).stdout


def _writes(handle: int, size: int) -> bool:
    try:
        return os.write(handle, bytes(size)) == size
    except OSError:
        return False


@contextmanager
def _opened(path: Path, flags: int = os.O_RDONLY) -> Iterator[int]:
    handle = os.open(path, flags | os.O_CLOEXEC)
    try:
        yield handle
    finally:
        os.close(handle)
