"""Publishing: a finished result gets its name in the outbox.

Two steps with a commit of the journal in between: `choose` finds the name and measures the result, the
caller records both, `publish` puts the file there. Each can be called again after a crash at any point;
`publish` finds out from the outbox how far it came.
"""

import os
import stat
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Literal

from darkroom.daemon.filesystem import opened_folder
from darkroom.daemon.job import Job, printable
from darkroom.daemon.marker import OUTBOX
from darkroom.daemon.names import numbered
from darkroom.daemon.place import (
    Beat,
    NameTaken,
    copier,
    digest,
    discard_draft,
    folder_below,
    is_there,
    look,
    place,
    split,
    unavailable,
)
from darkroom.pipelines.errors import Unavailable

Conflict = Literal["number", "replace", "skip"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """What the journal knows of a result before it is moved: enough to go on after any crash."""

    name: bytes  # below the outbox
    size_bytes: int
    sha256: str

    def below(self, outbox: Path) -> Path:
        """Return the path of the published file."""
        return outbox / os.fsdecode(self.name)


def recorded(job: Job) -> Publication | None:
    """Return what the journal knows of the result of `job`, None before it was chosen."""
    if not job.result:
        return None
    return Publication(name=job.result, size_bytes=job.result_size, sha256=job.result_sha256)


def choose(
    result: Path, outbox: Path, wanted: bytes, *, conflict: Conflict, before: Publication | None = None, beat: Beat
) -> Publication:
    """Return the name that `result` is to have, `wanted` or near it, with its size and SHA-256.

    wanted:  path below the outbox, cleaned (`names.result_name`)
    before:  what an earlier attempt recorded; its name is kept if it was for this very result, which may be there
    Raises NameTaken if the name is taken and `conflict` is skip, Unavailable if outbox or result is not there.
    """
    with unavailable(result), result.open("rb") as file:
        size, sha256 = os.fstat(file.fileno()).st_size, digest(file.fileno(), beat)
    if before and (before.size_bytes, before.sha256) == (size, sha256):
        return before
    return Publication(name=free_name(outbox, wanted, conflict=conflict), size_bytes=size, sha256=sha256)


def free_name(outbox: Path, wanted: bytes, *, conflict: Conflict) -> bytes:
    """Return `wanted`, or `wanted (2)` and so on if that is taken and `conflict` is number.

    With `replace` a taken name is kept, except a folder's. Raises NameTaken (skip) and Unavailable.
    """
    parents, first = split(wanted)
    with unavailable(outbox), opened_folder(outbox) as root:
        _check_online(root, outbox)
        try:
            with folder_below(root, parents) as folder:
                name = _free(folder, first, conflict)
        except FileNotFoundError:
            name = first  # its folder is still to be made
    return b"/".join([*parents, name])


def publish(result: Path, outbox: Path, publication: Publication, *, job: int, conflict: Conflict, beat: Beat) -> Path:
    """Bring `result` to its recorded name in the outbox, durably, and return its path there.

    A file that is there already with the recorded size and hash is taken for the published one, so this may
    be called until it returns. `result` is left where it is. With `replace` an existing file goes in the same
    step in which the new one comes: there is no moment with neither.

    Raises NameTaken if another file got the name meanwhile: `choose` again, without `before`. Raises Unavailable
    if the outbox is offline or full, if the result is gone, or if the copy is not what was recorded.
    """
    parents, name = split(publication.name)
    draft = f"JOB-{job}.part"
    with unavailable(outbox), opened_folder(outbox) as root:
        _check_online(root, outbox)
        with folder_below(root, parents, create=True) as folder:
            there = is_there(folder, name, publication.size_bytes, publication.sha256, beat)
            if there:  # and perhaps not yet for good: a crash may have come before these
                os.fsync(folder)
                discard_draft(root, draft)
        if not there:
            _copy(result, root, publication, draft=draft, replace=conflict == "replace", beat=beat)
    return publication.below(outbox)


def is_published(outbox: Path, publication: Publication) -> bool:
    """Tell whether the published file is there with its recorded size: looked at again before a source goes."""
    parents, name = split(publication.name)
    try:
        with opened_folder(outbox) as root, folder_below(root, parents) as folder:
            found = look(folder, name)
    except OSError:
        return False
    return found is not None and stat.S_ISREG(found.st_mode) and found.st_size == publication.size_bytes


def _copy(result: Path, root: int, publication: Publication, *, draft: str, replace: bool, beat: Beat) -> None:
    with unavailable(result):
        source = os.open(result, os.O_RDONLY | os.O_CLOEXEC)
    try:
        place(
            root, publication.name, copier(source, sha256=publication.sha256, beat=beat), draft=draft, replace=replace
        )
    finally:
        os.close(source)


def _check_online(root: int, outbox: Path) -> None:
    # Through the open folder: what is written afterwards cannot land below a mount point.
    if look(root, OUTBOX.encode()) is None:
        raise Unavailable(f"{outbox}: outbox offline, its {OUTBOX} is missing; is the disk or share mounted?")


def _free(folder: int, wanted: bytes, conflict: Conflict) -> bytes:
    found = look(folder, wanted)
    if found is None or (conflict == "replace" and not stat.S_ISDIR(found.st_mode)):
        return wanted
    if conflict == "skip":
        raise NameTaken(f"{printable(wanted)}: the outbox has a file of this name; conflict is skip")
    return next(name for number in count(2) if look(folder, name := numbered(wanted, number)) is None)
