"""Draws the live picture of the daemon for `darkroom status`, and the one line for `systemctl status`."""

import logging
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path

from darkroom import __version__
from darkroom.daemon import live
from darkroom.daemon.clock import unix_now
from darkroom.daemon.job import printable
from darkroom.daemon.live import FolderNow, Live, WorkerNow
from darkroom.daemon.lookout import Lookout
from darkroom.daemon.units import show_seconds

log = logging.getLogger(__name__)

EVERY_S = 1.0  # the picture is written so often while something changes


class Picture:
    """The last picture written, so that an idle daemon writes nothing."""

    def __init__(self, state: Path) -> None:
        """Keep the picture in the folder `state`."""
        self._state = state
        self._since = unix_now()
        self._last: Live | None = None
        self._written = 0.0
        self._fault = ""

    def draw(
        self,
        lookouts: Mapping[str, Lookout],
        closed: Mapping[str, str],
        workers: Mapping[str, WorkerNow],
        notes: list[str],
    ) -> str:
        """Write the picture if it has changed, at most once a second, and return its one line."""
        now = time.monotonic()
        if now - self._written >= EVERY_S:
            picture = Live(
                pid=os.getpid(),
                since=self._since,
                at=0.0,
                version=__version__,
                folders={name: _folder(lookout, closed.get(name, "")) for name, lookout in lookouts.items()},
                workers=dict(workers),
                notes=notes,
            )
            if picture != self._last:
                self._last, self._written = picture, now
                self._write(replace(picture, at=unix_now()))
        return one_line(workers, closed)

    def clear(self) -> None:
        """Remove the picture: the daemon is gone."""
        with suppress(OSError):
            (self._state / live.FILE).unlink(missing_ok=True)

    def _write(self, picture: Live) -> None:
        """Write it if that is possible: a full disk must not end the daemon. Each fault is told once."""
        fault = ""
        try:
            live.write(self._state, picture)
        except OSError as error:
            fault = f"{self._state}: {error.strerror}; `darkroom status` shows an old picture until it can be written"
            self._last = None
        if fault and fault != self._fault:
            log.warning("%s", fault)
        self._fault = fault


def one_line(workers: Mapping[str, WorkerNow], closed: Mapping[str, str]) -> str:
    """Say what is going on: the running jobs, or why none runs."""
    busy = [worker for worker in workers.values() if worker.state == "busy"]
    if not busy:
        causes = [f"{name}: {why}" for name, why in closed.items() if why]
        return "; ".join(causes) or "idle"
    return "; ".join(
        f"job {worker.job} {worker.name}: {worker.stage}"
        + (f", {worker.done} of {worker.units} {worker.unit}s" if worker.units else "")
        + (f", {show_seconds(worker.eta_s)} left" if worker.eta_s else "")
        for worker in busy
    )


def _folder(lookout: Lookout, closed: str) -> FolderNow:
    if lookout.last is None or lookout.inbox is None:
        return FolderNow(offline=lookout.offline(), closed=closed)
    sighting = lookout.last.sighting
    shown = {printable(path): why for path, why in islice(sighting.waiting.items(), live.SHOWN)}
    return FolderNow(
        mode=lookout.inbox.mode,
        offline=lookout.offline(),
        closed=closed,
        last_scan=lookout.last.at,
        scan_s=round(sighting.seconds, 3),
        files=sighting.files,
        waiting=shown,
        waiting_count=len(sighting.waiting),
    )
