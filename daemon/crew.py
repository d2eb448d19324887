"""The supervisor's side of one worker: start it, hear it, and end it when it no longer moves."""

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

from darkroom.daemon.config import Config
from darkroom.daemon.job import Job
from darkroom.daemon.live import WorkerNow
from darkroom.daemon.memory import held_bytes
from darkroom.daemon.wire import DRAIN
from darkroom.pipelines.errors import Unavailable

COMMAND = (sys.executable, "-P", "-m", "darkroom.daemon.worker")
GOODBYE_S = 10.0
RATE_WINDOW_S = 60.0  # the shown rate is that of the last minute


class Crew:
    """One device and the worker process that owns it, which comes and goes.

    The worker inherits `lock_fd`, the daemon's lock on its state folder: a daemon that follows a killed
    one cannot start before the killed one's worker is gone as well.
    """

    def __init__(
        self,
        config_path: Path,
        config: Config,
        device: str,
        lock_fd: int,
        *,
        command: Sequence[str] = COMMAND,
        goodbye_s: float = GOODBYE_S,
    ) -> None:
        """Own `device`; no process is started yet.

        config_path:  shown in the list of processes; a worker works by `config`, the one in force, for the
                      file may have been edited since, and not well
        command:    starts a worker when its arguments follow;  goodbye_s: how long one may take to leave
        """
        self.device = device
        self.config = config  # of the next worker that starts
        self.job: Job | None = None
        self.moved = time.monotonic()  # when the worker was heard last
        self.ended_for = ""  # why the worker was ended, if it was, before the running job was
        self._config_path = config_path
        self._lock_fd = lock_fd
        self._command = command
        self._goodbye_s = goodbye_s
        self._asked: set[str] = set()  # the wishes sent since the job began
        self._process: subprocess.Popen[bytes] | None = None
        self.pipe: Connection | None = None
        self._facts: dict[str, Any] = {}
        self._ticks: deque[tuple[float, int]] = deque()

    @property
    def pid(self) -> int:
        """Process number of the worker, 0 without one."""
        return self._process.pid if self._process else 0

    @property
    def memory_bytes(self) -> int:
        """Memory that the worker and its children hold; 0 without one."""
        return held_bytes(self._process.pid) if self._process else 0

    def give(self, job: Job) -> None:
        """Let the worker run the claimed `job`, starting it if need be. Raises Unavailable if that fails."""
        if DRAIN in self._asked or self.pipe is None or (self._process and self._process.poll() is not None):
            self._see_off()
        if self.pipe is None:
            self._start()
        self.job, self._asked, self.moved, self.ended_for = job, set(), time.monotonic(), ""
        self._facts, self._ticks = {"stage": "starting"}, deque()
        self._send({"claimed": job.id})

    def warm(self) -> None:
        """Start a worker that loads the models and waits, unless there is one. Raises Unavailable if that fails."""
        if self._process is None:
            self._asked, self._facts, self.moved = set(), {}, time.monotonic()
            self._start()

    def ask(self, wish: str) -> None:
        """Wish that the running job ends: DRAIN (and the worker with it), "cancel", "hold" or "replace"."""
        if self.pipe is not None and wish not in self._asked:
            self._asked.add(wish)
            self._send({"wish": wish})

    def hear(self) -> list[Mapping[str, Any]]:
        """Return the messages that have come in, having noted the progress in them."""
        messages: list[Mapping[str, Any]] = []
        try:
            while self.pipe is not None and self.pipe.poll():
                messages.append(self.pipe.recv())
                self._note(messages[-1])
        except (EOFError, OSError):
            self._hang_up()
        return messages

    def fate(self) -> int | None:
        """Return the exit status of a worker that is gone (-9: killed by signal 9), else None.

        Told again until `finished`: what has to be recorded of it may be possible only at the second try.
        """
        if self._process is None or (status := self._process.poll()) is None:
            return None
        self._hang_up()
        if self.job is None:
            self._process = None
        return status

    def finished(self) -> None:
        """Note that the job is over and the worker idle."""
        self.job, self._facts = None, {"what": self._facts.get("what", "")}

    def retire(self, after_s: float = 0.0) -> None:
        """End a worker that has been idle for `after_s`."""
        if self._process is not None and self.job is None and time.monotonic() - self.moved >= after_s:
            self.ask(DRAIN)

    def end(self, why: str) -> None:
        """Kill the worker, and remember of the running job the first reason for it."""
        self.ended_for = self.ended_for or f"{why} and was ended"
        self.kill()

    def kill(self) -> None:
        """End the worker at once; one that hangs in the kernel goes when that lets it, and `fate` tells."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(self._goodbye_s)

    def now(self) -> WorkerNow:
        """Return what the worker is doing, for people."""
        if self._process is None:
            return WorkerNow(what=self.device)
        what = self._facts.get("what") or self.device
        if self.job is None:
            return WorkerNow(state="idle", pid=self.pid, what=what, stage=self._facts.get("stage", ""))
        known = {name: self._facts[name] for name in WorkerNow.__dataclass_fields__ if name in self._facts}
        rate = self._rate()
        left = self._facts.get("units", 0) - self._facts.get("done", 0)
        return WorkerNow(
            **known
            | {"state": "busy", "pid": self.pid, "job": self.job.id, "name": self.job.name, "what": what}
            | {"rate": rate, "eta_s": left / rate if rate else 0.0}
        )

    def _start(self) -> None:
        ours, theirs = Pipe()
        with theirs:
            try:
                self._process = subprocess.Popen(
                    [*self._command, str(self._config_path), self.device, str(theirs.fileno()), str(os.getpid())],
                    pass_fds=(theirs.fileno(), self._lock_fd),
                    stdin=subprocess.DEVNULL,
                    env={"OMP_WAIT_POLICY": "passive", **os.environ},  # spinning burns up to 60 % of a shared machine
                )
            except OSError as error:
                ours.close()
                raise Unavailable(
                    f"{self._command[0]}: {error.strerror}; no worker starts until that is mended"
                ) from error
        self.pipe = ours
        self._send({"config": self.config})

    def _send(self, words: Mapping[str, Any]) -> None:
        try:
            if self.pipe is not None:
                self.pipe.send(words)
        except OSError:
            return  # it is gone: `fate` will tell

    def _see_off(self) -> None:
        """Wait for a worker that is on its way out; it has nothing left to do. Raises Unavailable if it stays."""
        self._hang_up()  # one that waits for words leaves now
        if self._process is not None:
            try:
                self._process.wait(self._goodbye_s)
            except subprocess.TimeoutExpired:
                self.kill()
            if self._process.poll() is None:
                raise Unavailable(
                    f"worker {self.pid} on {self.device} cannot be ended; see what its device or disk does"
                )
        self._process = None

    def _hang_up(self) -> None:
        if self.pipe is not None:
            self.pipe.close()
            self.pipe = None

    def _note(self, message: Mapping[str, Any]) -> None:
        self.moved = time.monotonic()
        self._facts.update(message)
        self._facts.pop("job", None)
        if "done" in message:
            self._ticks.append((self.moved, message["done"]))
            while self._ticks[0][0] < self.moved - RATE_WINDOW_S and len(self._ticks) > 2:
                self._ticks.popleft()

    def _rate(self) -> float:
        if len(self._ticks) < 2:
            return 0.0
        (start, first), (end, last) = self._ticks[0], self._ticks[-1]
        return max(0.0, (last - first) / (end - start)) if end > start else 0.0
