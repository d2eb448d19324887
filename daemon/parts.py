"""Parts on disk. A part that exists is finished: it got its name by a rename after an fsync."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from darkroom.daemon.crash_points import CrashPoint, reach
from darkroom.daemon.disk import NO_ROOM
from darkroom.pipelines.base import Plan, Segment

DRAFT = ".draft"  # suffix of a file that is being written; what a crash leaves of it is thrown away


class Parts:
    """The folder of one plan's parts."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        """Make the folder if need be, clear it of drafts that a crash left, and see that what it has will stay."""
        self.folder = folder
        self._plan = plan
        folder.mkdir(parents=True, exist_ok=True)
        for draft in folder.glob(f"*{DRAFT}*"):
            _remove(draft)
        # Also of what was there before: a crash, or a fault of the disk, may have come between a name and its sync.
        for synced in (folder, *folder.parents[:3]):  # the folders of the plan, the job and all jobs, and the state
            sync_folder(synced)

    def path(self, segment: Segment) -> Path:
        """Return where the part of `segment` lies or will lie."""
        return self.folder / f"{segment.index:06d}{self._plan.part_suffix}"

    def before(self, segment: Segment) -> Path | None:
        """Return the part before that of `segment`, or None for the first."""
        return self.path(self._plan.segments[segment.index - 1]) if segment.index else None

    def missing(self) -> list[Segment]:
        """Return the segments without a part, in order."""
        return [segment for segment in self._plan.segments if not self.path(segment).exists()]

    def all(self) -> list[Path]:
        """Return the paths of all parts, in order."""
        return [self.path(segment) for segment in self._plan.segments]

    @property
    def result(self) -> Path:
        """Return where the joined result lies or will lie."""
        return self.folder / f"result{self._plan.result_suffix}"


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a draft's path beside `path`; give it that name, durably, when the block ends well.

    The draft keeps the suffix, since writers choose the format by it. It may be made a folder of files. After a
    power cut there is either nothing at `path` or all of it. An OSError of a full disk says which file had no room.
    """
    draft = path.with_name(f"{path.stem}{DRAFT}{path.suffix}")
    try:
        yield draft
        for inner in draft.iterdir() if draft.is_dir() else ():
            sync_file(inner)
        reach(CrashPoint.DRAFT_WRITTEN)
        sync_file(draft)
        reach(CrashPoint.DRAFT_SYNCED)
        draft.replace(path)
        reach(CrashPoint.DRAFT_NAMED)
        sync_folder(path.parent)
        reach(CrashPoint.NAME_SYNCED)
    except BaseException as error:
        if isinstance(error, OSError) and error.errno in NO_ROOM and error.filename is None:
            error.filename = os.fspath(path)  # write and fsync do not tell
        _remove(draft)
        raise


def _remove(draft: Path) -> None:
    if draft.is_dir():
        remove_folder(draft)
    else:
        draft.unlink(missing_ok=True)


def write_durably(path: Path, data: bytes) -> None:
    """Write `data` to `path`, so that there is the old or the new content at any moment."""
    with atomic(path) as draft:
        draft.write_bytes(data)


def sync_file(path: Path) -> None:
    """Return once the content of `path` is on the disk."""
    _sync(path, os.O_RDONLY)


def sync_folder(path: Path) -> None:
    """Return once the names in the folder `path` are on the disk."""
    _sync(path, os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: Path, flags: int) -> None:
    handle = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_folder(folder: Path) -> None:
    """Remove `folder` with all that is in it; a missing one is fine."""
    reach(CrashPoint.WORK_DUE)
    shutil.rmtree(folder, ignore_errors=True)
    reach(CrashPoint.WORK_REMOVED)


def work_folder(state: Path, job: int) -> Path:
    """Return where the parts, the staged source and the report of `job` lie."""
    return state / "work" / f"{job}"


def count_parts(work: Path) -> int:
    """Return the number of finished parts below the work folder of a job."""
    return sum(1 for path in work.glob("*/[0-9]*") if DRAFT not in path.name)
