"""Daily copies of the journal, and what is done at a start that finds it damaged."""

import logging
import re
import shutil
from contextlib import suppress
from datetime import date, datetime
from pathlib import Path

from darkroom.daemon.crash_points import CrashPoint, reach
from darkroom.daemon.journal import FILE, Journal
from darkroom.daemon.parts import DRAFT, atomic, sync_folder
from darkroom.daemon.sqlite_faults import Damaged
from darkroom.pipelines.errors import Unavailable

log = logging.getLogger(__name__)

BACKUPS = "backups"
BACKUP_NAME = re.compile(r"journal-\d{4}-\d\d-\d\d\.db")
# SQLite's write-ahead log needs memory shared by all users. On SMB opening failed at once; on NFS it seemed to
# work from one host, which is the trap.
NETWORK = re.compile(r"nfs|cifs|smb|fuse|9p|ceph|gluster|afs|ncpfs")


def open_or_recover(state: Path, *, kind: str = "") -> tuple[Journal, str]:
    """Return the open journal below `state`, and in one sentence what had to be repaired, "" if nothing.

    A damaged one is moved aside and the newest sound backup takes its place, or an empty one if there is none.
    The same for one that is missing although there are backups of it.

    kind: type of the file system below `state`; "" is taken for a local one
    Raises Unavailable on a network file system, or if the journal is locked or cannot be read.
    """
    if NETWORK.match(kind):
        raise Unavailable(f"{state}: {kind} cannot hold the journal safely; set `state` to a folder on a local disk")
    if not state.is_dir():
        state.mkdir(parents=True)
        sync_folder(state.parent)  # what is in it is synced by SQLite
    path = state / FILE
    if not (fault := _fault(path)):
        return Journal(path), ""
    aside = _set_aside(path)
    told = (
        f"{path}: the journal was {fault}{f' and is kept as {aside.name}' if aside.exists() else ''}; {_restore(state)}"
    )
    log.error("%s", told)
    return Journal(path), told


def back_up(journal: Journal, state: Path, keep: int, today: date) -> Path | None:
    """Write today's copy of `journal` below `state`, keep the newest `keep` copies, and return its path.

    None if `keep` is 0; then older copies stay. A second call on one day replaces the first copy.
    """
    if keep == 0:
        return None
    folder = state / BACKUPS
    folder.mkdir(parents=True, exist_ok=True)
    sync_folder(state)
    for left in folder.glob(f"*{DRAFT}*"):  # of another day's run that a crash ended
        left.unlink()
    target = folder / f"journal-{today.isoformat()}.db"
    with atomic(target) as draft:
        journal.copy_to(draft)
        if fault := damage(draft):
            raise Unavailable(f"{target}: the copy is damaged ({fault}); is the disk well?")
    others = [path for path in _backups(state) if path != target]
    for old in others[keep - 1 :]:
        old.unlink(missing_ok=True)
    return target


def damage(path: Path) -> str:
    """Return what is wrong with the database at `path`, "" if it is sound. Raises Unavailable if it is locked."""
    try:
        with Journal(path) as journal:
            return journal.damage()
    except Damaged as error:
        return str(error.__cause__)


def _fault(path: Path) -> str:
    """Say what is wrong with the journal at `path`, "" if it is sound or this is the first start."""
    if path.exists() and path.stat().st_size:
        found = damage(path)
        return f"damaged ({found})" if found else ""
    before = _backups(path.parent) or _beside(path, "-wal").exists()
    return "missing or empty" if before else ""


def _backups(state: Path) -> list[Path]:
    """Return the copies, the newest first: by what they hold, for the day in a name may be one that never was."""
    found = [path for path in (state / BACKUPS).glob("journal-*.db") if BACKUP_NAME.fullmatch(path.name)]
    return sorted(found, key=lambda path: (_progress(path), path.name), reverse=True)


def _progress(path: Path) -> tuple[int, int]:
    try:
        with Journal(path) as journal:  # read-only, SQLite would leave its files beside each copy
            return journal.progress()
    except Unavailable:
        return -1, -1  # damaged: the last to be restored, the first to go


def _restore(state: Path) -> str:
    for backup in _backups(state):
        with atomic(state / FILE) as draft:
            shutil.copyfile(backup, draft)
        if not (fault := damage(state / FILE)):
            return f"restored from {backup.name}: files finished since then will be run again"
        log.error("%s is damaged too: %s", backup, fault)
        _remove(state / FILE)
    return "there is no sound backup: it begins empty, and all files in the inboxes will be run again"


def _set_aside(path: Path) -> Path:
    """Rename the journal to a name that is free, with its log and index.

    A log left behind would be played into the restored journal, for SQLite does not see whose it is.
    """
    today = datetime.now().date().isoformat()
    names = (f"{path.name}.damaged-{today}{end}" for end in ("", *(f"-{number}" for number in range(2, 1000))))
    aside = next(path.with_name(name) for name in names if not path.with_name(name).exists())
    for end in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            _beside(path, end).replace(_beside(aside, end))
            reach(CrashPoint.JOURNAL_ASIDE)
    sync_folder(path.parent)
    return aside


def _remove(path: Path) -> None:
    for end in ("", "-wal", "-shm"):
        _beside(path, end).unlink(missing_ok=True)


def _beside(path: Path, end: str) -> Path:
    return path.with_name(path.name + end)
