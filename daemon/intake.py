"""From what was seen in an inbox to jobs in the journal."""

import json
import logging
from contextlib import suppress
from typing import Any

from darkroom.daemon.config import Folder
from darkroom.daemon.inbox import Arrival, Sighting
from darkroom.daemon.job import Job, NewJob
from darkroom.daemon.journal import Journal
from darkroom.daemon.states import LIVE, IllegalMove, State

log = logging.getLogger(__name__)

WAITING = frozenset({State.QUEUED, State.HELD})
GONE: dict[str, Any] = {"mtime_ns": -1}  # the signature of no file: should it come back, it is a new version


def take_in(journal: Journal, folder: Folder, sighting: Sighting, now: float) -> list[int]:
    """Record the arrivals of `sighting`, and return the running jobs that their files have outdated.

    A waiting job whose file changed or went is cancelled; a running one must be ended first (by the
    caller), and its successor is recorded at a later look.
    """
    for job in sighting.missing:
        _cancel(journal, job, "the file is no longer in the inbox", now, GONE)
    outdated = "the file changed; a new job follows"
    running = [job for job in sighting.replaced if not _cancel(journal, job, outdated, now)]
    first: dict[tuple[str, str], Arrival] = {}
    for arrival in sighting.arrivals:
        first.setdefault(_work(arrival), arrival)
    # Of several equal files the first is recorded first, so that the others find it.
    for batch in (first.values(), (other for other in sighting.arrivals if first[_work(other)] is not other)):
        for number in journal.enqueue([_new_job(journal, folder, arrival) for arrival in batch], now):
            _tell(journal.job(number))
    free_twins(journal, now)
    return running


def free_twins(journal: Journal, now: float) -> None:
    """Decide on the jobs that waited for another of the same content, now that it has ended."""
    for job in journal.freed_twins():
        with suppress(IllegalMove):  # somebody has just cancelled it
            _free(journal, job, now)


def _free(journal: Journal, job: Job, now: float) -> None:
    twin = journal.same_content(job.content, job.folder, job.options)
    if twin is None:
        why = "the job of the same content gave no result"
        _tell(journal.move(job.id, State.QUEUED, why, now=now, expected={State.HELD}))
    elif twin.state is State.DONE:
        why = f"duplicate of job {twin.id} ({twin.name})"
        _tell(journal.move(job.id, State.SKIPPED, why, now=now, expected={State.HELD}))
    else:
        journal.note(job.id, twin=twin.id)


def _cancel(journal: Journal, number: int, why: str, now: float, columns: dict[str, Any] | None = None) -> bool:
    """Cancel a waiting job; tell whether it is over, now or before."""
    try:
        _tell(journal.move(number, State.CANCELLED, why, now=now, expected=WAITING, **(columns or {})))
    except KeyError:
        return True  # forgotten since the look began
    except IllegalMove:
        return journal.job(number).state not in LIVE
    return True


def _work(arrival: Arrival) -> tuple[str, str]:
    """Return what is equal for arrivals whose results would be."""
    return arrival.content, json.dumps(dict(arrival.options), sort_keys=True)


def _new_job(journal: Journal, folder: Folder, arrival: Arrival) -> NewJob:
    state, reason, number = State.QUEUED, "", None
    skips = folder.duplicates == "skip"
    twin = journal.same_content(arrival.content, folder.name, arrival.options) if skips else None
    if arrival.fault:
        state, reason = State.QUARANTINED, arrival.fault
    elif twin is not None:
        done = twin.state is State.DONE
        state, number = (State.SKIPPED, None) if done else (State.HELD, twin.id)
        reason = f"duplicate of job {twin.id} ({twin.name})" + ("" if done else ", which is not done yet")
    return NewJob(
        folder=folder.name,
        pipeline=folder.pipeline,
        path=arrival.path,
        signature=arrival.signature,
        sidecar=arrival.sidecar,
        content=arrival.content,
        twin=number,
        options=arrival.options,
        priority=folder.priority,
        state=state,
        reason=reason,
    )


def _tell(job: Job) -> None:
    level = logging.WARNING if job.state is State.QUARANTINED else logging.INFO
    why = f": {job.reason}" if job.reason else ""
    log.log(level, "job=%d %s %s in %s%s", job.id, job.name, job.state, job.folder, why)
