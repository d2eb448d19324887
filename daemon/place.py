"""Put one file in place: whole or not at all, on the disk for good, never over another, never outside its root.

A draft is written in the root's own hidden folder (media servers skip those), fsynced, given its name
without replacing, and then the folder is fsynced. With a simulated power cut, leaving out the first fsync
gave an empty file under the final name, leaving out the second gave no file. Every step below the root
goes through the open folder (dir_fd, O_NOFOLLOW): a symbolic link that somebody planted leads nowhere.
"""

import ctypes
import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from darkroom.daemon.crash_points import CrashPoint, reach
from darkroom.daemon.filesystem import opened
from darkroom.pipelines.errors import Unavailable

TEMP = b".darkroom-tmp"  # at the root of each outbox and the like; holds drafts named JOB-<number>.<kind>
CHUNK = 8 * 2**20  # bytes between two ticks: about a second on the slowest network
RENAME_NOREPLACE = 1  # renameat2(2)
NOT_HERE = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EXDEV, errno.EPERM, errno.EMLINK}
LIBC = ctypes.CDLL(None, use_errno=True)

REMEDIES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "raise the quota or free some space",
    errno.EROFS: "mount it for writing",
    errno.EACCES: "let the service's user write there",
    errno.EPERM: "let the service's user write there",
    errno.ENOENT: "is it mounted?",
    errno.ENOTDIR: "a file or symbolic link stands where a folder should be, remove it",
    errno.ELOOP: "a symbolic link stands where a file should be, remove it",
    errno.EXDEV: "a folder in it is another file system, make that one an outbox of its own",
}

Beat = Callable[[], None]
"""Called between two chunks of a long copy; may raise Stopped."""


class NameTaken(Exception):
    """Another file has the name; the message says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A file that is to be made."""

    path: bytes  # where it goes, below the root
    name: str  # of its draft; whatever an earlier run left under it is thrown away
    write: Callable[[int], None]  # puts its content into an open file


@contextmanager
def unavailable(where: Path) -> Iterator[None]:
    """Say what the system refuses at `where` as Unavailable, in one line with the remedy."""
    try:
        yield
    except OSError as error:
        remedy = REMEDIES.get(error.errno or 0, "is the disk or the share well?")
        patient = error.errno == errno.EROFS  # nobody but a person mends that
        raise Unavailable(f"{where}: {error.strerror or error}; {remedy}", patient=patient) from error


@contextmanager
def folder_below(root: int, parents: Sequence[bytes], *, create: bool = False) -> Iterator[int]:
    """Yield the open folder `parents` below the open folder `root`, made durably where missing with `create`.

    Raises NotADirectoryError at a symbolic link, FileNotFoundError, ValueError for `..` and the like.
    """
    folder = os.dup(root)
    try:
        for name in parents:
            if name in (b"", b".", b"..") or b"/" in name:
                raise ValueError(f"{name!r} is no folder's name")
            if create:
                with suppress(FileExistsError):
                    os.mkdir(name, dir_fd=folder)
                    reach(CrashPoint.PLACE_FOLDER_MADE)
                os.fsync(folder)  # also of one that is there: a crash may have come in between
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            os.close(folder)
            folder = inner
        yield folder
    finally:
        os.close(folder)


def split(path: bytes) -> tuple[list[bytes], bytes]:
    """Return the folders and the name of a path below some root."""
    *parents, name = path.split(b"/")
    return parents, name


def place(root: int, path: bytes, write: Callable[[int], None], *, draft: str, replace: bool = False) -> None:
    """Make the file `path` below the open folder `root` with what `write` puts into an open draft.

    draft:    name of the draft
    replace:  put it over an existing file, in one step: there is the old or the new one at any moment

    Raises NameTaken, OSError, and what `write` raises; then no draft is left.
    """
    place_all(root, [Draft(path=path, name=draft, write=write)], replace=replace)


def place_all(root: int, drafts: Sequence[Draft], *, replace: bool = False) -> None:
    """Make several files as `place` makes one: all are on the disk before the first of them gets its name.

    So a full disk or a bad copy leaves none of them. A name that is taken leaves those placed before it.
    """
    with folder_below(root, [TEMP], create=True) as temp:
        try:
            for draft in drafts:
                with folder_below(root, split(draft.path)[0], create=True) as folder:
                    _write(temp, os.fsencode(draft.name), folder, draft.write)
            for draft in drafts:
                parents, name = split(draft.path)
                with folder_below(root, parents) as folder:
                    _name(temp, os.fsencode(draft.name), folder, name, replace=replace)
        finally:
            for draft in drafts:
                discard(temp, os.fsencode(draft.name))
                reach(CrashPoint.PLACE_DRAFT_GONE)


def copier(source: int, *, sha256: str, keep_times: bool = False, beat: Beat) -> Callable[[int], None]:
    """Return a `write` for `place` that copies the open file `source` and reads the copy back.

    The copy stays in the kernel: xfs and btrfs share the blocks, NFS and SMB copy on the server. A hard link
    would be cheaper on one file system, but then a fault of one name would be a fault of both.
    Raises Unavailable (from `write`) if the copy's SHA-256 is not `sha256`.
    """

    def write(target: int) -> None:
        _copy(source, target, beat)
        os.fsync(target)
        os.posix_fadvise(target, 0, 0, os.POSIX_FADV_DONTNEED)  # from the disk or server, not from the cache
        if digest(target, beat) != sha256:
            raise Unavailable("the copy differs from the file it was made of; are disk, memory and network well?")
        if keep_times:
            of_source = os.fstat(source)
            os.utime(target, ns=(of_source.st_atime_ns, of_source.st_mtime_ns))

    return write


