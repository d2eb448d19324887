"""A real daemon on an inbox of its own, as the programs here measure it."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import yaml

from darkroom.daemon import live
from darkroom.daemon.job import Job
from darkroom.daemon.journal import EVERYTHING, FILE, Journal
from darkroom.daemon.states import LIVE
from darkroom.pipelines.errors import Unavailable

LOOK_EVERY_S = 0.05  # figures come from the journal, not from these looks
LONGEST_S = 900.0


class Running:
    """A daemon in the folder `root`, started and stopped as a context; its one folder upscales with `fast`."""

    def __init__(self, root: Path, *, held: bool = False, settle_s: float | None = None) -> None:
        """Write the configuration.

        held:      no job starts
        settle_s:  how long a file must be still; None: as installed
        """
        self.root = root
        self.inbox, self.state = root / "inbox", root / "state"
        self.inbox.mkdir(parents=True)
        self.state.mkdir()
        folder: dict[str, object] = {"name": "films", "pipeline": "upscale", "inbox": "inbox", "outbox": "outbox"}
        folder |= {"settle": settle_s} if settle_s is not None else {}
        options = {"options": {"model": "fast"}, "conflict": "number"}
        settings = {"folders": [folder | options], "disk": {"work_reserve": 0, "outbox_reserve": 0}}
        (root / "config.yaml").write_text(yaml.safe_dump(settings))
        if held:
            with Journal(self.state / FILE) as journal:
                journal.hold(EVERYTHING, "measured while it waits", now=time.time())

    def __enter__(self) -> Self:
        command = [sys.executable, "-P", "-m", "darkroom", "--config", str(self.root / "config.yaml"), "run"]
        with (self.root / "log").open("wb") as log:
            self._daemon = subprocess.Popen(command, stderr=log)
        while live.read(self.state) is None and self._daemon.poll() is None:  # until its first look is over
            time.sleep(LOOK_EVERY_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._daemon.send_signal(signal.SIGTERM)
        self._daemon.wait(60)

    @property
    def pid(self) -> int:
        """Process number of the supervisor."""
        return self._daemon.pid

    def worker(self) -> int:
        """Return the process number of the worker. Raises RuntimeError if there is none."""
        for children in Path(f"/proc/{self.pid}/task").glob("*/children"):
            if found := children.read_text().split():
                return int(found[0])
        raise RuntimeError("the daemon has no worker; its log says why")

    def drop(self, source: Path) -> float:
        """Copy `source` into the inbox and return the Unix time at which its last byte was written."""
        data = source.read_bytes()
        (self.inbox / source.name).write_bytes(data)
        return time.time()

    def done(self, count: int) -> list[Job]:
        """Wait until so many jobs have ended, and return them. Raises RuntimeError if one of them is not done."""
        jobs = self.wait_for(count, waiting=False)
        if bad := [job for job in jobs if job.state != "done"]:
            raise RuntimeError(f"{bad[0].name}: {bad[0].state}: {bad[0].reason}")
        return jobs

    def wait_for(self, count: int, *, waiting: bool) -> list[Job]:
        """Wait until so many jobs are queued (`waiting`) or have ended, and return them."""
        deadline = time.monotonic() + LONGEST_S
        while time.monotonic() < deadline:
            if self._daemon.poll() is not None:
                raise RuntimeError(f"the daemon ended: {self.last_words()}")
            found = [job for job in self.jobs() if (job.state in LIVE) is waiting]
            if len(found) >= count:
                return found
            time.sleep(LOOK_EVERY_S if count < 100 else 1)
        raise RuntimeError(f"waited in vain for {count} jobs: {self.last_words()}")

    def jobs(self) -> list[Job]:
        """Return all jobs there are."""
        try:
            with Journal(self.state / FILE, readonly=True) as journal:
                return journal.jobs()
        except Unavailable:
            return []  # not made yet

    def last_words(self) -> str:
        """Return the last line of the log."""
        return ((self.root / "log").read_text(errors="replace").splitlines() or ["nothing in its log"])[-1]
