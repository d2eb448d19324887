"""A darkroom of one process, in short: what a start, its looks and its jobs do, to be killed at any crash point.

The daemon and the worker are one process here and time stands still between two looks; all else is the real code on
real files: markers, journal, recovery, looks, attempts, publishing, originals, the daily run.
"""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from itertools import count
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import toys
from killing import at_each_point, at_point, die, in_child

from darkroom import pipelines
from darkroom.daemon.attempt import attempt
from darkroom.daemon.backup import back_up, open_or_recover
from darkroom.daemon.config import Config, load
from darkroom.daemon.inbox import Inbox
from darkroom.daemon.intake import free_twins, take_in
from darkroom.daemon.journal import FILE
from darkroom.daemon.lookout import IDENTITIES
from darkroom.daemon.marker import identify, load_identities, marked, save_identities
from darkroom.daemon.recovery import recover
from darkroom.daemon.retention import prune
from darkroom.daemon.wire import Wire

NOW = 2e9  # Unix seconds: later than the files that a test makes, so that they can be too old
MARKERS = ("inbox/.darkroom-", "outbox/.darkroom-", "originals/films/.darkroom-")
FLEETING = (f"state/{FILE}", "state/backups/", "state/folders.json", "state/retention.json", *MARKERS)


def unfurnished(_room: "Room") -> None:
    """Nothing but the source."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What is rehearsed."""

    name: str
    toy: Any = field(default_factory=lambda: toys.Blur(size=25))
    folder: Mapping[str, object] = field(default_factory=dict)
    config: Mapping[str, object] = field(default_factory=dict)
    furnish: Callable[["Room"], None] = unfurnished  # before the first start
    disturb: Callable[["Room"], None] = unfurnished  # in each process that runs
    daily: bool = False  # the daily runs are part of it


class Room:
    """One inbox with `a/film.mkv` in it, its outbox and its state, below `root`."""

    def __init__(self, root: Path, scene: Scene) -> None:
        """Furnish the room for `scene`."""
        self.root, self.scene = root, scene
        self.inbox, self.outbox, self.state = root / "inbox", root / "outbox", root / "state"
        self.source = self.inbox / "a" / "film.mkv"
        self.source.parent.mkdir(parents=True)
        self.source.write_bytes(bytes(range(50)))
        boxes = {"inbox": "inbox", "outbox": "outbox"}
        folder = {"name": "films", "pipeline": "upscale", "settle": 0.5, **boxes, **scene.folder}
        settings = {"folders": [folder], "disk": {"work_reserve": 0, "outbox_reserve": 0}, **scene.config}
        (root / "config.yaml").write_text(json.dumps(settings))
        self.config: Config = load(root / "config.yaml")
        scene.furnish(self)

    def run(self) -> None:
        """Start, work off what is there, and end."""
        pipelines.make = lambda *_: self.scene.toy
        self.scene.disturb(self)
        (folder,) = self.config.folders
        self.state.mkdir(exist_ok=True)
        with open_or_recover(self.state)[0] as journal:
            recover(self.config, journal, boot="boot", now=NOW)
            known = load_identities(self.state / IDENTITIES)
            found = {str(path): identify(path, name, known) for path, name in marked(folder).items()}
            if found != known:
                save_identities(self.state / IDENTITIES, found)
            inbox = Inbox(folder, self.config.watch, found[str(folder.inbox)])
            free_twins(journal, NOW)
            for look in count():
                sighting = inbox.look(journal.known(folder.name), float(look))
                assert not sighting.offline, sighting.offline
                take_in(journal, folder, sighting, NOW)
                if not sighting.settling:
                    break
            while job := journal.claim([folder.name], now=NOW, uptime=1e12, boot="boot"):
                ours, theirs = Pipe()
                with ours, theirs:
                    wire = Wire(theirs, job)
                    attempt(job, config=self.config, journal=journal, device="cpu", wire=wire)
            if self.scene.daily:
                back_up(journal, self.state, 2, date(2033, 5, 18))
                for _ in range(2):  # what is too old goes at the second run that finds it so
                    prune(self.config, journal, NOW)

    def left(self) -> dict[str, bytes]:
        """Return all files and their content; of those that tell of times only that they are there."""
        found = {}
        for path in sorted(path for path in self.root.rglob("*") if path.is_file()):
            name = str(path.relative_to(self.root))
            told = path.suffix == ".json" and b'"format"' in path.read_bytes()
            found[name] = b"" if told or name.startswith(FLEETING) else path.read_bytes()
        return {name: data for name, data in found.items() if not name.endswith(("-wal", "-shm"))}

    def ended(self) -> list[tuple[str, str, bytes]]:
        """Return of each job its path, its state and the name of its result."""
        with open_or_recover(self.state)[0] as journal:
            return [(job.name, str(job.state), job.result) for job in journal.jobs()]


def passes(work: Callable[[], object]) -> list[str]:
    """Do `work` in a child process and return the crash points it passed, in order.

    Raises AssertionError if it failed.
    """
    reading, writing = os.pipe()
    assert in_child(lambda: at_each_point(lambda name: os.write(writing, f"{name}\n".encode())), work)
    os.close(writing)
    with os.fdopen(reading) as told:
        return told.read().split()


def dies_at(number: int, work: Callable[[], object]) -> bool:
    """Do `work` in a child process that is killed at its pass `number`, from 0; tell whether it came so far.

    Raises AssertionError if it failed otherwise.
    """
    return not in_child(lambda: at_point(number, die), work)
