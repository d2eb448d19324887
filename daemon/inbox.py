"""One look at an inbox: which files are complete and new, and why the others are not.

A look lists the inbox, leaves out what the journal knows, waits until the rest is still and no longer written, and
reads only what is then ready: its sidecar and three MiB of it. Of an inbox that is not the one it knows, it believes
nothing.
"""

import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from darkroom.daemon.config import Folder, Watch
from darkroom.daemon.content import fingerprint
from darkroom.daemon.filesystem import (
    MOUNTINFO,
    Mount,
    Stat,
    fresh_stat,
    held_by_writer,
    mount_at,
    mounts_of,
    opened,
    opened_folder,
    parse_mounts,
)
from darkroom.daemon.ignore import Rules
from darkroom.daemon.job import Known, Signature, printable
from darkroom.daemon.marker import INBOX, mismatch, unreachable
from darkroom.daemon.scan import Listing, scan
from darkroom.daemon.settle import Settling
from darkroom.daemon.sidecar import Takes, parse_sidecar, read_bytes, sidecar_of, sidecar_signature
from darkroom.daemon.states import State
from darkroom.daemon.units import show_seconds
from darkroom.pipelines import KINDS

MOST_JOBS = 500  # of the arrivals in one look: 3 MiB are read of each, and other files should not wait for minutes


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A file that is complete and has no job yet, or whose jobs are about an older version."""

    path: bytes  # below the inbox
    signature: Signature
    sidecar: str  # its signature, "" without one
    beside: bytes | None  # the sidecar's path
    takes: Takes  # the sidecar's options for each job
    content: str  # fingerprint
    fault: str  # the sidecar's, with its name, in one line; else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """What one look at an inbox found. Offline, nothing may be concluded from what is missing in it."""

    arrivals: tuple[Arrival, ...] = ()  # by path; none has a live job
    replaced: tuple[int, ...] = ()  # live jobs whose file or sidecar changed; the new version waits until they end
    missing: tuple[int, ...] = ()  # queued and held jobs whose file is not there now; it may have been renamed
    waiting: Mapping[bytes, str] = field(default_factory=dict)  # what was seen and is not queued, with its reason
    files: int = 0
    folders: int = 0
    seconds: float = 0.0  # how long the look took
    offline: str = ""  # the reason, "" when online
    settling: bool = False  # a file waits for nothing but time
    next_look_s: float  # when a settling file could be ready; at the latest the next scan


class Inbox:
    """A watched folder: its rules, and since when its files have been still. For one thread; touches no journal."""

    def __init__(self, folder: Folder, watch: Watch, identity: str, *, mountinfo: Path = MOUNTINFO) -> None:
        """Get ready to look at `folder.inbox`, known as `identity` (`marker.identify`); it need not be there."""
        self.folder = folder
        self.identity = identity
        self._watch = watch
        self._rules = Rules(folder, watch)
        self._settling = Settling()
        self._mountinfo = mountinfo
        self._mounts = self._read_mounts()

    @property
    def network(self) -> bool:
        """Whether the inbox lies on a network, FUSE or unknown file system, as of the last look."""
        return not self._mounts[0].local

    @property
    def mode(self) -> Literal["events", "poll"]:
        """How the inbox is watched, as of the last look: a mount that comes late changes it."""
        if self.folder.watch == "auto":
            return "poll" if self.network else "events"
        return self.folder.watch

    @property
    def scan_every_s(self) -> float:
        """Time between two looks when nothing happens; short where a mount in the inbox tells no events."""
        quiet = self.mode == "events" and (self.folder.watch == "events" or all(mount.local for mount in self._mounts))
        return self._watch.scan_local if quiet else self._watch.scan_network

    def settle_s(self, mount: Mount) -> float:
        """How long a file on `mount` must be still."""
        chosen = self._watch.settle_local if mount.local else self._watch.settle_network
        return chosen if self.folder.settle is None else self.folder.settle

    def look(self, known: Mapping[bytes, Known], now: float) -> Sighting:
        """Return what is in the inbox now, compared with the jobs it is `known` for.

        May block for as long as the file server does.

        known:  the newest jobs of each path, from `Journal.known`
        now:    seconds by the monotonic clock
        """
        started = time.perf_counter()
        self._mounts = self._read_mounts()
        inbox, watch = self.folder.inbox, self._watch
        try:
            with opened_folder(inbox) as root:
                offline = mismatch(root, inbox, INBOX, self.identity, self.folder.name, mountinfo=self._mountinfo)
                if not offline:
                    listing = scan(root, inbox, self._rules, max_depth=watch.max_depth, symlinks=self.folder.symlinks)
                    look = _Look(self, root, listing, known, now)
                    return look.sighting(started)
        except OSError as error:
            offline = unreachable(inbox, error)
        self._settling.keep(())  # nobody saw the files be still
        return Sighting(offline=offline, seconds=time.perf_counter() - started, next_look_s=self.scan_every_s)

    def _read_mounts(self) -> tuple[Mount, ...]:
        return mounts_of(self.folder.inbox, parse_mounts(self._mountinfo.read_bytes()))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Version:
    """A file and its sidecar as they are now."""

    path: bytes
    mount: Mount
    file: Stat
    sidecar: bytes | None
    sidecar_file: Stat | None

    @property
    def sidecar_signature(self) -> str:
        seen = self.sidecar_file
        return sidecar_signature(self.sidecar, seen.signature) if self.sidecar is not None and seen else ""


class _Look:
    """A look under way: what it has found so far."""

    def __init__(self, inbox: Inbox, root: int, listing: Listing, known: Mapping[bytes, Known], now: float) -> None:
        self._inbox = inbox
        self._root = root
        self._listing = listing
        self._known = known
        self._now = now
        self._path = os.fsencode(inbox.folder.inbox)
        self._kind = KINDS[inbox.folder.pipeline]
        self._arrivals: list[Arrival] = []
        self._jobs = 0  # of the arrivals
        self._replaced: list[int] = []
        self._waiting = dict(listing.reasons)
        self._still: set[bytes] = set()  # paths whose stillness matters after this look
        self._next_look_s = inbox.scan_every_s
        self._settles = False

    def sighting(self, started: float) -> Sighting:
        """Consider each file that the journal does not know as it is."""
        for path in sorted(path for path in self._listing.files if self._seems_new(path)):
            try:
                self._consider(path)
            except FileNotFoundError:
                self._waiting.pop(path, None)  # vanished under our eyes
            except (OSError, EOFError) as error:
                self._wait(path, f"unreadable: {getattr(error, 'strerror', None) or error}", math.inf)
        self._inbox._settling.keep(self._still)
        return Sighting(
            arrivals=tuple(self._arrivals),
            replaced=tuple(self._replaced),
            missing=self._missing(),
            waiting=self._waiting,
            files=len(self._listing.files),
            folders=self._listing.folders,
            seconds=time.perf_counter() - started,
            next_look_s=self._next_look_s,
            settling=self._settles,
        )

    def _seems_new(self, path: bytes) -> bool:
        """Compare with what the kernel has cached: cheap enough for 100,000 files on a file server."""
        sidecar = sidecar_of(path, self._listing.sidecars, self._kind)
        signature = sidecar_signature(sidecar, self._listing.sidecars[sidecar]) if sidecar else ""
        return _differs(self._known.get(path), self._listing.files[path], signature, self._mount(path))

    def _consider(self, path: bytes) -> None:
        """Ask the file system itself about one file, and take it, supersede its jobs or note why it waits."""
        version, old = self._version(path), self._known.get(path)
        if not _differs(old, version.file.signature, version.sidecar_signature, version.mount):
            return  # the cache was behind
        quiet_s = self._quiet_s(version)
        if old is not None and old.live:
            self._supersede(version, old)
        elif not version.file.regular:
            self._wait(path, "not a regular file", math.inf)
        elif not version.file.size_bytes:
            self._wait(path, "empty", math.inf)
        elif quiet_s < (settle_s := self._inbox.settle_s(version.mount)):
            reason = f"settling: still for {show_seconds(quiet_s)} of {show_seconds(settle_s)}"
            self._wait(path, reason, settle_s - quiet_s)
        elif self._jobs >= MOST_JOBS:
            self._wait(path, f"ready: {MOST_JOBS} others go first", 0)
        else:
            self._take(version, quiet_s - settle_s)

    def _take(self, version: _Version, waited_s: float) -> None:
        """Make an arrival of a still file, unless somebody is writing to it; `waited_s` ago it became still enough."""
        lease_wait_s = self._inbox._watch.lease_wait
        with opened(self._location(version.path), self._root) as handle:
            if version.mount.local and waited_s < lease_wait_s and held_by_writer(handle):
                reason = f"open for writing in another program: waiting {show_seconds(lease_wait_s)} at most"
                self._wait(version.path, reason, min(lease_wait_s - waited_s, self._inbox.settle_s(version.mount)))
                return
            content = fingerprint(handle, version.file.size_bytes)
        takes, fault = self._takes(version.sidecar)
        if self._version(version.path) != version:
            self._wait(version.path, "changed while it was read", self._inbox.settle_s(version.mount))
            return
        self._jobs += len(takes)
        self._arrivals.append(
            Arrival(
                path=version.path,
                signature=version.file.signature,
                sidecar=version.sidecar_signature,
                beside=version.sidecar,
                takes=takes,
                content=content,
                fault=fault,
            )
        )

    def _takes(self, sidecar: bytes | None) -> tuple[Takes, str]:
        """Return what a sidecar says and, with none of it, its fault."""
        if sidecar is None:
            return ({},), ""
        with opened(sidecar, self._root) as handle:
            text = read_bytes(handle)
        try:
            return parse_sidecar(sidecar, text, self._inbox.folder), ""
        except ValueError as error:
            return ({},), f"{printable(sidecar)}: {error}"

    def _supersede(self, version: _Version, old: Known) -> None:
        # One that is publishing is let be: its result is whole and belongs to the old version.
        self._replaced += [job for job, state in old.live if state is not State.PUBLISHING]
        first, _ = old.live[0]
        self._wait(version.path, f"changed: waiting for job {first} to end", self._inbox.settle_s(version.mount))

    def _version(self, path: bytes) -> _Version:
        mount, sidecar = self._mount(path), sidecar_of(path, self._listing.sidecars, self._kind)
        return _Version(
            path=path,
            mount=mount,
            file=fresh_stat(self._location(path), self._root, mount.kind),
            sidecar=sidecar,
            sidecar_file=fresh_stat(sidecar, self._root, mount.kind) if sidecar else None,
        )

    def _quiet_s(self, version: _Version) -> float:
        """Return for how many seconds the file, and its sidecar with it, has been still."""
        self._still.add(version.path)
        marks = tuple(_mark(seen, version.mount) for seen in (version.file, version.sidecar_file) if seen)
        return self._inbox._settling.still_s(version.path, marks, self._now)

    def _missing(self) -> tuple[int, ...]:
        """Return the waiting jobs whose file is gone, not just ignored by now or left out by a busy server."""
        live = {path: old.live for path, old in self._known.items() if old.live and path not in self._listing.files}
        found = (jobs for path, jobs in live.items() if self._gone(path))
        return tuple(job for jobs in found for job, state in jobs if state in (State.QUEUED, State.HELD))

    def _gone(self, path: bytes) -> bool:
        if path.startswith(b"/"):
            return False  # added by hand from elsewhere
        try:
            fresh_stat(path, self._root, self._mount(path).kind)
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError:
            pass  # unreadable, or a server in trouble: nothing is concluded
        return False

    def _wait(self, path: bytes, reason: str, seconds: float) -> None:
        """Note why a file waits: for some `seconds` only, or (math.inf) until somebody does something about it."""
        self._waiting[path] = reason
        self._settles = self._settles or seconds < math.inf
        self._next_look_s = min(self._next_look_s, max(seconds, 0.0))

    def _mount(self, path: bytes) -> Mount:
        mounts = self._inbox._mounts
        return mounts[0] if len(mounts) == 1 else mount_at(self._path + b"/" + path, mounts)

    def _location(self, path: bytes) -> bytes:
        return self._listing.links.get(path, path)


def _differs(old: Known | None, signature: Signature, sidecar: str, mount: Mount) -> bool:
    """Tell whether a file is another than its job was about; of a sidecar that is gone only a refusal is forgotten."""
    if old is None:
        return True
    before = old.signature
    same = (before.size_bytes, before.mtime_ns) == (signature.size_bytes, signature.mtime_ns)
    if mount.stable_inodes and before.inode != signature.inode:
        same = False
    return not same or (sidecar != old.sidecar and (sidecar != "" or old.state is State.QUARANTINED))


def _mark(seen: Stat, mount: Mount) -> tuple[int, ...]:
    """Return what must not change while a file settles. Servers may make up ctime and inode, so there they are out."""
    mark = (seen.size_bytes, seen.mtime_ns)
    return (*mark, seen.ctime_ns, seen.inode) if mount.local else mark
