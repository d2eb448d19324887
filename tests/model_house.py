"""A Darkroom in one process: the daemon's own code on real files and a real journal, with clocks that are wound.

Between any two steps of it a person, a file server, a full disk or a SIGKILL may come. What the house should hold is
kept beside it (`files`, `versions`), and `ledger.py` compares.
"""

import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from datetime import datetime
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any
from unittest import mock

import stamping
import yaml
from interruptions import Event, between_commits, changing, interruptions, killed, writing
from model_folders import ModelFolders

from darkroom import pipelines
from darkroom.daemon import clock, lookout
from darkroom.daemon.attempt import attempt
from darkroom.daemon.charge import crashed
from darkroom.daemon.config import load
from darkroom.daemon.gate import why_closed
from darkroom.daemon.intake import free_twins, take_in
from darkroom.daemon.job import Job
from darkroom.daemon.journal import FILE, Journal
from darkroom.daemon.lookout import IDENTITIES, Lookout
from darkroom.daemon.marker import load_identities, save_identities
from darkroom.daemon.parts import count_parts, work_folder
from darkroom.daemon.recovery import recover
from darkroom.daemon.retention import prune
from darkroom.daemon.states import ASKED, BUSY, IllegalMove, State
from darkroom.daemon.wire import Wire
from darkroom.daemon.wishes import cancel, hold, release, retry
from darkroom.pipelines.errors import Unavailable

SETTLE_S = 2.0
RETRY_S = 60.0
DAY_S = 86400.0
NEVER = 10**9  # a step that nothing has
MOST_ROUNDS = 60  # that a house may need to come to rest


