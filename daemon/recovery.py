"""What a start finds of the run before, and sets right."""

import logging

from darkroom.daemon.charge import OUTAGES, crashed
from darkroom.daemon.config import Config
from darkroom.daemon.crash_points import CrashPoint, reach
from darkroom.daemon.journal import Journal
from darkroom.daemon.parts import count_parts, remove_folder, work_folder
from darkroom.daemon.states import ASKED, BUSY, State

log = logging.getLogger(__name__)


def recover(config: Config, journal: Journal, *, boot: str, now: float) -> None:
    """Queue again what was running when the last daemon ended; nobody else can be running it.

    A job that ran while the machine itself went down is charged with it. Whatever such a job had
    finished is found on the disk when it runs again, so there is nothing else to repair.
    """
    reach(CrashPoint.RECOVERY_BEGUN)
    for job in journal.jobs(states=BUSY):
        verdict = crashed(job, "the machine went down", count_parts(work_folder(config.state, job.id)), OUTAGES)
        if job.ask in ASKED and job.state is State.RUNNING:  # the daemon ended before it could answer
            journal.move(job.id, ASKED[job.ask], f"asked to {job.ask}", now=now)
        elif job.boot == boot:
            journal.move(job.id, State.QUEUED, "the daemon ended; goes on where it was", now=now)
        else:
            journal.move(job.id, verdict.state, verdict.reason, now=now, **verdict.columns)
        log.info("job=%d %s was running when the daemon ended", job.id, job.name)
    journal.forget_delays(boot)
    for folder in (config.state / "work").glob("[0-9]*"):
        if _is_over(journal, folder.name):
            remove_folder(folder)
    reach(CrashPoint.RECOVERY_ENDED)


def _is_over(journal: Journal, number: str) -> bool:
    """Tell whether the work of a job is of no more use; that of a failed one is, for `retry`."""
    try:
        return journal.job(int(number)).state in (State.DONE, State.CANCELLED, State.SKIPPED)
    except (KeyError, ValueError, OverflowError):
        return False  # retention looks after what belongs to nobody
