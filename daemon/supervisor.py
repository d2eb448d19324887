"""The daemon's main loop: look at the inboxes, queue what arrived, keep each device busy, tell systemd.

It never imports torch and opens no media file, so nothing that a model or a codec does can stop it.
"""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from multiprocessing.connection import wait
from pathlib import Path

from darkroom.daemon.charge import crashed, exit_words, unavailable
from darkroom.daemon.clock import boot_id, unix_now, uptime
from darkroom.daemon.config import Config, ConfigError, load
from darkroom.daemon.crew import Crew
from darkroom.daemon.devices import CircuitBreakers, devices, on_hold, with_devices
from darkroom.daemon.disk import why_gone
from darkroom.daemon.gate import but_for_numbers, why_closed
from darkroom.daemon.housekeeping import Housekeeping
from darkroom.daemon.intake import free_twins, take_in
from darkroom.daemon.job import Job
from darkroom.daemon.journal import Journal
from darkroom.daemon.lookout import IDENTITIES, NOT_LOOKED, Look, Lookout
from darkroom.daemon.marker import load_identities, save_identities
from darkroom.daemon.memory import usable_bytes
from darkroom.daemon.notify import Systemd
from darkroom.daemon.parts import count_parts, work_folder
from darkroom.daemon.picture import Picture
from darkroom.daemon.recovery import recover
from darkroom.daemon.signals import Signals
from darkroom.daemon.sqlite_faults import Damaged
from darkroom.daemon.states import ASKED, BUSY, State
from darkroom.daemon.units import show_bytes, show_seconds
from darkroom.daemon.watch import Watcher
from darkroom.daemon.wire import DEVICE_GONE, DRAIN, TRY_LATER
from darkroom.pipelines import KINDS
from darkroom.pipelines.errors import Unavailable

log = logging.getLogger(__name__)

PULSE_S = 0.5  # the longest pause of the loop
OLDEST_EVERY = 8  # every so many claims the oldest job goes first, so that none waits for ever
SAY_AGAIN_S = 60.0  # a trouble that stays is told so often, not with each round
EXTEND_S = 15.0  # more time asked of systemd, again and again while a stop is under way


