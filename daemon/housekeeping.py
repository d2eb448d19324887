"""What is done by the time of day: clearing up and the journal's backup.

APScheduler goes by the wall clock: after a jump back of two hours it ran nothing for two hours, so
every jump makes the schedule anew. It waits by a clock that stands still while the machine sleeps, so
it is woken with the machine.
"""

import logging
import threading
import time
from datetime import datetime

from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger

from darkroom.daemon.backup import back_up
from darkroom.daemon.clock import this_boot, unix_now, uptime
from darkroom.daemon.config import Config
from darkroom.daemon.journal import FILE, Journal
from darkroom.daemon.retention import prune
from darkroom.daemon.units import show_bytes
from darkroom.pipelines.errors import Unavailable

log = logging.getLogger(__name__)

JUMP_S = 30.0  # wall clock and boot clock differ by so much more than before: somebody set the clock
GRACE_S = 6 * 3600  # a run that was missed, because the machine slept, is made up for within this time


class Housekeeping:
    """The daily runs, each in a thread of its own with a connection of its own to the journal."""

    def __init__(self, config: Config) -> None:
        """Make the schedule and start it."""
        self._config = config
        self._offset = unix_now() - uptime()
        self._asleep_s = uptime() - time.monotonic()
        self._thread: threading.Thread | None = None
        self._scheduler = BackgroundScheduler()
        self._add_runs()
        self._scheduler.start()

    def follow_clock(self) -> None:
        """Make the schedule anew if the wall clock has jumped; make up for what the machine has slept through."""
        offset, asleep_s = unix_now() - uptime(), uptime() - time.monotonic()
        if asleep_s - self._asleep_s > JUMP_S:
            self._asleep_s = asleep_s
            self._scheduler.wakeup()
        if abs(offset - self._offset) > JUMP_S:
            log.warning("the clock was set by %+.0f s; the daily runs are scheduled anew", offset - self._offset)
            self._offset = offset
            self._scheduler.remove_all_jobs()
            self._add_runs()

    def stop(self) -> None:
        """End the schedule; a run under way is not waited for, since each of its steps is safe."""
        self._scheduler.shutdown(wait=False)

    def _run(self) -> None:
        # Not in a thread of the scheduler's pool: the interpreter would wait for it at its end, and so would a stop of
        # the daemon for a file server that hangs.
        if self._thread is not None and self._thread.is_alive():
            log.error("clearing up has not ended since yesterday: does a file server hang? only the backup is made")
            run_daily(self._config, clear=False)
            return
        self._thread = threading.Thread(target=run_daily, args=[self._config], daemon=True, name="daily run")
        self._thread.start()

    def _add_runs(self) -> None:
        hour, minute = (int(number) for number in self._config.retention.at.split(":"))
        self._scheduler.add_job(
            self._run,
            CronTrigger(hour=hour, minute=minute),
            coalesce=True,
            max_instances=1,
            misfire_grace_time=GRACE_S,
        )


def run_daily(config: Config, *, clear: bool = True) -> None:
    """Back up the journal, then, with `clear`, clear up by the retention rules; say in the log what went."""
    try:
        with Journal(config.state / FILE) as journal:
            back_up(journal, config.state, config.backups, datetime.now().date())
            removals = prune(config, journal, unix_now(), boot=this_boot()) if clear else []
    except (Unavailable, OSError) as error:
        log.error("daily run: %s; it is tried again tomorrow", error)
        return
    if removals:
        freed = show_bytes(sum(removal.size_bytes for removal in removals))
        log.info("retention: removed %d entries, %s; the first: %s", len(removals), freed, removals[0].why)
