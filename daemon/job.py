"""A job and its neighbours, as plain values."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from darkroom.daemon.states import LIVE, State

GONE_NS = -1  # the mtime of no file: should it come back, it is a new version


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """What tells one version of a file from the next, without reading it."""

    size_bytes: int
    mtime_ns: int
    inode: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """An arrival on its way into the journal."""

    folder: str
    pipeline: str
    path: bytes  # below the inbox; absolute for a file added by hand
    signature: Signature
    take: int = 0  # its place, from 0, among the jobs of its file, which are recorded together and in order
    sidecar: str = ""
    content: str = ""
    twin: int | None = None
    lacks: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    priority: int = 0
    state: State = State.QUEUED
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One row of the journal; times in Unix seconds."""

    id: int
    folder: str
    pipeline: str
    path: bytes
    size_bytes: int
    mtime_ns: int
    inode: int
    sidecar: str
    content: str
    twin: int | None
    options: Mapping[str, Any]
    priority: int
    state: State
    reason: str
    ask: str
    created: float
    started: float | None
    ended: float | None
    attempts: int
    failures: int
    crashes: int
    crash_segment: int | None
    not_before: float
    boot: str
    result: bytes
    result_size: int
    result_sha256: str
    companions: Sequence[tuple[str, int, str]] = ()  # path, size and SHA-256 of the result's other files
    take: int = 0
    lacks: str = ""  # the option without which it is held

    @property
    def batch(self) -> int:
        """The number of the first of the jobs that were recorded with this one: their numbers follow each other."""
        return self.id - self.take

    @property
    def signature(self) -> Signature:
        """The version of the source this job is about."""
        return Signature(size_bytes=self.size_bytes, mtime_ns=self.mtime_ns, inode=self.inode)

    @property
    def name(self) -> str:
        """The source's path for people: printable, whatever bytes it holds."""
        return printable(self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One move of a job."""

    at: float
    old: str
    new: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """The newest jobs of a path, recorded together: what a scan compares a file with."""

    batch: int  # the number of the first of them
    state: State  # of the last of them
    signature: Signature  # GONE_NS in it where one of them has lost its file: then it is news, whatever is there
    sidecar: str
    live: tuple[tuple[int, State], ...] = ()  # all live jobs of the path, older ones too


def job_of(row: Mapping[str, Any]) -> Job:
    """Return the job that a row of the journal holds."""
    files = tuple(tuple(file) for file in json.loads(row["companions"]))
    values = {"options": json.loads(row["options"]), "state": State(row["state"]), "companions": files}
    return Job(**{**row, **values})


def row_of(new: NewJob) -> dict[str, Any]:
    """Return what a row of the journal holds of a new job."""
    values = {entry.name: getattr(new, entry.name) for entry in fields(new)}
    seen: Signature = values.pop("signature")
    version = {entry.name: getattr(seen, entry.name) for entry in fields(seen)}
    return {**values, **version, "options": options_text(new.options)}


def options_text(options: Mapping[str, Any]) -> str:
    """Return `options` as a row of the journal holds them: equal ones are equal texts."""
    return json.dumps(dict(options), sort_keys=True)


def known_of(rows: Sequence[Mapping[str, Any]]) -> Known:
    """Return what a scan has to know of the jobs of one path, all of them, by number."""
    last = rows[-1]
    batch = last["id"] - last["take"]
    times = {row["mtime_ns"] for row in rows if row["id"] >= batch}
    mtime_ns = last["mtime_ns"] if len(times) == 1 else GONE_NS
    return Known(
        batch=batch,
        state=State(last["state"]),
        signature=Signature(size_bytes=last["size_bytes"], mtime_ns=mtime_ns, inode=last["inode"]),
        sidecar=last["sidecar"],
        live=tuple((row["id"], State(row["state"])) for row in rows if row["state"] in LIVE),
    )


def printable(path: bytes) -> str:
    """Show a path on a terminal or in a log: control characters and broken UTF-8 as escapes."""
    text = path.decode(errors="backslashreplace")
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
