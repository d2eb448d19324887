"""What a command wishes of the journal: add, retry, cancel, hold, release.

A job that no worker has is moved at once. A running one is its worker's: the wish is left in its row, and the
daemon answers within a second. So each command works with the daemon up or down.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from darkroom.daemon.config import Folder, Watch
from darkroom.daemon.content import fingerprint
from darkroom.daemon.filesystem import (
    MOUNTINFO,
    Stat,
    fresh_stat,
    held_by_writer,
    mount_at,
    opened,
    opened_folder,
    parse_mounts,
)
from darkroom.daemon.ignore import Rules
from darkroom.daemon.intake import GONE
from darkroom.daemon.job import Job, NewJob, printable
from darkroom.daemon.journal import EVERYTHING, Journal
from darkroom.daemon.plain_yaml import read_yaml
from darkroom.daemon.sidecar import ENDINGS, fault_in, read_sidecar, sidecar_signature
from darkroom.daemon.states import ENDS, IllegalMove, State
from darkroom.pipelines.errors import Rejected

WAITING = frozenset({State.QUEUED, State.HELD})
FAULTY = (State.FAILED, State.QUARANTINED)


def cancel(journal: Journal, job: Job, *, now: float) -> str:
    """Cancel `job`, or ask its worker to, and say in one line what happens. Raises IllegalMove."""
    if journal.ask(job.id, "cancel"):
        return f"job {job.id} {job.name}: is running; the daemon cancels it"
    journal.move(job.id, State.CANCELLED, "asked to cancel", now=now, expected=WAITING)
    return f"job {job.id} {job.name}: cancelled"


def hold(journal: Journal, job: Job, reason: str, *, now: float) -> str:
    """Hold `job`, or ask its worker to, and say in one line what happens. Raises IllegalMove."""
    if journal.ask(job.id, "hold"):
        return f"job {job.id} {job.name}: is running; the daemon holds it, finished parts are kept"
    journal.move(job.id, State.HELD, reason, now=now, expected={State.QUEUED})
    return f"job {job.id} {job.name}: held"


def release(journal: Journal, job: Job, *, now: float) -> str:
    """Queue the held `job`, also one held as the duplicate of another. Raises IllegalMove."""
    journal.move(job.id, State.QUEUED, "released", now=now, expected={State.HELD}, twin=None)
    return f"job {job.id} {job.name}: queued"


def retry(journal: Journal, job: Job, *, now: float) -> str:
    """Queue the ended `job` again. Raises IllegalMove, also if its file has changed or gone since."""
    if job.state not in ENDS:
        raise IllegalMove(f"job {job.id} is {job.state}: there is nothing to try again yet")
    if job.mtime_ns == GONE["mtime_ns"]:
        raise IllegalMove(f"job {job.id}: its file has changed or gone; what lies in the inbox gets a job of its own")
    journal.retry(job.id, now=now)
    return f"job {job.id} {job.name}: queued again"


def faulty(journal: Journal, folder: str | None) -> list[Job]:
    """Return the jobs that ended failed or quarantined and whose file has no newer job, by number."""
    jobs = journal.jobs(states=FAULTY, folder=folder)
    newest = {name: journal.known(name) for name in {job.folder for job in jobs}}
    return [job for job in jobs if newest[job.folder][job.path].job == job.id]


def hold_folder(journal: Journal, scope: str, reason: str, *, now: float) -> str:
    """Let no job of the folder `scope`, or of EVERYTHING, start, and say so in one line."""
    journal.hold(scope, reason, now=now)
    return f"{_words(scope)}: on hold, no job starts until it is released; a running one stops after its segment"


def release_folder(journal: Journal, scope: str) -> str:
    """Undo `hold_folder`, and say in one line what still keeps jobs from starting."""
    was = journal.release(scope)
    others = [_words(name) for name in journal.holds() if EVERYTHING in (scope, name)]
    rest = f"; still on hold: {', '.join(others)}" if others else ""
    return f"{_words(scope)}: {'released' if was else 'was not on hold'}{rest}"


def add(
    journal: Journal, folder: Folder, watch: Watch, file: Path, options: Mapping[str, Any], *, now: float
) -> list[str]:
    """Queue `file`, wherever it lies, for `folder`, and say so in lines: the second is a warning.

    A file that is a duplicate is queued all the same: somebody asked for it by name.

    options: of the pipeline; they go before those of the file's sidecar, which go before the folder's
    Raises Rejected with the reason if it cannot be queued, OSError if it cannot be read.
    """
    new = arrival(folder, watch, file, options)
    twin = journal.same_content(new.content, folder.name, new.options)
    if not (numbers := journal.enqueue([new], now)):
        before = journal.known(folder.name)[new.path]
        raise Rejected(f"{printable(new.path)}: is {before.state} already, as job {before.job}; cancel that job first")
    lines = [f"job {numbers[0]} {printable(new.path)}: queued in {folder.name}"]
    if twin is not None:
        lines.append(f"its content is that of job {twin.id} ({twin.name}), which is {twin.state}")
    return lines


def arrival(folder: Folder, watch: Watch, file: Path, options: Mapping[str, Any]) -> NewJob:
    """Return the job that `file` would be, by the rules of the inbox but its patience. Raises Rejected, OSError."""
    real = Path(os.path.realpath(file))
    inside = real.is_relative_to(folder.inbox)
    path = os.fsencode(real.relative_to(folder.inbox) if inside else real)
    name = printable(path)
    if why := Rules(folder, watch).file(path if inside else os.fsencode(real.name)):
        raise Rejected(f"{name}: {why}; see `include` and `ignore` of the folder {folder.name}")
    kind = mount_at(os.fsencode(real), parse_mounts(MOUNTINFO.read_bytes())).kind
    with opened_folder(real.parent) as root:
        found = fresh_stat(os.fsencode(real.name), root, kind)
        _check_file(name, found)
        with opened(os.fsencode(real.name), root) as handle:
            if held_by_writer(handle):
                raise Rejected(f"{name}: another program is writing it; add it when it is complete")
            content = fingerprint(handle, found.size_bytes)
        sidecar, signature = _sidecar(real, root, kind)
    chosen = {**sidecar, **options}
    if fault := fault_in(chosen, folder):
        raise Rejected(f"{name}: {fault}")
    return NewJob(
        folder=folder.name,
        pipeline=folder.pipeline,
        path=path,
        signature=found.signature,
        sidecar=signature,
        content=content,
        options=chosen,
        priority=folder.priority,
    )


def read_setting(text: str) -> tuple[str, Any]:
    """Return the option and value that KEY=VALUE sets, the value read as YAML. Raises Rejected."""
    key, equals, value = text.partition("=")
    if not equals:
        raise Rejected(f"--set {text}: expected KEY=VALUE")
    try:
        return key.strip(), read_yaml(value)
    except ValueError as error:
        raise Rejected(f"--set {text}: {error}") from error


def _check_file(name: str, found: Stat) -> None:
    if not found.regular:
        raise Rejected(f"{name}: not a regular file; name one file, or drop a folder's files in the inbox")
    if not found.size_bytes:
        raise Rejected(f"{name}: empty; add it when it is complete")


def _sidecar(file: Path, root: int, kind: str) -> tuple[dict[str, Any], str]:
    """Return the options in the sidecar of `file` and its signature; none and "" without one."""
    for ending in ENDINGS:
        beside = file.with_name(file.name + os.fsdecode(ending))
        if beside.exists():
            found = fresh_stat(os.fsencode(beside.name), root, kind)
            try:
                return read_sidecar(beside), sidecar_signature(found.signature)
            except ValueError as error:
                raise Rejected(f"{printable(os.fsencode(beside.name))}: {error}") from error
    return {}, ""


def _words(scope: str) -> str:
    return "everything" if scope == EVERYTHING else scope
