"""What is too old or too much: the pure half of clearing up."""

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from darkroom.daemon.config import Limit
from darkroom.daemon.units import show_bytes, show_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Something that may go: a file, or the work folder of a job."""

    root: Path  # whose limit it counts for; `path` lies below it
    path: Path
    size_bytes: int
    since: float  # Unix seconds from which its age counts
    companions: tuple[Path, ...] = ()  # files that go with it; `size_bytes` is that of all


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """Something that went, or would go."""

    path: Path
    size_bytes: int
    why: str
    root: Path | None = None  # None: a row of the journal
    companions: tuple[Path, ...] = ()  # files that go with it


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What `choose_expired` decided."""

    removals: tuple[Removal, ...] = ()
    aged: frozenset[str] = frozenset()  # all paths that are too old now, for the next run to compare with
    warning: str = ""


def choose_expired(
    entries: Sequence[Entry], limit: Limit, now: float, previous: Collection[str], max_fraction: float
) -> Choice:
    """Choose of `entries`, all of one root, what goes by `limit`.

    A clock set wrong must not empty a folder. So by age only that goes which the run before found too old as
    well, and nothing if there is too much of it. By size the oldest go, in order: no clock decides how many.

    previous:      paths that were too old in the run before
    max_fraction:  (0, 1]; if more than this share is too old, and more than one, nothing goes by age
    """
    aged = [entry for entry in entries if limit.age is not None and now - entry.since > limit.age]
    expired = [entry for entry in aged if os.fspath(entry.path) in previous]
    if warning := too_many(len(aged), len(entries), max_fraction):
        expired = []
    rest = sorted(set(entries) - set(expired), key=lambda entry: entry.since)
    removals = [removal(entry, f"older than {show_seconds(limit.age or 0)}") for entry in expired]
    removals += [removal(entry, f"the oldest beyond {show_bytes(limit.size or 0)}") for entry in _beyond(rest, limit)]
    return Choice(removals=tuple(removals), aged=frozenset(os.fspath(entry.path) for entry in aged), warning=warning)


def too_many(aged: int, entries: int, max_fraction: float) -> str:
    """Say that more of the `entries` are too old than may go at once, "" if not; one always may."""
    if aged <= max(1, int(entries * max_fraction)):
        return ""
    return f"{aged} of {entries} entries are too old, more than max_fraction; is the clock right?"


def removal(entry: Entry, why: str) -> Removal:
    """Say that `entry` goes, and why."""
    return Removal(root=entry.root, path=entry.path, size_bytes=entry.size_bytes, why=why, companions=entry.companions)


def _beyond(oldest_first: Sequence[Entry], limit: Limit) -> Iterator[Entry]:
    """Yield what must go for the rest to fit in `limit.size`."""
    total = sum(entry.size_bytes for entry in oldest_first)
    for entry in oldest_first:
        if limit.size is None or total <= limit.size:
            return
        total -= entry.size_bytes
        yield entry
