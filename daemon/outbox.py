"""Publishing: a finished result gets its name in the outbox.

Two steps with a commit of the journal in between: `choose` finds the name and measures the result, the
caller records both, `publish` puts the file there. Each can be called again after a crash at any point;
`publish` finds out from the outbox how far it came. A result of several files goes the same way with all of
them: one stem that is free for all, one record, and no name given before all of them are on the disk.
"""

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Literal

from darkroom.daemon.crash_points import CrashPoint, reach
from darkroom.daemon.filesystem import opened_folder
from darkroom.daemon.job import Job, printable
from darkroom.daemon.marker import BY_MOUNT, OUTBOX, read
from darkroom.daemon.names import numbered
from darkroom.daemon.place import (
    Beat,
    Draft,
    NameTaken,
    copier,
    digest,
    discard,
    discard_draft,
    folder_below,
    is_there,
    look,
    place_all,
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
    companions: tuple["Publication", ...] = ()  # the other files of the result, of the same stem

    @property
    def files(self) -> tuple["Publication", ...]:
        """All files of the result, the one it is known by first."""
        return (self, *self.companions)

    def below(self, outbox: Path) -> Path:
        """Return the path of the published file."""
        return outbox / os.fsdecode(self.name)


def recorded(job: Job) -> Publication | None:
    """Return what the journal knows of the result of `job`, None before it was chosen."""
    if not job.result:
        return None
    companions = tuple(
        Publication(name=os.fsencode(name), size_bytes=size, sha256=sha256) for name, size, sha256 in job.companions
    )
    return Publication(name=job.result, size_bytes=job.result_size, sha256=job.result_sha256, companions=companions)


def made_files(result: Path) -> list[Path]:
    """Return the files that a finished result is: itself, or what is in the folder. Raises Unavailable."""
    with unavailable(result):
        return sorted(result.iterdir()) if result.is_dir() else [result]


def choose(
    result: Path,
    outbox: Path,
    stem: bytes,
    *,
    conflict: Conflict,
    first: int = 1,
    before: Publication | None = None,
    identity: str = "",
    beat: Beat,
) -> Publication:
    """Return the name that `result` is to have, `stem` or near it, with its size and SHA-256; of each of its files.

    stem:    path below the outbox without suffix, cleaned (`names.result_name`)
    first:   the number that `stem` gets at the least; 1 for none
    before:  what an earlier attempt recorded; its names are kept if it was for this very result, which may be there
    identity: that the outbox is known by; without one any marker will do
    Raises NameTaken if a name is taken and `conflict` is skip, Unavailable if outbox or result is not there.
    """
    files = made_files(result)
    measured = [_measure(file, beat) for file in files]
    if before and [(file.size_bytes, file.sha256) for file in before.files] == measured:
        return before
    suffixes = [file.suffix.encode() for file in files]
    names = free_names(outbox, stem, suffixes, conflict=conflict, first=first, identity=identity)
    known_by, *others = (
        Publication(name=name, size_bytes=size, sha256=sha256)
        for name, (size, sha256) in zip(names, measured, strict=True)
    )
    return replace(known_by, companions=tuple(others))


def free_names(
    outbox: Path, stem: bytes, suffixes: Sequence[bytes], *, conflict: Conflict, first: int = 1, identity: str = ""
) -> list[bytes]:
    """Return `stem` with each of `suffixes`, or `stem (2)` and so on if one is taken and `conflict` is number.

    `first` is the number to begin with, 1 for none. With `replace` taken names are kept, except those of
    folders. Raises NameTaken (skip) and Unavailable.
    """
    parents, own = split(stem)
    longest = max(suffixes, key=len)

    def named(number: int) -> list[bytes]:
        within_limits = numbered(own + longest, number).removesuffix(longest)
        return [within_limits + suffix for suffix in suffixes]

    with unavailable(outbox), opened_folder(outbox) as root:
        _check_online(root, outbox, identity)
        try:
            with folder_below(root, parents) as folder:
                names = _free(folder, named, first, conflict)
        except FileNotFoundError:
            names = named(first)  # their folder is still to be made
    return [b"/".join([*parents, name]) for name in names]


def publish(
    result: Path,
    outbox: Path,
    publication: Publication,
    *,
    job: int,
    conflict: Conflict,
    identity: str = "",
    beat: Beat,
) -> Path:
    """Bring `result` to its recorded name in the outbox, durably, and return its path there.

    A file that is there already with the recorded size and hash is taken for the published one, so this may
    be called until it returns. `result` is left where it is. With `replace` an existing file goes in the same
    step in which the new one comes: there is no moment with neither. Of several files the one that the result
    is known by comes last: who waits for it finds the others.

    Raises NameTaken if another file got a name meanwhile: `choose` again, without `before`; no file of the result
    is then left under the old ones. Raises Unavailable if the outbox is offline or full, if the result is gone, or
    if a copy is not what was recorded.
    """
    with unavailable(outbox), opened_folder(outbox) as root, ExitStack() as sources:
        _check_online(root, outbox, identity)
        drafts = []
        for number, file in enumerate(publication.files):
            draft = f"JOB-{job}.{number or ''}part"
            if not _is_placed(root, file, draft, beat):
                source = sources.enter_context(_opened(_source(result, file)))
                write = copier(source, sha256=file.sha256, beat=beat)
                drafts.append(Draft(path=file.name, name=draft, write=write))
        try:
            place_all(root, drafts[::-1], replace=conflict == "replace")
        except NameTaken:
            if publication.companions:
                _withdraw(root, publication, beat)
            raise
    return publication.below(outbox)


def is_published(outbox: Path, publication: Publication) -> bool:
    """Tell whether the published files are there with their recorded sizes: looked at again before a source goes."""
    return all(_is_there_as_recorded(outbox, file) for file in publication.files)


def _is_there_as_recorded(outbox: Path, file: Publication) -> bool:
    parents, name = split(file.name)
    try:
        with opened_folder(outbox) as root, folder_below(root, parents) as folder:
            found = look(folder, name)
    except OSError:
        return False
    return found is not None and stat.S_ISREG(found.st_mode) and found.st_size == file.size_bytes


def _measure(file: Path, beat: Beat) -> tuple[int, str]:
    with _opened(file) as source:
        return os.fstat(source).st_size, digest(source, beat)


@contextmanager
def _opened(file: Path) -> Iterator[int]:
    with unavailable(file):
        source = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield source
    finally:
        os.close(source)


def _source(result: Path, file: Publication) -> Path:
    """Return which file of `result` is published as `file`: of several, the one of its suffix."""
    suffix = Path(os.fsdecode(file.name)).suffix
    return next((made for made in made_files(result) if made.suffix == suffix), result)


def _is_placed(root: int, file: Publication, draft: str, beat: Beat) -> bool:
    """Tell whether `file` is there, and make sure that it stays: a crash may have come before these steps."""
    parents, name = split(file.name)
    with folder_below(root, parents, create=True) as folder:
        if not is_there(folder, name, file.size_bytes, file.sha256, beat):
            return False
        os.fsync(folder)
        discard_draft(root, draft)
    return True


def _withdraw(root: int, publication: Publication, beat: Beat) -> None:
    """Take back the files that got their names before one of them could not."""
    for file in publication.files:
        parents, name = split(file.name)
        with folder_below(root, parents) as folder:
            if is_there(folder, name, file.size_bytes, file.sha256, beat):
                discard(folder, name)
                os.fsync(folder)
                reach(CrashPoint.PLACE_WITHDRAWN)


def _check_online(root: int, outbox: Path, identity: str) -> None:
    # Through the open folder: what is written afterwards lands neither below a mount point nor on another share.
    if identity.startswith(BY_MOUNT):
        return  # it could not be written to when it was adopted; if that is still so the writing will tell
    if look(root, OUTBOX.encode()) is None:
        raise Unavailable(f"{outbox}: outbox offline, its {OUTBOX} is missing; is the disk or share mounted?")
    if identity and read(root, OUTBOX) != identity:
        raise Unavailable(f"{outbox}: outbox offline, its {OUTBOX} is another folder's; is the right share mounted?")


def _free(folder: int, named: Callable[[int], list[bytes]], first: int, conflict: Conflict) -> list[bytes]:
    """Return the first of the names `named(first)`, `named(first + 1)`, ... that are free together."""
    wanted = named(first)
    taken = {name: found for name in wanted if (found := look(folder, name))}
    if not taken or (conflict == "replace" and not any(stat.S_ISDIR(found.st_mode) for found in taken.values())):
        return wanted
    if conflict == "skip":
        raise NameTaken(f"{printable(next(iter(taken)))}: the outbox has a file of this name; conflict is skip")
    return next(names for names in map(named, count(first + 1)) if not any(look(folder, name) for name in names))