def digest(file: int, beat: Beat) -> str:
    """Return the SHA-256 of the open `file` from its start, in hexadecimal."""
    os.lseek(file, 0, os.SEEK_SET)
    sha256 = hashlib.sha256()
    while data := os.read(file, CHUNK):
        sha256.update(data)
        beat()
    return sha256.hexdigest()


def is_there(folder: int, name: bytes, size_bytes: int, sha256: str, beat: Beat) -> bool:
    """Tell whether `name` in the open `folder` is a regular file of this size and SHA-256."""
    found = look(folder, name)
    if found is None or not stat.S_ISREG(found.st_mode) or found.st_size != size_bytes:
        return False
    with opened(name, folder) as file:
        return digest(file, beat) == sha256


def look(folder: int, name: bytes) -> os.stat_result | None:
    """Return the state of `name` itself in the open `folder`, None if there is nothing."""
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def discard(folder: int, name: bytes) -> None:
    """Remove `name` from the open `folder`; a missing one is fine."""
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)


def discard_draft(root: int, draft: str) -> None:
    """Remove what a crash left of a `draft` whose file turned out to be in place already."""
    with suppress(FileNotFoundError), folder_below(root, [TEMP]) as temp:
        discard(temp, os.fsencode(draft))
        discard(temp, os.fsencode(f"{draft}.claim"))


def move_free(source: int, old: bytes, target: int, new: bytes) -> None:
    """Rename `old` in the open folder `source` to `new` in `target`, which nothing may have.

    Raises FileExistsError if `new` is taken, OSError with an errno of NOT_HERE if this file system can do
    it neither by renameat2 (NFS: EINVAL) nor by a hard link.
    """
    try:
        _rename_free(source, old, target, new)
    except OSError as error:
        if error.errno not in NOT_HERE:
            raise
        os.link(old, new, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
        reach(CrashPoint.PLACE_LINKED)
        os.unlink(old, dir_fd=source)


def _rename_free(source: int, old: bytes, target: int, new: bytes) -> None:
    if not hasattr(LIBC, "renameat2"):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if LIBC.renameat2(source, old, target, new, RENAME_NOREPLACE):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _write(temp: int, draft: bytes, folder: int, write: Callable[[int], None]) -> None:
    # Never O_TRUNC: after a crash between link and unlink the old draft is the published file itself.
    discard(temp, draft)
    file = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666, dir_fd=temp)
    try:
        reach(CrashPoint.PLACE_DRAFT_MADE)
        _take_group(file, folder)
        write(file)
        reach(CrashPoint.PLACE_DRAFT_WRITTEN)
        os.fsync(file)
        reach(CrashPoint.PLACE_DRAFT_SYNCED)
    finally:
        os.close(file)


def _take_group(file: int, folder: int) -> None:
    """Give `file` the group that it would have if it had been made in `folder`."""
    wanted = os.fstat(folder)
    if wanted.st_mode & stat.S_ISGID:
        with suppress(OSError):  # SMB ignores it, and nobody may give files to groups he is not in
            os.fchown(file, -1, wanted.st_gid)


def _copy(source: int, target: int, beat: Beat) -> None:
    os.lseek(source, 0, os.SEEK_SET)
    send = _send_range
    while True:
        beat()
        try:
            sent = send(source, target)
        except OSError as error:
            if send is _send_file or error.errno not in NOT_HERE:
                raise
            send = _send_file  # across file systems
            continue
        if sent == 0:
            return


def _send_range(source: int, target: int) -> int:
    return os.copy_file_range(source, target, CHUNK)


def _send_file(source: int, target: int) -> int:
    return os.sendfile(target, source, None, CHUNK)


def _name(temp: int, draft: bytes, folder: int, name: bytes, *, replace: bool) -> None:
    """Give the draft its name, for good."""
    if replace:
        os.rename(draft, name, src_dir_fd=temp, dst_dir_fd=folder)
    else:
        _put(temp, draft, folder, name)
    reach(CrashPoint.PLACE_NAMED)
    os.fsync(folder)
    reach(CrashPoint.PLACE_NAME_SYNCED)


def _put(temp: int, draft: bytes, folder: int, name: bytes) -> None:
    """Give the draft its name without replacing, by the best way that this file system knows.

    The last way (some FUSE file systems) holds the name with an empty file and renames over that. A crash in
    between leaves the empty file, which the claim beside the draft tells from one of somebody else.
    """
    claim = draft + b".claim"
    try:
        try:
            move_free(temp, draft, folder, name)
        except OSError as error:
            if error.errno not in NOT_HERE or error.errno == errno.EXDEV:
                raise
            _hold(temp, claim, folder, name)
            reach(CrashPoint.PLACE_HELD)
            os.rename(draft, name, src_dir_fd=temp, dst_dir_fd=folder)
    except FileExistsError as error:
        holder = look(folder, name)
        if holder is None or holder.st_size or not look(temp, claim):
            raise NameTaken(f"{os.fsdecode(name)}: another file has got this name") from error
        os.rename(draft, name, src_dir_fd=temp, dst_dir_fd=folder)
    discard(temp, claim)


def _hold(temp: int, claim: bytes, folder: int, name: bytes) -> None:
    if look(folder, name):
        raise FileExistsError(name)
    os.close(os.open(claim, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666, dir_fd=temp))
    os.fsync(temp)
    reach(CrashPoint.PLACE_CLAIMED)
    try:
        os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666, dir_fd=folder))
    except FileExistsError:
        discard(temp, claim)
        raise
