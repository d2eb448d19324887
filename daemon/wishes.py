"""What a command wishes of the journal: add, retry, cancel, hold, release.

A job that no worker has is moved at once. A running one is its worker's: the wish is left in its row, and the
daemon answers within a second. So each command works with the daemon up or down.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from darkroom import pipelines
from darkroom.daemon.config import Folder, Watch
from darkroom.daemon.content import fingerprint
from darkroom.daemon.devices import SCOPE
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
from darkroom.daemon.job import GONE_NS, Job, NewJob, printable
from darkroom.daemon.journal import EVERYTHING, Journal
from darkroom.daemon.plain_yaml import read_yaml
from darkroom.daemon.sidecar import Takes, fault_in, lack_of, read_sidecar, sidecar_beside, sidecar_signature
from darkroom.daemon.states import ENDS, WAITING, IllegalMove, State
from darkroom.pipelines.errors import Rejected

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
    """Queue the held `job`, also one held as the duplicate of another. Raises IllegalMove; one may lack an option."""
    if job.state is State.HELD and job.lacks:
        remedy = f"it is queued by itself once that, or the folder's options, have its {job.lacks}"
        raise IllegalMove(f"job {job.id} {job.name}: is {job.reason}; {remedy}")
    journal.move(job.id, State.QUEUED, "released", now=now, expected={State.HELD}, twin=None)
    return f"job {job.id} {job.name}: queued"


def retry(journal: Journal, job: Job, *, now: float) -> str:
    """Queue the ended `job` again. Raises IllegalMove, also if its file has changed or gone since."""
    if job.state not in ENDS:
        raise IllegalMove(f"job {job.id} is {job.state}: there is nothing to try again yet")
    if job.mtime_ns == GONE_NS:
        raise IllegalMove(f"job {job.id}: its file has changed or gone; what lies in the inbox gets a job of its own")
    journal.retry(job.id, now=now)
    return f"job {job.id} {job.name}: queued again"


def faulty(journal: Journal, folder: str | None) -> list[Job]:
    """Return the jobs that ended failed or quarantined and whose file has no newer jobs, by number."""
    jobs = journal.jobs(states=FAULTY, folder=folder)
    newest = {name: journal.known(name) for name in {job.folder for job in jobs}}
    return [job for job in jobs if newest[job.folder][job.path].batch == job.batch]


def hold_folder(journal: Journal, scope: str, reason: str, *, now: float) -> str:
    """Let no job of the folder `scope`, or of EVERYTHING, start, and say so in one line."""
    journal.hold(scope, reason, now=now)
    return f"{_words(scope)}: on hold, no job starts until it is released; a running one stops after its segment"


def release_folder(journal: Journal, scope: str) -> str:
    """Undo `hold_folder`, and say in one line what still keeps jobs from starting.

    With EVERYTHING the devices at fault are released too.
    """
    resting = [held for held in journal.holds() if scope == EVERYTHING and held.startswith(SCOPE)]
    was = any([journal.release(held) for held in (scope, *resting)])
    others = [_words(name) for name in journal.holds() if EVERYTHING in (scope, name)]
    rest = f"; still on hold: {', '.join(others)}" if others else ""
    return f"{_words(scope)}: {'released' if was else 'was not on hold'}{rest}"


def add(
    journal: Journal, folder: Folder, watch: Watch, file: Path, options: Mapping[str, Any], *, now: float
) -> list[str]:
    """Queue `file`, wherever it lies, for `folder`, and say so in lines, some of them warnings.

    A file that is a duplicate is queued all the same: somebody asked for it by name. A list in its sidecar makes as
    many jobs of it.

    options: of the pipeline; they go before those of the file's sidecar, which go before the folder's
    Raises Rejected with the reason if it cannot be queued, OSError if it cannot be read.
    """
    takes = arrival(folder, watch, file, options)
    twins = [journal.same_content(new.content, folder.name, new.options) for new in takes]
    path = takes[0].path
    if not (numbers := journal.enqueue(takes, now)):
        live = ", ".join(f"{state} as job {job}" for job, state in journal.known(folder.name)[path].live)
        raise Rejected(f"{printable(path)}: is on its way already, {live}; cancel that first")
    lines = []
    for number, twin in zip(numbers, twins, strict=True):
        lines.append(f"job {number} {printable(path)}: queued in {folder.name}")
        if twin is not None:
            lines.append(f"its content is that of job {twin.id} ({twin.name}), which is {twin.state}")
    return lines


def arrival(folder: Folder, watch: Watch, file: Path, options: Mapping[str, Any]) -> list[NewJob]:
    """Return the jobs that `file` would be, by the rules of the inbox but its patience. Raises Rejected, OSError."""
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
        takes, signature = _sidecar(real, root, kind, folder)
    chosen = [{**take, **options} for take in takes]
    for each in chosen:
        _check_options(name, each, folder)
    return [
        NewJob(
            folder=folder.name,
            pipeline=folder.pipeline,
            path=path,
            signature=found.signature,
            take=take,
            sidecar=signature,
            content=content,
            options=each,
            priority=folder.priority,
        )
        for take, each in enumerate(chosen)
    ]


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


def _check_options(name: str, options: Mapping[str, Any], folder: Folder) -> None:
    if fault := fault_in(options, folder):
        raise Rejected(f"{name}: {fault}")
    if lacking := lack_of(options, folder):
        raise Rejected(f"{name}: has no {lacking}; write it in its sidecar, or say --set {lacking}=...")


def _sidecar(file: Path, root: int, kind: str, folder: Folder) -> tuple[Takes, str]:
    """Return what the sidecar of `file` says and its signature; without one a single job's options, none, and ""."""
    beside = sidecar_beside(file, pipelines.KINDS[folder.pipeline])
    if beside is None:
        return ({},), ""
    name = os.fsencode(beside.name)
    found = fresh_stat(name, root, kind)
    try:
        return read_sidecar(beside, folder), sidecar_signature(name, found.signature)
    except ValueError as error:
        raise Rejected(f"{printable(name)}: {error}") from error


def _words(scope: str) -> str:
    return "everything" if scope == EVERYTHING else scope
