"""From what was seen in an inbox to jobs in the journal."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from darkroom.daemon.config import Folder
from darkroom.daemon.inbox import Arrival, Sighting
from darkroom.daemon.job import GONE_NS, Job, NewJob
from darkroom.daemon.journal import Journal
from darkroom.daemon.sidecar import lack_of, why_waiting
from darkroom.daemon.states import LIVE, WAITING, IllegalMove, State
from darkroom.pipelines import KINDS

log = logging.getLogger(__name__)


def take_in(journal: Journal, folder: Folder, sighting: Sighting, now: float) -> list[int]:
    """Record the arrivals of `sighting`, and return the running jobs that their files have outdated.

    A waiting job whose file changed or went is cancelled; a running one must be ended first (by the
    caller), and its successor is recorded at a later look. All jobs of an arrival are recorded in one transaction.
    """
    for job in sighting.missing:
        _cancel(journal, job, "the file is no longer in the inbox", now)
    outdated = "the file or its sidecar changed; a new job follows"
    running = [job for job in sighting.replaced if not _cancel(journal, job, outdated, now)]
    for arrivals in _rounds(sighting.arrivals):
        new = [job for arrival in arrivals for job in _new_jobs(journal, folder, arrival)]
        for number in journal.enqueue(new, now):
            _tell(journal.job(number))
    free_twins(journal, now)
    _free_lacking(journal, folder, now)
    return running


def free_twins(journal: Journal, now: float) -> None:
    """Decide on the jobs that waited for another of the same content, now that it has ended."""
    for job in journal.freed_twins():
        with suppress(IllegalMove):  # somebody has just cancelled it
            _free(journal, job, now)


def _free_lacking(journal: Journal, folder: Folder, now: float) -> None:
    """Decide on the jobs that waited for an option, now that the folder has it for all."""
    if not KINDS[folder.pipeline].prompted or lack_of({}, folder):
        return  # none waits, or each for its own
    for job in journal.jobs(states=[State.HELD], folder=folder.name):
        if job.lacks and not lack_of(job.options, folder):
            with suppress(IllegalMove):
                _free(journal, job, now, f"the folder's options have the {job.lacks} now")


def _free(journal: Journal, job: Job, now: float, why: str = "the job of the same content gave no result") -> None:
    twin = journal.same_content(job.content, job.folder, job.options)
    if twin is None:
        _tell(journal.move(job.id, State.QUEUED, why, now=now, expected={State.HELD}))
    elif twin.state is State.DONE:
        why = f"duplicate of job {twin.id} ({twin.name})"
        _tell(journal.move(job.id, State.SKIPPED, why, now=now, expected={State.HELD}))
    else:
        journal.note(job.id, twin=twin.id, lacks="", reason=_of_twin(twin))


def _cancel(journal: Journal, number: int, why: str, now: float) -> bool:
    """Cancel a waiting job, so that whatever file comes next is news; tell whether it is over, now or before.

    One whose result has its name is not cancelled: it may be in the outbox, and be why the file is gone.
    """
    try:
        if journal.job(number).result:
            return False
        _tell(journal.move(number, State.CANCELLED, why, now=now, expected=WAITING, mtime_ns=GONE_NS))
    except KeyError:
        return True  # forgotten since the look began
    except IllegalMove:
        return journal.job(number).state not in LIVE
    return True


def _rounds(arrivals: Sequence[Arrival]) -> Iterator[list[Arrival]]:
    """Yield the arrivals in groups to be recorded one after another, so that of equal files all find the first."""
    recorded: set[tuple[str, str]] = set()
    while arrivals:
        now, later, works = list[Arrival](), list[Arrival](), set[tuple[str, str]]()
        for arrival in arrivals:
            own = {_work(arrival, options) for options in arrival.takes}
            if own & works:
                later.append(arrival)
            else:
                now.append(arrival)
                works |= own - recorded
        yield now
        recorded |= works
        arrivals = later


def _work(arrival: Arrival, options: Mapping[str, Any]) -> tuple[str, str]:
    """Return what is equal for jobs whose results would be."""
    return arrival.content, json.dumps(dict(options), sort_keys=True)


def _new_jobs(journal: Journal, folder: Folder, arrival: Arrival) -> Iterator[NewJob]:
    first: dict[tuple[str, str], int] = {}
    for take, options in enumerate(arrival.takes):
        equal = first.setdefault(_work(arrival, options), take)
        yield NewJob(
            folder=folder.name,
            pipeline=folder.pipeline,
            path=arrival.path,
            signature=arrival.signature,
            take=take,
            sidecar=arrival.sidecar,
            content=arrival.content,
            options=options,
            priority=folder.priority,
            **_beginning(journal, folder, arrival, take, equal),
        )


def _beginning(journal: Journal, folder: Folder, arrival: Arrival, take: int, equal: int) -> dict[str, Any]:
    """Return in which state the job of entry `take`, the first like which is `equal`, begins, and why."""
    options = arrival.takes[take]
    if arrival.fault:
        return {"state": State.QUARANTINED, "reason": arrival.fault}
    if lacking := lack_of(options, folder):
        return {"state": State.HELD, "reason": why_waiting(lacking, arrival.path, arrival.beside), "lacks": lacking}
    if folder.duplicates != "skip":
        return {}
    if equal < take:
        return {"state": State.SKIPPED, "reason": f"entry {take + 1} of its sidecar is equal to entry {equal + 1}"}
    twin = journal.same_content(arrival.content, folder.name, options)
    if twin is None:
        return {}
    if twin.state is State.DONE:
        return {"state": State.SKIPPED, "reason": f"duplicate of job {twin.id} ({twin.name})"}
    return {"state": State.HELD, "reason": _of_twin(twin), "twin": twin.id}


def _of_twin(twin: Job) -> str:
    return f"duplicate of job {twin.id} ({twin.name}), which is not done yet"


def _tell(job: Job) -> None:
    level = logging.WARNING if job.state is State.QUARANTINED else logging.INFO
    why = f": {job.reason}" if job.reason else ""
    log.log(level, "job=%d %s %s in %s%s", job.id, job.name, job.state, job.folder, why)
