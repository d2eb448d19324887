"""The source a job reads: the file in the inbox or, from a network share, a copy of it in the work folder."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

from darkroom.daemon.config import Folder
from darkroom.daemon.filesystem import MOUNTINFO, fresh_stat, mount_at, opened, opened_folder, parse_mounts
from darkroom.daemon.job import Job
from darkroom.daemon.marker import INBOX
from darkroom.daemon.parts import atomic
from darkroom.daemon.place import folder_below, split
from darkroom.pipelines.errors import Stopped

CHUNK = 8 * 2**20
CHANGED = "replace"  # the wish that a newer version of the file takes the job's place


def source_path(job: Job, folder: Folder) -> Path:
    """Return where the file of `job` lies; one added by hand has an absolute path of its own."""
    return folder.inbox / os.fsdecode(job.path)


def check_unchanged(job: Job, folder: Folder) -> None:
    """Raise Stopped(CHANGED) if the file is gone or is not the version the job is about.

    The inode is not compared: file servers hand out new ones. An unmounted share looks like an empty
    folder, so a file is gone only from an inbox that shows its marker. Raises OSError if it does not.
    """
    root, below = _place_of(job, folder)
    parents, name = split(below)
    try:
        with opened_folder(root) as handle, folder_below(handle, parents) as parent:
            found = fresh_stat(name, parent, "")
    except (FileNotFoundError, NotADirectoryError) as error:
        if not job.path.startswith(b"/") and not (folder.inbox / INBOX).exists():
            fact = "not there, and neither is the marker of the inbox: is the share mounted?"
            raise FileNotFoundError(errno.ENOENT, fact, str(source_path(job, folder))) from error
        raise Stopped(CHANGED) from error
    # A link can be made as long as the file was, and as old.
    if not found.regular or (found.size_bytes, found.mtime_ns) != (job.size_bytes, job.mtime_ns):
        raise Stopped(CHANGED)


def _place_of(job: Job, folder: Folder) -> tuple[Path, bytes]:
    """Return a folder that the owner chose, and below it the path of the source, on which no link is to be followed.

    Raises Stopped(CHANGED) where a link that was taken leads out of the inbox by now.
    """
    path = source_path(job, folder)
    if job.path.startswith(b"/"):
        return path.parent, os.fsencode(path.name)
    if not folder.symlinks:
        return folder.inbox, job.path
    real = Path(os.path.realpath(path))
    if not real.is_relative_to(folder.inbox):
        raise Stopped(CHANGED)
    return folder.inbox, os.fsencode(real.relative_to(folder.inbox))


def staged(job: Job, folder: Folder, work: Path, beat: Callable[[], None]) -> Path:
    """Return the path to read the source from, having copied it if the folder is to be staged.

    A copy survives an unmount of the share and is read at local speed, and no link that somebody puts in the
    source's place leads it elsewhere. Its time is that of the source, for the plan holds it. Raises OSError, Stopped if
    the file changed.
    """
    source = source_path(job, folder)
    local = mount_at(os.fsencode(source), parse_mounts(MOUNTINFO.read_bytes())).local
    if folder.stage == "never" or (folder.stage == "auto" and local):
        check_unchanged(job, folder)
        return source
    copy = work / f"source{source.suffix}"
    if not _is_copy(copy, job):
        check_unchanged(job, folder)
        with atomic(copy) as draft:
            _copy(*_place_of(job, folder), draft, beat)
            os.utime(draft, ns=(job.mtime_ns, job.mtime_ns))
            check_unchanged(job, folder)  # before it gets its name: a copy that exists is of this version
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