class Supervisor:
    """One running daemon; `run` is its life."""

    def __init__(self, config_path: Path, config: Config, journal: Journal, lock_fd: int) -> None:
        """Take over a state folder whose lock is held by `lock_fd`."""
        self._path, self._config, self._journal = config_path, config, journal
        self._memory = config.worker.memory or usable_bytes()  # that a worker may hold
        self._signals = Signals()
        self._systemd = Systemd()
        self._devices = devices(config.worker.devices)
        self._crew = [Crew(config_path, config, device, lock_fd) for device in self._devices]
        self._breakers = CircuitBreakers(journal)
        self._resting: dict[str, str] = {}  # devices on hold, and why
        self._watcher = Watcher()
        self._lookouts: dict[str, Lookout] = {}
        self._closed: dict[str, str] = {}  # by folder: why its jobs do not start, "" if they do
        self._housekeeping = Housekeeping(config)
        self._picture = Picture(config.state)
        self._notes: list[str] = []  # what keeps events from coming
        self._cold: set[Crew] = set()  # whose worker is to be started before there is a job for it
        self._claims = 0
        self._said: dict[str, float] = {}  # by its words: when the trouble that passes was told last

    def run(self, *, drain: bool) -> None:
        """Work until a stop signal comes or, with `drain`, until nothing is left that could be done."""
        recover(self._config, self._journal, boot=boot_id(), now=unix_now())
        self._open_folders()
        free_twins(self._journal, unix_now())
        if not drain:
            self._warm_up()
        self._watcher.start()
        self._systemd.ready()
        while not self._signals.stops and not (drain and self._nothing_left()):
            self._systemd.alive()
            with self._patience():
                self._go_round()
            self._pause(min((lookout.due_in_s() for lookout in self._lookouts.values()), default=PULSE_S))
        self._stop()

    def _go_round(self) -> None:
        self._hear_crew()  # first: what it says may put a device on hold, or let the next version of a file in
        holds = self._journal.holds()
        self._look(holds)
        self._answer_asks()
        self._start_jobs(holds)
        self._start_cold()
        self._housekeeping.follow_clock()
        self._tell()

    @contextmanager
    def _patience(self) -> Iterator[None]:
        """Outlive what passes: the journal is locked, or its disk full. What a start alone can mend ends the daemon."""
        try:
            yield
        except Damaged:
            raise
        except (Unavailable, OSError) as error:
            if why := why_gone(self._config.state):
                raise Unavailable(f"{why} the next start on it goes on where this one ends") from error
            if time.monotonic() - self._said.get(str(error), -SAY_AGAIN_S) >= SAY_AGAIN_S:
                log.error("%s; trying again", error)
                self._said = {str(error): time.monotonic()}
            time.sleep(PULSE_S)

    # -- the steps of the loop -----------------------------------------------------------------------------------

    def _look(self, holds: Mapping[str, str]) -> None:
        if self._signals.reload():
            self._reload()
        touched = self._watcher.touched()
        holds = with_devices(holds, self._devices)
        for lookout in self._lookouts.values():
            if lookout.folder.inbox in touched:
                lookout.wake()
            if (look := lookout.finished()) is not None:
                self._take_in(lookout, look)
            lookout.begin(self._journal)
            self._gate(lookout, holds)

    def _take_in(self, lookout: Lookout, look: Look) -> None:
        try:
            outdated = take_in(self._journal, lookout.folder, look.sighting, unix_now())
        except Unavailable:
            lookout.wake()  # what it found is not recorded: it has to be found again, and no drain may end before
            raise
        for job in outdated:
            self._ask(job, "replace")
        if look.sighting.offline or (lookout.inbox is not None and lookout.inbox.mode == "poll"):
            self._watcher.remove(lookout.folder.inbox)  # one that is away has taken its watches along
        else:
            self._watcher.add(lookout.folder.inbox, folders=look.sighting.folders)
        self._notes = self._watcher.problems()
        if not lookout.identities.items() <= self._identities.items():
            save_identities(self._config.state / IDENTITIES, self._identities | lookout.identities)
            self._identities |= lookout.identities

    def _gate(self, lookout: Lookout, holds: Mapping[str, str]) -> None:
        folder, before, offline = lookout.folder, self._closed.get(lookout.folder.name, ""), lookout.offline()
        was_closed = before not in ("", NOT_LOOKED)
        why = why_closed(self._config, folder, offline, holds, datetime.now(), was_closed=was_closed)
        if but_for_numbers(why) != but_for_numbers(before):
            log.info("%s: %s", folder.name, f"no job starts: {why}" if why else "jobs may start")
            for crew in self._crew:
                # A share that went takes nothing from a job whose source is staged, until it has a result to publish.
                if why and why != offline and crew.job is not None and crew.job.folder == folder.name:
                    crew.ask(DRAIN)
        self._closed[folder.name] = why

    def _hear_crew(self) -> None:
        for crew in self._crew:
            if any("ended" in message for message in crew.hear()):
                self._finish(crew)
            if crew.ended_for == "" and (why := self._why_end(crew)):  # once: one that hangs in the kernel goes later
                log.error("%s%s: ending it", f"job={crew.job.id} " if crew.job else "", why)
                crew.end(why)
                if crew.job is not None and self._hangs(crew):
                    self._put_back(crew.job.id, why)
            if not self._config.worker.preload:
                crew.retire(self._config.worker.keep_warm)
            if (status := crew.fate()) is not None and crew.job is not None:
                self._settle(crew, crew.job.id, status, crew.ended_for or exit_words(status))
                self._finish(crew)

    def _why_end(self, crew: Crew) -> str:
        """Say why the worker cannot go on as it does, "" if it can."""
        still_s, limits = time.monotonic() - crew.moved, self._config.worker
        if self._hangs(crew):
            return f"the worker has not moved for {show_seconds(still_s)}, and nor has the file server of its folder"
        if crew.job is not None and still_s > limits.step_limit:
            return f"the worker has not moved for {show_seconds(still_s)}"
        if (taken := crew.memory_bytes) > self._memory:
            limit = show_bytes(self._memory)
            return f"the worker took {show_bytes(taken)} of memory, more than worker.memory ({limit})"
        return ""

    def _hangs(self, crew: Crew) -> bool:
        """Tell whether the worker waits for a file server: the device is not to wait with it."""
        lookout = self._lookouts.get(crew.job.folder) if crew.job is not None else None
        return lookout is not None and lookout.hangs(still_s=time.monotonic() - crew.moved)

    def _put_back(self, number: int, why: str) -> None:
        """Queue the job of a worker that was ended for no fault of job or device, unless it was to end anyway."""
        job = self._journal.job(number)
        if job.state in BUSY and job.ask not in ASKED:
            self._journal.move(job.id, State.QUEUED, f"{why}; goes on when that answers", now=unix_now())

    def _finish(self, crew: Crew) -> None:
        job = crew.job
        assert job is not None, "only a worker with a job can finish one"
        if job.folder in self._lookouts:
            self._lookouts[job.folder].wake()  # a new version of its file may have waited for this
        crew.finished()  # first of all: where the journal is locked, nobody says again that the job is over
        if self._journal.job(job.id).state is State.DONE:
            self._breakers.close(crew.device)
        free_twins(self._journal, unix_now())

    def _settle(self, crew: Crew, number: int, status: int, how: str) -> None:
        """Decide on the job of a worker that is gone, and `how` it went."""
        job = self._journal.job(number)
        if job.state not in BUSY:  # its end was recorded before the worker went
            if status == DEVICE_GONE:
                self._breakers.strain(crew.device, number, job.reason, now=unix_now())
            return
        if job.ask in ASKED and job.state is State.RUNNING:  # the worker went, or hung, before it could answer
            self._journal.move(job.id, ASKED[job.ask], f"asked to {job.ask}; {how}", now=unix_now())
            return
        if status == TRY_LATER:
            self._journal.move(job.id, State.QUEUED, "the journal could not be written; goes on", now=unix_now())
            return
        parts = count_parts(work_folder(self._config.state, job.id))
        verdict = crashed(job, how, parts, KINDS[job.pipeline].crashes)
        self._journal.move(job.id, verdict.state, verdict.reason, now=unix_now(), **verdict.columns)
        log.error("job=%d %s %s: %s", job.id, job.name, verdict.state, verdict.reason)
        self._breakers.strain(crew.device, number, how, now=unix_now())

    def _answer_asks(self) -> None:
        for crew in self._crew:
            if crew.job is not None and (wish := self._journal.job(crew.job.id).ask):
                crew.ask(wish)

    def _ask(self, number: int, wish: str) -> None:
        for crew in self._crew:
            if crew.job is not None and crew.job.id == number:
                crew.ask(wish)

    def _start_jobs(self, holds: Mapping[str, str]) -> None:
        self._resting = on_hold(holds, self._devices)
        open_folders = [name for name, why in self._closed.items() if not why]
        for crew in self._crew:
            if crew.job is not None or crew.device in self._resting or not open_folders:
                continue
            oldest = self._claims % OLDEST_EVERY == OLDEST_EVERY - 1
            job = self._journal.claim(open_folders, now=unix_now(), uptime=uptime(), boot=boot_id(), oldest=oldest)
            if job is None:
                return
            self._claims += 1
            self._give(crew, job)

    def _warm_up(self) -> None:
        """Have each device's worker load the models, once: one that ends of it comes back with its next job only."""
        self._cold = set(self._crew) if self._config.worker.preload else set()

    def _start_cold(self) -> None:
        for crew in self._cold & {crew for crew in self._crew if not crew.pid}:
            self._cold.discard(crew)
            crew.warm()

    def _give(self, crew: Crew, job: Job) -> None:
        try:
            crew.give(job)
        except Unavailable as error:
            verdict = unavailable(job, str(error), self._config.worker, uptime())
            self._journal.move(job.id, verdict.state, verdict.reason, now=unix_now(), **verdict.columns)
            log.error("job=%d %s %s: %s", job.id, job.name, verdict.state, verdict.reason)
            return
        log.info("job=%d %s started on %s, attempt %d", job.id, job.name, crew.device, job.attempts)

    def _tell(self) -> None:
        crew = {crew.device: crew.now() for crew in self._crew}
        notes = [*self._notes, *(f"{device}: on hold: {why}" for device, why in self._resting.items())]
        line = self._picture.draw(self._lookouts, self._closed, crew, notes)
        self._systemd.status(line)

    def _pause(self, longest_s: float = PULSE_S) -> None:
        pipes = [crew.pipe for crew in self._crew if crew.pipe is not None]
        wait([*pipes, self._signals.bell], timeout=min(PULSE_S, longest_s))
        self._signals.quiet()

    # -- begin, reload, end --------------------------------------------------------------------------------------

    def _open_folders(self) -> None:
        self._identities = load_identities(self._config.state / IDENTITIES)
        self._lookouts = {
            folder.name: Lookout(folder, self._config, self._identities, self._signals.ring)
            for folder in self._config.folders
        }
        self._closed = {name: NOT_LOOKED for name in self._lookouts}
        for name in sorted({name for name, _ in self._journal.counts()} - self._lookouts.keys()):
            log.warning("the journal has jobs of a folder %r, which is not configured: they rest", name)

    def _reload(self) -> None:
        try:
            config = load(self._path)
        except (ConfigError, OSError) as error:
            log.error("reload: %s; going on with the configuration as it was", error)
            return
        if (config.state, config.worker.devices) != (self._config.state, self._config.worker.devices):
            log.warning("reload: `state` and `worker.devices` change at the next start only")
            worker = config.worker.model_copy(update={"devices": self._config.worker.devices})
            config = config.model_copy(update={"state": self._config.state, "worker": worker})
        for inbox in {folder.inbox for folder in self._config.folders} - {folder.inbox for folder in config.folders}:
            self._watcher.remove(inbox)
        self._housekeeping.stop()
        self._config, self._housekeeping = config, Housekeeping(config)
        self._memory = config.worker.memory or usable_bytes()
        for crew in self._crew:
            crew.config = config
            crew.ask(DRAIN)
        self._warm_up()
        self._open_folders()
        log.info("reload: %s is in force", self._path)

    def _nothing_left(self) -> bool:
        """Tell whether all inboxes were looked at, all files have settled, and no job could start."""
        looked = all(lookout.settled() for lookout in self._lookouts.values())
        open_folders = [name for name, why in self._closed.items() if not why]
        idle = all(crew.job is None for crew in self._crew)
        return looked and idle and not self._journal.waiting(open_folders, uptime())

    def _stop(self) -> None:
        """Let each worker finish its segment, for `worker.drain` at most; one that is ended loses only that."""
        deadline = time.monotonic() + self._config.worker.drain
        for crew in self._crew:
            crew.ask(DRAIN)
        if any(crew.job for crew in self._crew):
            log.info("stopping, once the running segment is finished; a second signal stops at once")
        self._systemd.status("stopping: waiting for the running segment")
        while any(crew.job for crew in self._crew) and self._signals.stops < 2 and time.monotonic() < deadline:
            self._systemd.alive()
            self._systemd.stopping(EXTEND_S)
            with self._patience():
                self._answer_asks()
                self._hear_crew()
                self._tell()
            self._pause()
        for crew in self._crew:
            crew.kill()
        try:
            recover(self._config, self._journal, boot=boot_id(), now=unix_now())
        except (Unavailable, OSError) as error:
            log.error("%s; the next start sets right what was running", error)
        self._watcher.stop()
        self._housekeeping.stop()
        self._picture.clear()
