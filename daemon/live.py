"""What the running daemon is doing right now, in a file that `darkroom status` reads.

Nothing in it is needed after a crash: jobs are in the journal, finished parts on the disk.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

FILE = "live.json"
SHOWN = 500  # waiting files named by folder; the rest is counted


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderNow:
    """One inbox as the daemon sees it."""

    mode: str = "poll"  # events or poll
    offline: str = ""  # why it is not looked at, "" when it is
    closed: str = ""  # why its jobs do not start now, "" when they do
    last_scan: float = 0.0  # Unix seconds
    scan_s: float = 0.0
    files: int = 0
    waiting: dict[str, str] = field(default_factory=dict)  # file → why it is not queued
    waiting_count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerNow:
    """One worker and its job."""

    state: str = "off"  # off, idle, busy
    pid: int = 0
    job: int = 0
    name: str = ""
    stage: str = ""
    unit: str = "frame"
    done: int = 0
    units: int = 0
    segment: int = 0  # number of the running segment, from 1
    segments: int = 0
    rate: float = 0.0  # units a second, over the last minute of work
    eta_s: float = 0.0
    what: str = ""  # what does the work: model, backend, precision and why; the device where that is not known


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """The whole picture."""

    pid: int
    since: float
    at: float
    version: str
    folders: dict[str, FolderNow]
    workers: dict[str, WorkerNow]
    notes: list[str] = field(default_factory=list)  # what the administrator should know


def write(state: Path, live: Live) -> None:
    """Replace the file in one step, so that a reader sees it whole; it is not worth an fsync."""
    draft = state / f".{FILE}.draft"
    draft.write_text(json.dumps(asdict(live)))  # ASCII: whatever bytes a path holds, it can be written
    draft.replace(state / FILE)


def read(state: Path) -> Live | None:
    """Return what the daemon on `state` is doing, or None if none is running."""
    try:
        raw: dict[str, Any] = json.loads((state / FILE).read_text())
        if not Path(f"/proc/{raw['pid']}").exists():
            return None
        raw["folders"] = {name: FolderNow(**entry) for name, entry in raw["folders"].items()}
        raw["workers"] = {name: WorkerNow(**entry) for name, entry in raw["workers"].items()}
        return Live(**raw)
    except (OSError, ValueError, KeyError, TypeError):  # none, or one of another version
        return None
