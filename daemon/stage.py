"""The source a job reads: the file in the inbox or, from a network share, a copy of it in the work folder."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from darkroom.daemon.config import Folder
from darkroom.daemon.filesystem import MOUNTINFO, fresh_stat, mount_at, opened, opened_folder, parse_mounts
from darkroom.daemon.job import Job
from darkroom.daemon.marker import INBOX, unreachable, why_away
from darkroom.daemon.parts import atomic
from darkroom.daemon.place import folder_below, split
from darkroom.pipelines.errors import Stopped, Unavailable

CHUNK = 8 * 2**20
CHANGED = "replace"  # the wish that a newer version of the file takes the job's place


def source_path(job: Job, folder: Folder) -> Path:
    """Return where the file of `job` lies; one added by hand has an absolute path of its own."""
    return folder.inbox / os.fsdecode(job.path)


def check_unchanged(job: Job, folder: Folder, identities: Mapping[str, str] = {}) -> None:
    """Raise Stopped(CHANGED) if the file is gone or is not the version the job is about.

    The inode is not compared: file servers hand out new ones. An unmounted share looks like an empty folder, and
    another one may have a file of this name: nothing is concluded from an inbox that is not the one known by
    `identities` (`marker.load_identities`). Raises Unavailable, to be waited for, if it is not; OSError.
    """
    root, below = _place_of(job, folder)
    parents, name = split(below)
    try:
        with opened_folder(root) as handle, folder_below(handle, parents) as parent:
            found = fresh_stat(name, parent, "")
    except OSError as error:
        _check_inbox(job, folder, identities)
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            raise Stopped(CHANGED) from error
        raise
    # A link can be made as long as the file was, and as old.
    if not found.regular or (found.size_bytes, found.mtime_ns) != (job.size_bytes, job.mtime_ns):
        _check_inbox(job, folder, identities)
        raise Stopped(CHANGED)


def _check_inbox(job: Job, folder: Folder, identities: Mapping[str, str]) -> None:
    if job.path.startswith(b"/"):
        return  # added by hand, from wherever it lies
    try:
        with opened_folder(folder.inbox) as root:
            away = why_away(root, folder.inbox, INBOX, identities, folder.name)
    except OSError as error:
        away = unreachable(folder.inbox, error)
    if away:
        raise Unavailable(away, patient=True)


def _place_of(job: Job, folder: Folder) -> tuple[Path, bytes]:
    """Return a folder that the owner chose, and below it the path of the source, on which no link is to be followed.

    Raises Stopped(CHANGED) where a link that was taken leads out of the inbox by now.
    """
    path = source_path(job, folder)
    if job.path.startswith(b"/"):
        return path.parent, os.fsencode(path.name)
    if not folder.symlinks:
        return folder.inbox, job.path
    inbox, real = Path(os.path.realpath(folder.inbox)), Path(os.path.realpath(path))
    if not real.is_relative_to(inbox):
        raise Stopped(CHANGED)
    return inbox, os.fsencode(real.relative_to(inbox))


def staged(job: Job, folder: Folder, work: Path, beat: Callable[[], None], identities: Mapping[str, str] = {}) -> Path:
    """Return the path to read the source from, having copied it if the folder is to be staged.

    A copy survives an unmount of the share and is read at local speed, and no link that somebody puts in
    the source's place leads it elsewhere. Its time is that of the source, for the plan holds it. Raises OSError, and
    Stopped and Unavailable as `check_unchanged` does.
    """
    source = source_path(job, folder)
    local = mount_at(os.fsencode(source), parse_mounts(MOUNTINFO.read_bytes())).local
    if folder.stage == "never" or (folder.stage == "auto" and local):
        check_unchanged(job, folder, identities)
        return source
    copy = work / f"source{source.suffix}"
    if not _is_copy(copy, job):
        check_unchanged(job, folder, identities)
        with atomic(copy) as draft:
            _copy(*_place_of(job, folder), draft, beat)
            os.utime(draft, ns=(job.mtime_ns, job.mtime_ns))
            check_unchanged(job, folder, identities)  # before it gets its name: a copy that exists is of this version
    return copy


def _is_copy(copy: Path, job: Job) -> bool:
    """Tell whether `copy` is of this job's file: job numbers begin again where the journal was lost."""
    try:
        found = copy.stat()
    except FileNotFoundError:
        return False
    return (found.st_size, found.st_mtime_ns) == (job.size_bytes, job.mtime_ns)


def _copy(root: Path, below: bytes, target: Path, beat: Callable[[], None]) -> None:
    with opened_folder(root) as folder, opened(below, folder) as source, target.open("wb") as writer:
        while block := os.read(source, CHUNK):
            writer.write(block)
            beat()
