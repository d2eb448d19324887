"""One folder, looked at in a thread of its own: a file server that hangs holds up its own folder only."""

import logging
import math
import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from darkroom.daemon import marker
from darkroom.daemon.clock import unix_now
from darkroom.daemon.config import Config, Folder
from darkroom.daemon.disk import short_of
from darkroom.daemon.inbox import Inbox, Sighting
from darkroom.daemon.job import Known
from darkroom.daemon.journal import Journal
from darkroom.daemon.units import show_seconds
from darkroom.pipelines.errors import Unavailable

log = logging.getLogger(__name__)

HANGS_AFTER_S = 120.0  # a look reads up to 1.5 GB of new files: over a slow line that is more than a minute
NOT_LOOKED = "not looked at yet"
IDENTITIES = "folders.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What one look at a folder found: its inbox, and whether its outbox can be published to."""

    sighting: Sighting
    outbox: str  # why nothing can be published, or no original moved, "" if it can
    at: float = field(default_factory=unix_now)  # Unix seconds of its end


class Lookout:
    """Looks at one folder whenever a look is due."""

    def __init__(
        self, folder: Folder, config: Config, remembered: Mapping[str, str], ring: Callable[[], None] = lambda: None
    ) -> None:
        """Look at `folder`.

        remembered: the identities of inboxes and outboxes by their path;  ring: called when a look is over
        """
        self.folder = folder
        self.inbox: Inbox | None = None  # None until it could be opened
        self.last: Look | None = None  # the newest finished look
        self.identities: dict[str, str] = {}  # of this folder's inbox and outbox, once they are known
        self._config = config
        self._remembered = remembered
        self._ring = ring
        self._thread: threading.Thread | None = None
        self._began = 0.0
        self._due = 0.0
        self._found: list[Look] = []

    def wake(self) -> None:
        """Make a look due now."""
        self._due = 0.0

    def begin(self, journal: Journal) -> None:
        """Start a look if one is due and none is under way; the journal is read here, in the caller's thread."""
        now = time.monotonic()
        if self._thread is None and now >= self._due:
            known = journal.known(self.folder.name)  # first of all: where it is locked, the look stays due
            self._began = now
            self._due = now + (self.inbox.scan_every_s if self.inbox else self._config.watch.scan_network)
            thread = threading.Thread(target=self._look, args=(known,), daemon=True, name="look")
            try:
                thread.start()
            except RuntimeError as error:  # no thread is to be had
                log.error("%s: not looked at: %s; trying again", self.folder.name, error)
                return
            self._thread = thread

    def due_in_s(self) -> float:
        """Return the seconds until the next look is to begin; infinite while one is under way."""
        return math.inf if self._thread is not None else max(0.0, self._due - time.monotonic())

    def finished(self) -> Look | None:
        """Return the look that has ended since the last call, or None."""
        if self._thread is None or not self._found:
            return None
        self._thread = None  # it has nothing left to do but to end
        found = self._found.pop()
        self._due = min(self._due, self._began + found.sighting.next_look_s)
        self.last = found
        return found

    def settled(self) -> bool:
        """Tell whether the newest look found nothing that is still to settle; one that hangs finds nothing more."""
        if self.hangs():
            return True
        if self._thread is not None or self._due <= self._began or self.last is None:
            return False
        return not self.last.sighting.settling

    def offline(self) -> str:
        """Say why the folder cannot be used, "" if it can."""
        if self.hangs():
            since = show_seconds(time.monotonic() - self._began)
            where = " or ".join(str(path) for path in marker.marked(self.folder))
            return f"{where}: has not answered for {since}; is its file server up?"
        if self.last is None:
            return NOT_LOOKED
        return self.last.sighting.offline or self.last.outbox

    def hangs(self, still_s: float = math.inf) -> bool:
        """Tell whether a file server must have stopped to answer: the look under way takes so long.

        still_s:  of somebody else who works with the folder: for how long he has not moved either
        """
        return self._thread is not None and min(time.monotonic() - self._began, still_s) > HANGS_AFTER_S

    def _look(self, known: Mapping[bytes, Known]) -> None:
        try:
            self._found.append(self._look_once(known))
        except Exception as error:  # a bug here must not end the thread silently, nor stop the other folders
            log.exception("%s: looking at it failed", self.folder.name)
            why = f"{self.folder.inbox}: a bug in Darkroom: {type(error).__name__}: {error}; the log has the details"
            self._found.append(Look(sighting=_nothing_seen(why), outbox=""))
        self._ring()

    def _look_once(self, known: Mapping[bytes, Known]) -> Look:
        try:
            self.inbox = self.inbox or self._open()
        except Unavailable as error:
            return Look(sighting=_nothing_seen(str(error)), outbox="")
        return Look(sighting=self.inbox.look(known, time.monotonic()), outbox=self._why_no_outbox())

    def _open(self) -> Inbox:
        self.identities = {
            str(path): marker.identify(path, name, self._remembered)
            for path, name in marker.marked(self.folder).items()
        }
        with suppress(OSError):  # one that is away is told as such
            if self.folder.inbox.samefile(self.folder.outbox):  # mounted twice; their paths the configuration compares
                same = f"the same folder as its outbox, {self.folder.outbox}"
                raise Unavailable(f"{self.folder.inbox}: {same}; part them")
        return Inbox(self.folder, self._config.watch, self.identities[str(self.folder.inbox)])

    def _why_no_outbox(self) -> str:
        """Say why a result could not be published, better now than after hours of work."""
        written_to = [path for path, name in marker.marked(self.folder).items() if name == marker.OUTBOX]
        for path in written_to:
            if away := marker.why_offline(path, marker.OUTBOX, self.identities[str(path)], self.folder.name):
                return away
        waiting = self.last is not None and self.last.outbox != ""
        if short := short_of(self.folder.outbox, 0, self._config.disk.outbox_reserve, waiting=waiting):
            return short
        refused = next((path for path in written_to if not os.access(path, os.W_OK | os.X_OK)), None)
        return f"{refused}: cannot be written; let this user write to it" if refused else ""


def _nothing_seen(why: str) -> Sighting:
    return Sighting(offline=why, next_look_s=math.inf)
