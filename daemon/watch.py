"""Events wake the scans: one watchdog observer for each inbox on a local disk.

An event only says "look at this inbox"; what is there, the look finds out. So a lost event costs one scan period. What
watchdog does not say by itself is said here: the queue overflowed, the watches ran out, the root was replaced, a thread
died.
"""

import logging
import os
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from watchdog.events import (
    DirCreatedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

# Two events for a file instead of six, so that the kernel's queue of 16,384 lasts three times as long. "Created" must
# stay in: without it new folders are not watched.
EVENTS: list[type[FileSystemEvent]] = [
    *(FileCreatedEvent, FileClosedEvent, FileMovedEvent),
    *(DirCreatedEvent, DirMovedEvent),
]
WATCHDOG_LOG = "watchdog.observers"  # parent of the two loggers that speak of overflows
PROC = Path("/proc")
LIMITS = ("fs.inotify.max_user_watches", "user.max_inotify_watches")  # of the machine, of a container


@dataclass(frozen=True, slots=True, kw_only=True)
class _Watched:
    observer: BaseObserver
    root: tuple[int, int]  # st_dev and st_ino: a root that was renamed and made anew tells no events any more

    @property
    def alive(self) -> bool:
        return self.observer.is_alive() and all(emitter.is_alive() for emitter in self.observer.emitters)


class Watcher:
    """Wakes whoever waits on `woken` when something happens in one of the inboxes."""

    def __init__(self, woken: threading.Event | None = None, *, proc: Path = PROC) -> None:
        self.woken = woken or threading.Event()
        self.overflows = 0  # times that the kernel dropped events
        self._proc = proc
        self._lock = threading.Lock()
        self._touched: set[Path] = set()
        self._watched: dict[Path, _Watched] = {}
        self._folders: dict[Path, int] = {}
        self._failed: dict[Path, str] = {}
        self._overflow_line = _OverflowLine(self)

    def start(self) -> None:
        """Listen to watchdog's own log, for that is where an overflow is told."""
        log = logging.getLogger(WATCHDOG_LOG)
        log.addHandler(self._overflow_line)
        log.setLevel(logging.WARNING)  # else a daemon that logs errors only would not hear of it

    def stop(self) -> None:
        """End all observers."""
        logging.getLogger(WATCHDOG_LOG).removeHandler(self._overflow_line)
        for root in list(self._watched):
            self.remove(root)

    def add(self, root: Path, *, folders: int = 0) -> None:
        """Watch the folder `root` with all below it; a working watch stays, a dead or outdated one is made anew.

        To be called after each look at an inbox in event mode. What goes wrong is in `problems`: the scans go on.

        folders:  number of folders the last look found, itself included; 0 before the first one
        """
        self._folders[root] = folders
        try:
            seen = root.stat()
            identity = (seen.st_dev, seen.st_ino)
            self._failed.pop(root, None)
            if (old := self._watched.get(root)) and old.alive and old.root == identity:
                return
            self.remove(root)
            self._watched[root] = _Watched(observer=self._observer(root), root=identity)
            self.touch(root)  # what happened until now, no event has told
        except OSError as error:
            self._failed[root] = f"{root}: not watched, scanned only: {_remedy(error)}"

    def remove(self, root: Path) -> None:
        """Watch `root` no more; an unknown one is fine."""
        self._failed.pop(root, None)
        if old := self._watched.pop(root, None):
            old.observer.stop()
            old.observer.join(timeout=5)

    def touch(self, root: Path) -> None:
        """Note that `root` is worth a look, and wake."""
        with self._lock:
            self._touched.add(root)
            self.woken.set()

    def touched(self) -> set[Path]:
        """Return the roots in which something happened since the last call."""
        with self._lock:
            self.woken.clear()
            touched, self._touched = self._touched, set()
        return touched

    def overflowed(self) -> None:
        """Have all roots looked at: the kernel dropped events, nobody knows of which."""
        self.overflows += 1
        for root in list(self._watched):
            self.touch(root)

    @property
    def watches(self) -> int:
        """Number of folders that the kernel watches for this process."""
        return sum(_watches_in(entry) for entry in _entries(self._proc / "self/fdinfo"))

    @property
    def limit(self) -> int:
        """Number of folders that all programs of this user may watch, 0 if unknown."""
        return self._limit()[0]

    def _limit(self) -> tuple[int, str]:
        """Return the narrowest limit on watches and its name."""
        found = []
        for name in LIMITS:
            with suppress(OSError, ValueError):
                found.append((int((self._proc / "sys" / name.replace(".", "/")).read_text()), name))
        return min(found, default=(0, LIMITS[0]))

    def problems(self) -> list[str]:
        """Return what keeps events from coming, one line each, with the remedy."""
        alive = {root: watched.alive for root, watched in sorted(self._watched.items())}
        found = sorted(self._failed.values())
        found += [f"{root}: its watch died; it is made anew after the next scan" for root in alive if not alive[root]]
        there = sum(self._folders[root] for root in alive if alive[root])
        if there > (watches := self.watches):
            limit, name = self._limit()
            enough = 2 ** (2 * there + limit).bit_length()
            found.append(
                f"only {watches} of {there} folders are watched, the others wait for the scan: the limit is"
                f" {limit}; raise it: sysctl {name}={enough}"
            )
        return found

    def _observer(self, root: Path) -> BaseObserver:
        observer = Observer()
        observer.schedule(_Touch(self, root), os.fspath(root), recursive=True, event_filter=EVENTS)
        try:
            observer.start()
        except OSError:
            observer.stop()
            raise
        return observer


class _Touch(FileSystemEventHandler):
    def __init__(self, watcher: Watcher, root: Path) -> None:
        self._watcher = watcher
        self._root = root

    def on_any_event(self, event: FileSystemEvent) -> None:
        self._watcher.touch(self._root)


class _OverflowLine(logging.Handler):
    """Takes the overflow lines out of watchdog's log; no event tells them."""

    def __init__(self, watcher: Watcher) -> None:
        super().__init__(logging.WARNING)
        self._watcher = watcher

    def emit(self, record: logging.LogRecord) -> None:
        if "overflow" in record.getMessage().lower():
            self._watcher.overflowed()


def _remedy(error: OSError) -> str:
    """Say why a folder could not be watched; the kernel's own words for both limits mislead."""
    if "watch limit" in str(error):
        return "no inotify watches left; double the limit: sysctl fs.inotify.max_user_watches"
    if "instance limit" in str(error):
        return "no inotify instances left; double the limit: sysctl fs.inotify.max_user_instances"
    return f"{error.strerror or error}; is it there and readable?"


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _watches_in(fdinfo: Path) -> int:
    """Count the watches of one open file: an inotify instance has a line for each."""
    try:
        return sum(line.startswith("inotify ") for line in fdinfo.read_text().splitlines())
    except OSError:
        return 0  # closed meanwhile
