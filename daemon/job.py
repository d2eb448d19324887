"""A job and its neighbours, as plain values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from darkroom.daemon.states import State


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
    sidecar: str = ""
    content: str = ""
    twin: int | None = None
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
    """The newest job of a path: what a scan compares a file with."""

    job: int
    state: State
    signature: Signature
    sidecar: str


def printable(path: bytes) -> str:
    """Show a path on a terminal or in a log: control characters and broken UTF-8 as escapes."""
    text = path.decode(errors="backslashreplace")
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
