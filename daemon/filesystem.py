"""What the kernel says about files and mounts: fresh attributes, who writes, which file system this is."""

import ctypes
import errno
import fcntl
import os
import re
import signal
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from darkroom.daemon.job import Signature

MOUNTINFO = Path("/proc/self/mountinfo")
# All else (nfs, cifs, fuse, 9p, what comes next) tells no events of what the server or another client writes.
LOCAL = frozenset({"bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "ramfs", "tmpfs", "xfs", "zfs"})
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY  # no link, no wait for a fifo

AT_SYMLINK_NOFOLLOW, AT_NO_AUTOMOUNT, AT_STATX_FORCE_SYNC = 0x100, 0x800, 0x2000  # linux/fcntl.h
STATX_BASIC_STATS = 0x7FF  # linux/stat.h
MOST_LINKS = 40  # on the way of one path, as in path_resolution(7)


# -- files -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Stat:
    """The attributes of a file that tell whether it changed."""

    mode: int
    size_bytes: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @property
    def regular(self) -> bool:
        """Whether this is a plain file: no link, fifo, socket, device or folder."""
        return stat.S_ISREG(self.mode)

    @property
    def signature(self) -> Signature:
        """What the journal keeps of it."""
        return Signature(size_bytes=self.size_bytes, mtime_ns=self.mtime_ns, inode=self.inode)


class _Time(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_int64), ("nanoseconds", ctypes.c_uint32), ("spare", ctypes.c_int32))

    @property
    def ns(self) -> int:
        return int(self.seconds * 10**9 + self.nanoseconds)


class _Statx(ctypes.Structure):  # struct statx of linux/stat.h, 256 bytes
    _fields_ = (
        *((name, ctypes.c_uint32) for name in ("mask", "block_size")),
        ("attributes", ctypes.c_uint64),
        *((name, ctypes.c_uint32) for name in ("links", "uid", "gid")),
        *((name, ctypes.c_uint16) for name in ("mode", "spare")),
        *((name, ctypes.c_uint64) for name in ("inode", "size", "blocks", "attributes_mask")),
        *((name, _Time) for name in ("atime", "btime", "ctime", "mtime")),
        ("rest", ctypes.c_uint64 * 16),
    )


_STATX = getattr(ctypes.CDLL(None, use_errno=True), "statx", None)  # a C call: lets other threads run while it waits


def fresh_stat(path: bytes, root: int, kind: str) -> Stat:
    """Return the attributes of `path` below the folder `root` as its server knows them now; links are not followed.

    Caches lie: on SMB open + fstat stayed at a growing file's first size for 70 s after its end, on NFS stat lagged
    by 3 s. AT_STATX_FORCE_SYNC was right every time, and costs nothing on a local file system.

    root:  a folder's file descriptor;  kind: the file system's type, for the day statx is missing
    Raises OSError.
    """
    if _STATX is None:
        return stat_without_statx(path, root, kind)
    found = _Statx()
    flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_STATX_FORCE_SYNC
    if _STATX(root, ctypes.c_char_p(path), flags, STATX_BASIC_STATS, ctypes.byref(found)) == 0:
        return Stat(
            mode=found.mode,
            size_bytes=found.size,
            mtime_ns=found.mtime.ns,
            ctime_ns=found.ctime.ns,
            inode=found.inode,
        )
    if (code := ctypes.get_errno()) == errno.ENOSYS:
        return stat_without_statx(path, root, kind)
    raise OSError(code, os.strerror(code), path)


def stat_without_statx(path: bytes, root: int, kind: str) -> Stat:
    """Return the attributes of `path` as fresh as the older calls give them: by opening it on NFS, never on SMB."""
    if kind.startswith("nfs"):
        with opened(path, root) as handle:
            return as_stat(os.fstat(handle))
    return as_stat(os.stat(path, dir_fd=root, follow_symlinks=False))


def as_stat(found: os.stat_result) -> Stat:
    """Keep of `found` what tells whether a file changed."""
    return Stat(
        mode=found.st_mode,
        size_bytes=found.st_size,
        mtime_ns=found.st_mtime_ns,
        ctime_ns=found.st_ctime_ns,
        inode=found.st_ino,
    )


@contextmanager
def opened(path: bytes, root: int) -> Iterator[int]:
    """Yield a descriptor to read the file `path` below the folder `root`, with no symbolic link on the way.

    Raises OSError: ELOOP or ENOTDIR for a link.
    """
    *folders, name = path.split(b"/")
    at = os.dup(root)
    try:
        for folder in folders:
            inner = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
            os.close(at)
            at = inner
        handle = os.open(name, READ, dir_fd=at)
    finally:
        os.close(at)
    try:
        yield handle
    finally:
        os.close(handle)


@contextmanager
def opened_folder(path: Path) -> Iterator[int]:
    """Yield a descriptor of the folder `path`; while it is open the file system stays mounted. Raises OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield handle
    finally:
        os.close(handle)


def held_by_writer(handle: int) -> bool:
    """Tell whether any program has the file open for writing; False also where the kernel will not say.

    It grants a read lease only while nobody writes. It will not say for another user's file without CAP_LEASE
    (EACCES), nor on file systems without leases (EINVAL). Trust a False on local file systems only: SMB granted
    leases while the server itself was writing.
    """
    try:
        take_lease(handle)
    except OSError as error:
        return error.errno == errno.EAGAIN
    fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False


def take_lease(handle: int) -> None:
    """Take a read lease on the open file. Raises OSError if it is refused."""
    # A writer that comes while we hold the lease makes the kernel signal us: SIGIO, which would end the daemon.
    # SIGURG does nothing unless somebody asks for it.
    fcntl.fcntl(handle, fcntl.F_SETSIG, signal.SIGURG)
    fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_RDLCK)


# -- mounts ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A mounted file system."""

    path: bytes
    kind: str  # ext4, nfs4, fuse.sshfs, ...
    source: str

    @property
    def local(self) -> bool:
        """Whether events tell all its changes, and its leases and attributes can be trusted."""
        return self.kind in LOCAL

    @property
    def stable_inodes(self) -> bool:
        """Whether a file keeps its inode number over a remount; servers and overlays may hand out new ones."""
        return self.local and self.kind != "overlay"


UNKNOWN = Mount(path=b"/", kind="unknown", source="")


def parse_mounts(text: bytes) -> tuple[Mount, ...]:
    """Read the lines of /proc/self/mountinfo, see proc_pid_mountinfo(5)."""
    found = []
    for line in text.splitlines():
        before, _, after = line.partition(b" - ")
        kind, source, *_ = after.split(b" ")
        path = re.sub(rb"\\([0-7]{3})", lambda octal: bytes([int(octal[1], 8)]), before.split(b" ")[4])
        found.append(Mount(path=path, kind=os.fsdecode(kind), source=os.fsdecode(source)))
    return tuple(found)


def mounts_of(folder: Path, mounts: Sequence[Mount]) -> tuple[Mount, ...]:
    """Return the mount that `folder` lies on, then those below `folder`."""
    root = os.fsencode(folder)
    return (mount_at(root, mounts), *(mount for mount in mounts if mount.path != root and _inside(mount.path, root)))


def mount_at(path: bytes, mounts: Iterable[Mount]) -> Mount:
    """Return the mount that the absolute `path` lies on: the deepest, and of several on one place the last."""
    best = UNKNOWN
    for mount in mounts:
        if _inside(path, mount.path) and len(mount.path) >= len(best.path):
            best = mount
    return best


def without_links(path: Path, mounts: Sequence[Mount]) -> Path:
    """Return the absolute `path` without symbolic links and `..`, as far as it lies on local disks.

    A share is not asked, for its server may hang: what is written of a path on it stays as it is. So the path is the
    same whether the share is mounted or not, too. A loop of links is left as it is.
    """
    done, ahead, links = b"/", os.fsencode(path).split(b"/")[::-1], 0
    while ahead:
        name = ahead.pop()
        if name == b"..":
            done = os.path.dirname(done)  # noqa: PTH120  (bytes)
        elif name not in (b"", b"."):
            done = done.rstrip(b"/") + b"/" + name
            if links < MOST_LINKS and (target := _target(done, mounts)) is not None:
                done = b"/" if target.startswith(b"/") else os.path.dirname(done)  # noqa: PTH120
                ahead += target.split(b"/")[::-1]
                links += 1
    return Path(os.fsdecode(done))


def _target(path: bytes, mounts: Sequence[Mount]) -> bytes | None:
    mount = mount_at(path, mounts)
    if mount.local or mount.path == b"/":  # without its root, whatever that is, the machine would not run
        with suppress(OSError):
            return os.readlink(path)  # noqa: PTH115  (bytes)
    return None


def _inside(path: bytes, folder: bytes) -> bool:
    return path == folder or path.startswith(folder.rstrip(b"/") + b"/")
