"""One job and the places it touches, worked on in this process as a worker does it: to be disturbed at any point."""

import json
import os
from collections.abc import Mapping
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import pytest
import toys

from darkroom import pipelines
from darkroom.daemon.attempt import attempt
from darkroom.daemon.backup import open_or_recover
from darkroom.daemon.config import Config, load
from darkroom.daemon.filesystem import fresh_stat, opened_folder
from darkroom.daemon.job import Job, NewJob
from darkroom.daemon.journal import FILE, Journal
from darkroom.daemon.lookout import IDENTITIES
from darkroom.daemon.marker import INBOX, OUTBOX, adopt, save_identities
from darkroom.daemon.recovery import recover
from darkroom.daemon.wire import Wire

TOYS = {"upscale": toys.Blur(size=60), "ocr": toys.Read(bundle=True)}  # a file of two parts; two files of three
NAMES = {"upscale": "film.mkv", "ocr": "film.pdf"}
SOURCE = b"\f".join(b"page %d of a source, made of words that are read" % page for page in range(3))


def use_toys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put toys in the places of two pipelines."""
    monkeypatch.setattr(pipelines, "make", lambda pipeline, *_: TOYS[pipeline])


class OneJob:
    """A configuration with one folder, and the one job there is: of the file `a/film.mkv` or `a/film.pdf`."""

    def __init__(
        self, root: Path, pipeline: str, *, outbox: Path | None = None, state: Path | None = None, **folder: Any
    ):
        """Furnish `root`; the outbox and the state are elsewhere if it is said where."""
        self.root, self.inbox, self.outbox = root, root / "inbox", outbox or root / "outbox"
        name = NAMES[pipeline]
        entry = {"name": "films", "pipeline": pipeline, "inbox": "inbox", "outbox": str(self.outbox)}
        self.source = self.inbox / "a" / name
        self.source.parent.mkdir(parents=True)
        self.source.write_bytes(SOURCE)
        (root / "config.yaml").write_text(json.dumps({"state": str(state or "state"), "folders": [entry | folder]}))
        self.config: Config = load(root / "config.yaml")
        self.state = self.config.state
        originals = self.config.folders[0].originals_folder
        known = {
            str(place): adopt(place, marker)
            for place, marker in ((self.inbox, INBOX), (self.outbox, OUTBOX), (originals, OUTBOX))
            if place is not None
        }
        journal, _ = open_or_recover(self.state)
        save_identities(self.state / IDENTITIES, known)
        with journal, opened_folder(self.source.parent) as handle:
            signature = fresh_stat(os.fsencode(name), handle, "").signature
            path = os.fsencode(self.source.relative_to(self.inbox))
            new = NewJob(folder="films", pipeline=pipeline, path=path, signature=signature, content="c")
            journal.enqueue([new], now=1.0)

    def work(self) -> None:
        """Start anew, see what is left to do, and do it."""
        journal, _ = open_or_recover(self.state)
        with journal:
            recover(self.config, journal, boot="another", now=2.0)
            job = journal.claim(["films"], now=2.0, uptime=1e12, boot="this")
            if job is not None:
                ours, theirs = Pipe()
                with ours, theirs:
                    attempt(job, config=self.config, journal=journal, device="cpu", wire=Wire(theirs, job))

    def job(self) -> Job:
        """Return the job as the journal has it."""
        with Journal(self.state / FILE) as journal:
            return journal.job(1)

    def events(self) -> int:
        """Return the number of moves that were committed."""
        with Journal(self.state / FILE, readonly=True) as journal:
            return journal.last_event()

    def results(self) -> dict[str, bytes]:
        """Return what a media server sees in the outbox."""
        return _files(self.outbox)

    def sources(self) -> Mapping[str, bytes]:
        """Return what there is of the source, in the inbox and among the originals."""
        folder = self.config.folders[0]
        moved = folder.originals_folder or folder.outbox.parent / "originals" / folder.name
        return {f"inbox/{name}": data for name, data in _files(self.inbox).items()} | (
            {f"originals/{name}": data for name, data in _files(moved).items()}
        )

    def strays(self) -> list[Path]:
        """Return drafts, temporary files and work folders, none of which may outlive a job."""
        roots = {self.root, self.outbox, self.state}
        temporary = {path for root in roots for path in root.rglob(".darkroom-tmp/*")}
        drafts = {path for root in roots for path in root.rglob("*draft*")}
        return sorted({*temporary, *drafts, *self.state.glob("work/*")})


def _files(root: Path) -> dict[str, bytes]:
    """Return the files below `root` but hidden ones and those in hidden folders."""
    names = [path.relative_to(root) for path in root.rglob("*") if path.is_file()]
    return {str(name): (root / name).read_bytes() for name in names if not any(p.startswith(".") for p in name.parts)}
