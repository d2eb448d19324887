"""What there is to know of a Darkroom without asking it: from its journal and its live picture, daemon up or down."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from darkroom.daemon import live
from darkroom.daemon.config import Config, Folder
from darkroom.daemon.devices import devices, with_devices
from darkroom.daemon.gate import why_closed
from darkroom.daemon.job import Event, Job
from darkroom.daemon.journal import FILE, Journal
from darkroom.daemon.live import FolderNow, Live
from darkroom.daemon.lock import is_taken
from darkroom.daemon.parts import count_parts, work_folder
from darkroom.daemon.stage import source_path
from darkroom.daemon.states import State

QUEUE = 10  # jobs that are shown of the queue


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderStatus:
    """One folder: what its daemon sees, and its jobs."""

    folder: Folder
    closed: str  # why its jobs do not start now, "" if they do
    counts: Mapping[State, int]
    now: FolderNow | None  # None with the daemon down


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The whole of it."""

    at: float  # Unix seconds
    live: Live | None  # None with the daemon down
    folders: tuple[FolderStatus, ...]
    next: tuple[Job, ...]  # the head of the queue, in order


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStatus:
    """All about one job."""

    job: Job
    events: tuple[Event, ...]
    parts: int  # finished ones on the disk
    work: Path
    source: Path | None  # None if its folder is no longer configured
    result: Path | None  # None before publishing begins
    companions: tuple[Path, ...] = ()  # the other files of the result


def journal_of(config: Config) -> Journal | None:
    """Return the journal for reading, or None before the first start. Raises Unavailable."""
    path = config.state / FILE
    return Journal(path, readonly=True) if path.exists() else None


def picture_of(config: Config) -> Live | None:
    """Return what the daemon is doing, or None if none is running."""
    return live.read(config.state) if is_taken(config.state) else None


def take_status(config: Config, now: datetime) -> Status:
    """Return how things stand at `now`, local time. No inbox is touched: its server may hang. Raises Unavailable."""
    journal = journal_of(config)
    picture = picture_of(config)
    holds = with_devices(journal.holds(), devices(config.worker.devices)) if journal else {}
    counts = journal.counts() if journal else {}
    folders = []
    for folder in config.folders:
        seen = picture.folders.get(folder.name) if picture else None
        closed = seen.closed if seen else ""
        if seen is None and config.state.exists():  # before the first start there is no disk to ask
            closed = why_closed(config, folder, "", holds, now, was_closed=False)
        own = {state: counts[folder.name, state] for state in State if (folder.name, state) in counts}
        folders.append(FolderStatus(folder=folder, closed=closed, counts=own, now=seen))
    queue = tuple(journal.next_jobs(QUEUE)) if journal else ()
    if journal:
        journal.close()
    return Status(at=now.timestamp(), live=picture, folders=tuple(folders), next=queue)


def take_job_status(config: Config, journal: Journal, job: Job) -> JobStatus:
    """Return all about `job`."""
    folder = {folder.name: folder for folder in config.folders}.get(job.folder)
    work = work_folder(config.state, job.id)
    return JobStatus(
        job=job,
        events=tuple(journal.events(job.id)),
        parts=count_parts(work),
        work=work,
        source=source_path(job, folder) if folder else None,
        result=folder.outbox / os.fsdecode(job.result) if folder and job.result else None,
        companions=tuple(folder.outbox / name for name, _, _ in job.companions) if folder else (),
    )


def status_values(status: Status) -> dict[str, Any]:
    """Return `status` as plain values for JSON; times in Unix seconds."""
    picture = asdict(status.live) if status.live else {"workers": {}, "notes": []}
    folders = {entry.folder.name: _folder_values(entry) for entry in status.folders}
    queue = [job_values(job) for job in status.next]
    return {**picture, "running": status.live is not None, "at": status.at, "folders": folders, "next": queue}


def job_values(job: Job) -> dict[str, Any]:
    """Return `job` as plain values for JSON; `name` is printable, `path` has broken UTF-8 as lone surrogates."""
    values = asdict(job)
    return values | {"name": job.name, "path": os.fsdecode(job.path), "result": os.fsdecode(job.result)}


def job_status_values(status: JobStatus) -> dict[str, Any]:
    """Return `status` as plain values for JSON."""
    places = {"work": str(status.work), "source": _text(status.source), "result_path": _text(status.result)}
    events = [asdict(event) for event in status.events]
    return {**job_values(status.job), "events": events, "parts": status.parts, **places}


def _folder_values(entry: FolderStatus) -> dict[str, Any]:
    folder = entry.folder
    where = {"pipeline": folder.pipeline, "inbox": str(folder.inbox), "outbox": str(folder.outbox)}
    counts = {str(state): number for state, number in entry.counts.items()}
    return {**where, **asdict(entry.now or FolderNow()), "closed": entry.closed, "jobs": counts}


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