class ModelHouse(ModelFolders):
    """The folder `films` with its daemon: what people and machines do to it, and what comes in between."""

    def __init__(self, root: Path, **folder: object) -> None:
        super().__init__(root)
        self.kills: Counter[int] = Counter()  # of its worker, by job
        self.disturbed: set[int] = set()  # jobs that a disk or a person came in the way of
        self.cancelled: set[int] = set()  # jobs a person cancelled
        self.visited = False  # somebody, or trouble, came in the midst of some work since `Ledger.check`
        self._wires: dict[int, Connection] = {}  # our ends, by running job
        self._patches = ExitStack()
        for module in (clock, lookout):
            self._patches.enter_context(mock.patch.object(module, "time", self.clocks))
        self._patches.enter_context(mock.patch.dict(pipelines.KINDS, stamping.KINDS))
        entry = {"name": "films", "inbox": "inbox", "outbox": "outbox", "originals_folder": "originals"}
        settings = {
            "folders": [entry | {"pipeline": "stamp", "settle": SETTLE_S} | folder],
            "worker": {"retry_delays": [RETRY_S], "attempts": 2},
            "disk": {"work_reserve": 0, "outbox_reserve": 0},
        }
        (root / "config.yaml").write_text(yaml.safe_dump(settings))
        self.config = load(root / "config.yaml")
        self.folder = self.config.folders[0]
        self.config.state.mkdir()
        self.start()

    def close(self) -> None:
        self.let_all_go()
        self.journal.close()
        self._patches.close()

    # -- what people do ------------------------------------------------------------------------------------------

    def unmount(self, name: str) -> None:
        if os.fspath(self.root / name) in load_identities(self.config.state / IDENTITIES):  # else nobody knows it yet
            super().unmount(name)
            self.disturbed |= self._wires.keys()

    def wish(self, verb: str, which: int) -> None:
        """Say `darkroom cancel JOB` or the like of one of the jobs there are."""
        jobs = self.journal.jobs()
        if not jobs:
            return
        job = jobs[which % len(jobs)]
        self.disturbed.add(job.id)
        with suppress(IllegalMove):
            if verb == "hold":
                hold(self.journal, job, "on hold", now=self.clocks.time())
            else:
                {"cancel": cancel, "release": release, "retry": retry}[verb](self.journal, job, now=self.clocks.time())
            if verb == "cancel":
                self.cancelled.add(job.id)
            self._tell(job.id, verb)

    # -- what the daemon does ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Be a daemon that starts: nothing is remembered but what is on the disk."""
        self.journal = Journal(self.config.state / FILE)
        recover(self.config, self.journal, boot=clock.boot_id(), now=self.clocks.time())
        self._identities = load_identities(self.config.state / IDENTITIES)
        self._looked = threading.Event()
        self._lookout = Lookout(self.folder, self.config, self._identities, self._looked.set)
        free_twins(self.journal, self.clocks.time())

    def restart(self) -> None:
        self.journal.close()
        self.start()

    def look(self) -> bool:
        """Look at the folder once, and tell whether a file still settles. Raises what the daemon's loop outlives."""
        self._looked.clear()
        self._lookout.wake()
        self._lookout.begin(self.journal)
        self._looked.wait()
        look = self._lookout.finished()
        assert look is not None
        for job in take_in(self.journal, self.folder, look.sighting, self.clocks.time()):
            self._tell(job, "replace")
        if not self._lookout.identities.items() <= self._identities.items():
            save_identities(self.config.state / IDENTITIES, self._identities | self._lookout.identities)
            self._identities |= self._lookout.identities
        return look.sighting.settling

    def settle(self) -> None:
        """Look until what is there has been still for long enough."""
        self.look()
        self.wait(2 * SETTLE_S)
        self.look()

    def work(self) -> bool:
        """Run the next job, if one may start, and tell whether there was one."""
        job = self._claim()
        if job is None:
            return False
        source = self.versions.get((job.path, job.size_bytes, job.mtime_ns), b"")
        if source.startswith(stamping.DEADLY) and not self.visited:  # what a visitor does must not be lost with a child
            self._in_child(lambda: self._attempt(job, stamping.MORTAL))
            self._worker_died()
        else:
            self._attempt(job, "cpu")
        with suppress(Unavailable):
            free_twins(self.journal, self.clocks.time())
        return True

    def clear_up(self) -> None:
        prune(self.config, self.journal, self.clocks.time())

    def settle_down(self) -> None:
        """Make everything well, and work off what is there. Raises AssertionError if that takes no end."""
        for name in sorted(self.offline):
            self.mount(name)
        self.let_all_go()
        self.clocks.wall_ahead = time.time() - self.clocks.since_boot
        for job in self.journal.jobs(states=[State.HELD]):
            if not job.lacks and job.twin is None:
                release(self.journal, job, now=self.clocks.time())
        for _ in range(MOST_ROUNDS):
            self.restart()
            before = self.journal.last_event()
            self.look()
            self.wait(RETRY_S + 1)
            settling = self.look()
            while self.work():
                pass
            if not settling and self.journal.last_event() == before:
                break
        else:
            raise AssertionError("there is no end of it")
        self.set_clock(2 * DAY_S)
        self.restart()
        self.clear_up()

    # -- what comes in between -----------------------------------------------------------------------------------

    def killed(self, verb: str, step: int, daemon: bool) -> None:
        """Do `look`, `work` or `restart`, killed before a step; a killed worker leaves the `daemon` alive or not."""
        died = self._in_child(getattr(self, verb), step)
        if verb != "work" or daemon:
            self.restart()
        elif died:
            self._worker_died()

    def troubled(self, verb: str, step: int, trouble: Event, lasting: bool) -> None:
        """Do `look` or `work` on a disk that is full or broken from a step on, or at it."""
        self.visited = True
        before = self._attempts()
        with interruptions().at(step, trouble, writing, lasting=lasting), suppress(Unavailable, OSError):
            getattr(self, verb)()
        self.disturbed |= {job for job, _ in self._attempts().items() - before.items()}

    def meanwhile(self, verb: str, step: int, act: str, arguments: tuple[object, ...]) -> None:
        """Do `look` or `work`, in the midst of which somebody acts."""
        self.visited = True
        with interruptions().at(step, lambda _: getattr(self, act)(*arguments), between_commits):
            getattr(self, verb)()

    def hang_up(self) -> None:
        """Die as the daemon of the workers that are at work: they notice."""
        for pipe in self._wires.values():
            pipe.close()

    def drain(self) -> None:
        """As the workers hear of a reload or a stop."""
        for job in self._wires:
            self._tell(job, "drain")

    # -- inside --------------------------------------------------------------------------------------------------

    def _claim(self) -> Job | None:
        now, offline = datetime.now(), self._lookout.offline()
        if why_closed(self.config, self.folder, offline, self.journal.holds(), now, was_closed=False):
            return None
        boot, uptime = clock.boot_id(), self.clocks.since_boot
        return self.journal.claim([self.folder.name], now=self.clocks.time(), uptime=uptime, boot=boot)

    def _attempt(self, job: Job, device: str) -> None:
        ours, theirs = Pipe()
        self._wires[job.id] = ours
        with ours, theirs:
            try:
                wire = Wire(theirs, job)
                attempt(job, config=self.config, journal=self.journal, device=device, wire=wire)
            except Unavailable:  # as the supervisor answers TRY_LATER
                self._ended(job.id, State.QUEUED, "the journal could not be written; goes on")
            finally:
                del self._wires[job.id]

    def _attempts(self) -> dict[int, int]:
        return {job.id: job.attempts for job in self.journal.jobs()}

    def _tell(self, job: int, wish: str) -> None:
        if job in self._wires and not self._wires[job].closed:
            self._wires[job].send({"wish": wish})

    def _in_child(self, work: Callable[[], object], step: int = NEVER) -> bool:
        """Do `work` in a process of its own, killed before its step number `step`; tell whether it was killed."""
        self.journal.close()  # SQLite must not be carried into a child
        child = os.fork()
        if not child:
            status = 1
            try:
                self.journal = Journal(self.config.state / FILE)
                with interruptions().at(step, killed, changing):
                    work()
                status = 0
            finally:
                os._exit(status)  # never back into pytest
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert status <= 0, "the child failed; what it said is above"
        self.journal = Journal(self.config.state / FILE)
        return status < 0

    def _worker_died(self) -> None:
        """Decide on its job as the supervisor does."""
        for job in self.journal.jobs(states=BUSY):
            if job.id not in self._wires:
                self.kills[job.id] += 1
                parts = count_parts(work_folder(self.config.state, job.id))
                verdict = crashed(job, "the worker was ended by SIGKILL", parts)
                if job.ask in ASKED and job.state is State.RUNNING:
                    self._ended(job.id, ASKED[job.ask], f"asked to {job.ask}")
                else:
                    self._ended(job.id, verdict.state, verdict.reason, **verdict.columns)

    def _ended(self, number: int, state: State, reason: str, **columns: Any) -> None:
        if self.journal.job(number).state in BUSY:
            self.journal.move(number, state, reason, now=self.clocks.time(), **columns)
