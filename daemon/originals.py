"""What becomes of a source once its result is published: kept, moved or deleted.

Nothing here fails a job. The result is out, and a source left where it is harms nobody: the inbox knows it as
done. So whatever is in doubt keeps the source and is told as a warning. Folders that become empty in the inbox
are left: somebody may be about to put the next file there.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path

from darkroom import pipelines
from darkroom.daemon.config import Folder, Watch
from darkroom.daemon.crash_points import CrashPoint, reach
from darkroom.daemon.filesystem import Stat, fresh_stat, opened, opened_folder
from darkroom.daemon.ignore import Rules
from darkroom.daemon.job import Job, printable
from darkroom.daemon.marker import INBOX, OUTBOX, why_away
from darkroom.daemon.names import numbered
from darkroom.daemon.outbox import Publication, is_published, recorded
from darkroom.daemon.place import (
    NOT_HERE,
    Beat,
    NameTaken,
    copier,
    digest,
    discard_draft,
    folder_below,
    is_there,
    look,
    move_free,
    place,
    split,
)
from darkroom.daemon.sidecar import names_of, sidecar_signature
from darkroom.daemon.states import State
from darkroom.pipelines.errors import Unavailable

NAME_LIMIT_BYTES = 255  # originals keep their names, whatever they look like
FEW = 5  # jobs that are named


class _Changed(Exception):
    """Another version has come meanwhile."""


def settle_original(
    job: Job,
    folder: Folder,
    publication: Publication,
    batch: Sequence[Job] = (),
    *,
    identities: Mapping[str, str] = {},
    beat: Beat,
) -> str:
    """Do with the source of `job` what `folder.originals` says and return "", or why it was kept after all.

    Call it when the result is published; may be called again after a crash: a source that is gone is settled.
    A sidecar goes the same way, unless another source has it too. A file added by its absolute path is always kept.

    batch: all jobs of this version of the source; the last of them that is published settles it
    identities: what the inbox and the originals folder are known by (`marker.load_identities`)
    """
    if folder.originals == "keep" or job.path.startswith(b"/"):
        return ""
    try:
        if not is_published(folder.outbox, publication):
            return f"{job.name}: original kept: {printable(publication.name)} is not in the outbox as it was published"
        if others := [other for other in batch if other.id != job.id and not _has_ended_well(other, folder)]:
            return f"{job.name}: original kept: {_waiting_for(others)}"
        with opened_folder(folder.inbox) as inbox:
            return _settle(job, folder, inbox, identities, beat)
    except (OSError, Unavailable) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        return f"{job.name}: original kept: {reason}; {folder.originals} it by hand"


def _has_ended_well(job: Job, folder: Folder) -> bool:
    """Tell whether the source is not needed for `job` any more: its result is out, or that of an equal one is or was.

    One that is publishing counts as soon as its result is in the outbox: of two that look at each other at the same
    time one at least sees that of the other, and both may settle.
    """
    if job.state is State.PUBLISHING:
        publication = recorded(job)
        return publication is not None and is_published(folder.outbox, publication)
    return job.state is State.DONE or (job.state is State.SKIPPED and not job.attempts)


def _waiting_for(jobs: Sequence[Job]) -> str:
    named = ", ".join(f"{job.id} ({job.state})" for job in jobs[:FEW])
    rest = f" and {len(jobs) - FEW} more" if len(jobs) > FEW else ""
    return f"it waits for job{'s' if len(jobs) > 1 else ''} {named}{rest} of the same file"


def _settle(job: Job, folder: Folder, root: int, identities: Mapping[str, str], beat: Beat) -> str:
    if away := why_away(root, folder.inbox, INBOX, identities, folder.name):
        return f"{job.name}: original kept: the inbox is offline: {away}; {folder.originals} it by hand"
    parents, name = split(job.path)
    with folder_below(root, parents) as place_of_source:
        beside = names_of(name, pipelines.KINDS[folder.pipeline]) if job.sidecar else []
        seen = {each: there for each in (name, *beside) if (there := look(place_of_source, each))}
        sidecars = [sidecar for sidecar in beside if sidecar in seen]
        found = _state(place_of_source, name)  # None: an earlier run got so far, or a person did it
        if why := _why_kept(job, found, sidecars[:1], place_of_source):
            return f"{job.name}: original kept: {why}"
        sidecars = _of_no_other(name, sidecars, place_of_source, folder)
        reach(CrashPoint.ORIGINAL_DUE)
        try:
            if folder.originals == "delete":
                for gone in (name, *sidecars):  # the source first: without it a sidecar means nothing
                    if gone in seen:
                        _remove(place_of_source, gone, seen[gone])
            else:
                # The sidecar first: after a crash in between the source is still there to say what is left to do.
                moving = {each: seen[each] for each in (*sidecars, name) if each in seen}
                _move(place_of_source, moving, folder, job, identities, beat)
        except _Changed:
            return f"{job.name}: original kept: a new version of it came at the last moment"
        os.fsync(place_of_source)
        reach(CrashPoint.ORIGINAL_SYNCED)
    return ""


def _of_no_other(name: bytes, sidecars: Sequence[bytes], root: int, folder: Folder) -> list[bytes]:
    """Return those of `sidecars` that no other source in the open folder `root` has: `cat.txt` may be of two images."""
    rules = Rules(folder, Watch())
    if not sidecars or not rules.kind.prompted:
        return list(sidecars)
    others = {os.fsencode(entry) for entry in os.listdir(root)} - {name}
    sources = [other for other in others if not rules.sidecar(other) and not rules.file(other)]
    theirs = {sidecar for other in sources for sidecar in names_of(other, rules.kind)}
    return [sidecar for sidecar in sidecars if sidecar not in theirs]


def _why_kept(job: Job, found: Stat | None, sidecars: Sequence[bytes], root: int) -> str:
    """Say why the source must stay, "" if it need not.

    The inode is not compared: servers hand out new ones, and size and mtime in nanoseconds tell versions apart.
    """
    if found and not found.regular:
        return "it is a link or folder, and only files are moved or deleted"
    if found and (found.size_bytes, found.mtime_ns) != (job.size_bytes, job.mtime_ns):
        return "it changed while it was processed"
    seen = ((sidecar, _state(root, sidecar)) for sidecar in sidecars)
    if any(stat and sidecar_signature(sidecar, stat.signature) != job.sidecar for sidecar, stat in seen):
        return "its sidecar changed while it was processed"
    return ""


def _state(folder: int, name: bytes) -> Stat | None:
    try:
        return fresh_stat(name, folder, "")
    except FileNotFoundError:
        return None


def _move(
    source: int,
    files: Mapping[bytes, os.stat_result],
    folder: Folder,
    job: Job,
    identities: Mapping[str, str],
    beat: Beat,
) -> None:
    """Move `files` in their order to the originals folder, below the same folders as in the inbox.

    Raises _Changed at one that is not as it was.
    """
    parents, _ = split(job.path)
    target = _originals_folder(folder)
    with opened_folder(target) as root:
        if away := why_away(root, target, OUTBOX, identities, folder.name):
            raise Unavailable(away)
        for old, seen in files.items():
            if look(source, old) is not None:  # else another job of the same file was faster
                _move_one(source, old, seen, root, parents, draft=f"JOB-{job.id}.original", beat=beat)


def _originals_folder(folder: Folder) -> Path:
    return folder.originals_folder or folder.outbox.parent / "originals" / folder.name


def _move_one(
    source: int, old: bytes, seen: os.stat_result, root: int, parents: list[bytes], *, draft: str, beat: Beat
) -> None:
    """Move `old` to the first free name; a copy of it that a crash left there counts as moved."""
    with folder_below(root, parents, create=True) as target:
        for number in count(1):
            new = numbered(old, number, NAME_LIMIT_BYTES)
            if look(target, new) is None:
                with suppress(NameTaken, FileExistsError):  # somebody was faster: the next number
                    _move_to(source, old, seen, root, [*parents, new], target, draft=draft, beat=beat)
                    return
            elif _is_copy(source, old, target, new, beat):
                os.fsync(target)
                discard_draft(root, draft)
                _remove(source, old, seen)
                return


def _is_copy(source: int, old: bytes, target: int, new: bytes, beat: Beat) -> bool:
    found = look(target, new)
    with opened(old, source) as file:
        size = os.fstat(file).st_size
        if found is None or found.st_size != size:
            return False
        return is_there(target, new, size, digest(file, beat), beat)


def _move_to(
    source: int,
    old: bytes,
    seen: os.stat_result,
    root: int,
    path: list[bytes],
    target: int,
    *,
    draft: str,
    beat: Beat,
) -> None:
    """Rename `old`, or where that cannot be (another file system): copy, verify, and only then unlink."""
    try:
        move_free(source, old, target, path[-1])
        reach(CrashPoint.ORIGINAL_GONE)
        if _is_another(look(target, path[-1]), seen):
            with suppress(FileExistsError):  # one newer still: what was moved has no job to come, and is kept there
                move_free(target, path[-1], source, old)
            raise _Changed
        os.fsync(target)
    except OSError as error:
        if error.errno not in NOT_HERE:
            raise
        with opened(old, source) as file:
            write = copier(file, sha256=digest(file, beat), keep_times=True, beat=beat)
            place(root, b"/".join(path), write, draft=draft)
        reach(CrashPoint.ORIGINAL_COPIED)
        _remove(source, old, seen)


def _remove(source: int, old: bytes, done: os.stat_result) -> None:
    """Remove `old`, which is not needed any more. Raises _Changed if it is another version than `done`.

    done: the state of what was settled, from before that: copying takes minutes, and a new version may come in any
    """
    if _is_another(look(source, old), done):
        raise _Changed
    with suppress(FileNotFoundError):  # another job of the same file was faster
        os.unlink(old, dir_fd=source)
        reach(CrashPoint.ORIGINAL_GONE)


def _is_another(now: os.stat_result | None, then: os.stat_result) -> bool:
    """Tell whether a file is there now, and is another version than was there then."""
    return now is not None and (now.st_size, now.st_mtime_ns) != (then.st_size, then.st_mtime_ns)
